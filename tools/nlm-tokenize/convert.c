/* nlm-tokenize convert: reads a tokenizer, and writes it as the other kind of file. */
#include "convert.h"

#include "base/status.h"
#include "common/options.h"
#include "common/output.h"
#include "text/tokenizer_json.h"

#include <stdio.h>
#include <string.h>

static bool ends_with(const char *path, const char *ending) {
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

bool names_vocab_file(const char *path) {
    return ends_with(path, ".gguf") || ends_with(path, ".json");
}

nlm_status save_vocab(const nlm_gguf *gguf, const char *path, nlm_error *err) {
    return ends_with(path, ".json") ? nlm_tokenizer_json_write(gguf, path, err) : nlm_gguf_save(gguf, path, err);
}

static nlm_status convert(const char *from, const char *to, nlm_error *err) {
    nlm_gguf *gguf;
    nlm_tokenizer *tokenizer = NULL;
    NLM_TRY(nlm_tokenizer_open_metadata(from, false, &gguf, err));
    nlm_status status = nlm_tokenizer_create(gguf, &tokenizer, err);
    if (status == NLM_OK && !ends_with(to, ".json") && nlm_gguf_tensor_count(gguf) > 0) {
        status = nlm_fail(err, NLM_UNSUPPORTED, from, "it is a GGUF model; its tokenizer can be written as *.json");
    }
    if (status == NLM_OK) status = save_vocab(gguf, to, err);
    if (status == NLM_OK) printf("%s: %zu tokens\n", to, nlm_tokenizer_count(tokenizer));
    nlm_tokenizer_destroy(tokenizer);
    nlm_gguf_close(gguf);
    return status;
}

int convert_main(int argc, char **argv) {
    const nlm_command command = {
        .name = "nlm-tokenize convert",
        .usage = "FILE OUT",
        .summary = "Writes the tokenizer of a GGUF model as tokenizer.json, or a tokenizer.json as a GGUF file.",
        .details = "OUT is named *.json or *.gguf; a GGUF file that is written holds the vocabulary alone.\n",
        .examples =
            "  nlm-tokenize convert model.gguf tokenizer.json\n"
            "  nlm-tokenize convert tokenizer.json vocab.gguf\n",
        .max_operands = 2,
    };
    int first;
    const int parsed = nlm_options_parse(&command, argc, argv, &first);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (argc - first < 2) return nlm_tell_usage(&command, "give a file to read and one to write");
    const char *from = argv[first], *to = argv[first + 1];
    if (!names_vocab_file(to)) return nlm_tell_usage(&command, "'%s' ends neither in .json nor in .gguf", to);
    const int code = nlm_check_output(&command, "OUT", to, &from, 1);
    if (code != NLM_OPTIONS_GO_ON) return code;
    nlm_error err = NLM_ERROR_INIT;
    if (convert(from, to, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
