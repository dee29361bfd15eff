/* nlm-model: what is in a model file, and whether it is sound. */
#include "base/status.h"
#include "commands.h"

#include <string.h>

static inspect_options options;

static const nlm_option option_table[] = {
    {.name = "tensors", .type = NLM_OPTION_FLAG, .help = "inspect: list every tensor", .out = &options.tensors},
    {.name = "json", .type = NLM_OPTION_FLAG, .help = "inspect: print JSON", .out = &options.json},
    {.name = "no-mmap",
     .type = NLM_OPTION_FLAG,
     .help = "read the file into memory rather than map it",
     .out = &options.has_no_mmap},
};

static const nlm_command command = {
    .name = "nlm-model",
    .usage = "inspect FILE [--tensors] [--json]\n       nlm-model verify FILE [--no-mmap]",
    .summary = "Shows what is in a GGUF model file, or checks that it is sound.",
    .details =
        "inspect prints the model's shape, its types, the memory that running it takes and its metadata.\n"
        "verify reads the whole file and reports damaged structure and every tensor that holds a value\n"
        "or a block scale that is not a finite number.\n",
    .examples =
        "  nlm-model inspect model.gguf\n"
        "  nlm-model inspect model.gguf --tensors | less\n"
        "  nlm-model inspect model.gguf --json | jq .memory\n"
        "  nlm-model verify model.gguf && echo sound\n",
    .options = option_table,
    .n_options = sizeof option_table / sizeof *option_table,
    .max_operands = 2,
};

static int run(bool is_inspect, const nlm_gguf *gguf) {
    return is_inspect ? inspect_model(&command, gguf, &options) : verify_model(&command, gguf);
}

int main(int argc, char **argv) {
    int first = 0;
    const int parsed = nlm_options_parse(&command, argc, argv, &first);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (first == argc) return nlm_tell_usage(&command, "give a command, inspect or verify, and a file");
    const char *name = argv[first];
    const bool is_inspect = strcmp(name, "inspect") == 0;
    if (!is_inspect && strcmp(name, "verify") != 0) {
        return nlm_tell_usage(&command, "'%s' is no command; expected inspect or verify", name);
    }
    if (first + 1 == argc) return nlm_tell_usage(&command, "%s needs a file", name);
    if (!is_inspect && (options.tensors || options.json)) {
        return nlm_tell_usage(&command, "verify takes no --%s", options.tensors ? "tensors" : "json");
    }
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf;
    if ((options.has_no_mmap ? nlm_gguf_open_copy : nlm_gguf_open)(argv[first + 1], &gguf, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    const int code = run(is_inspect, gguf);
    nlm_gguf_close(gguf);
    return code;
}
