/* nlm-tokenize: text to token ids and back. */
#include "base/status.h"
#include "common/options.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *model;
    bool adds_bos, decodes, has_special;
} arguments;

static nlm_status read_stdin(nlm_str *out, nlm_error *err) {
    char chunk[1 << 16];
    size_t count;
    while ((count = fread(chunk, 1, sizeof chunk, stdin)) > 0) nlm_str_append(out, chunk, count);
    if (ferror(stdin)) return nlm_fail_errno(err, NLM_IO, "stdin", "cannot read the input");
    if (out->has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "stdin", "no memory for the input");
    return NLM_OK;
}

static nlm_status encode(const nlm_tokenizer *tokenizer, const arguments *a, const nlm_str *text, nlm_error *err) {
    const uint32_t flags = (a->adds_bos ? NLM_ENCODE_BOS : 0u) | (a->has_special ? NLM_ENCODE_SPECIAL : 0u);
    nlm_ids ids = {0};
    const nlm_status status =
        nlm_tokenizer_encode(tokenizer, text->length ? text->data : "", text->length, flags, &ids, err);
    if (status == NLM_OK) {
        for (size_t i = 0; i < ids.count; i++) printf("%s%d", i ? " " : "", ids.data[i]);
        putchar('\n');
    }
    nlm_ids_release(&ids);
    return status;
}

#define BLANKS " \t\r\n"

/* One id at text[0..length), which nothing follows. */
static bool parse_id(const char *text, size_t length, int32_t *out) {
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (text[i] - '0');
        if (value > INT32_MAX) return false;
    }
    *out = (int32_t)value;
    return length > 0;
}

/* Ids separated by white space. */
static nlm_status parse_ids(const nlm_str *text, nlm_ids *out, nlm_error *err) {
    size_t at = 0;
    while (at < text->length) {
        at += strspn(text->data + at, BLANKS);
        if (at == text->length) break;
        size_t length = strcspn(text->data + at, BLANKS);
        if (length == 0) length = 1; /* a NUL byte */
        int32_t id;
        if (!parse_id(text->data + at, length, &id)) {
            return nlm_fail(err, NLM_BAD_FORMAT, "stdin", "item %zu, '%.*s', is no token id", out->count + 1,
                            (int)(length < 32 ? length : 32), text->data + at);
        }
        if (nlm_ids_append(out, id) != NLM_OK) {
            return nlm_fail(err, NLM_OUT_OF_MEMORY, "stdin", "no memory for %zu ids", out->count + 1);
        }
        at += length;
    }
    return NLM_OK;
}

static nlm_status decode(const nlm_tokenizer *tokenizer, const arguments *a, const nlm_str *text, nlm_error *err) {
    nlm_ids ids = {0};
    nlm_str bytes = {0};
    nlm_status status = parse_ids(text, &ids, err);
    if (status == NLM_OK) {
        status = nlm_tokenizer_decode_all(tokenizer, ids.data, ids.count, a->has_special, &bytes, err);
    }
    if (status == NLM_OK && bytes.length > 0) fwrite(bytes.data, 1, bytes.length, stdout);
    nlm_str_release(&bytes);
    nlm_ids_release(&ids);
    return status;
}

static nlm_status run(const arguments *a, nlm_error *err) {
    nlm_gguf *gguf;
    nlm_tokenizer *tokenizer;
    NLM_TRY(nlm_gguf_open(a->model, &gguf, err));
    nlm_status status = nlm_tokenizer_create(gguf, &tokenizer, err);
    nlm_gguf_close(gguf);
    if (status != NLM_OK) return status;
    nlm_str input = {0};
    status = read_stdin(&input, err);
    if (status == NLM_OK) status = (a->decodes ? decode : encode)(tokenizer, a, &input, err);
    nlm_str_release(&input);
    nlm_tokenizer_destroy(tokenizer);
    return status;
}

int main(int argc, char **argv) {
    arguments a = {0};
    const nlm_option options[] = {
        {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file whose tokenizer to use", &a.model, 0, 0},
        {"bos", 0, NLM_OPTION_FLAG, NULL, "put the tokens around the text that the model wants there", &a.adds_bos, 0,
         0},
        {"special", 0, NLM_OPTION_FLAG, NULL,
         "text that spells a control token becomes that token;\nwith --decode: write control tokens too",
         &a.has_special, 0, 0},
        {"decode", 'd', NLM_OPTION_FLAG, NULL, "read ids, write the bytes they stand for", &a.decodes, 0, 0},
    };
    const nlm_command command = {
        .name = "nlm-tokenize",
        .usage = "--model FILE [options] < TEXT",
        .summary = "Turns the text on stdin into token ids on one line, or ids back into text.",
        .examples =
            "  echo -n 'Once upon a time' | nlm-tokenize --model model.gguf\n"
            "  nlm-tokenize -m model.gguf --bos < book.txt > book.ids\n"
            "  nlm-tokenize -m model.gguf --decode < book.ids > book.txt\n",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .max_operands = 0,
    };
    int first_operand;
    const int parsed = nlm_options_parse(&command, argc, argv, &first_operand);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (!a.model) return nlm_tell_usage(&command, "--model is missing");
    if (a.decodes && a.adds_bos) return nlm_tell_usage(&command, "--bos does not go with --decode");

    nlm_error err = NLM_ERROR_INIT;
    if (run(&a, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
