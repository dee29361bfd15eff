/* nlm-model: what is in a model file, and whether it is sound. */
#include "base/status.h"
#include "commands.h"

#include <string.h>

static inspect_options options;
static convert_options conversion = {.shard_gb = 5};

static const nlm_option option_table[] = {
    {.name = "tensors", .type = NLM_OPTION_FLAG, .help = "inspect: list every tensor", .out = &options.tensors},
    {.name = "json", .type = NLM_OPTION_FLAG, .help = "inspect: print JSON", .out = &options.json},
    {.name = "no-mmap",
     .type = NLM_OPTION_FLAG,
     .help = "inspect, verify: read the file into memory rather than map it",
     .out = &options.has_no_mmap},
    {.name = "dtype",
     .type = NLM_OPTION_TEXT,
     .argument = "TYPE",
     .help = "convert: f32, f16 or bf16 (as the input has them; quantised ones f32)",
     .out = &conversion.dtype},
    {.name = "shard-size",
     .type = NLM_OPTION_NUMBER,
     .argument = "GB",
     .help = "convert: at most so much in one file of a folder (5)",
     .out = &conversion.shard_gb,
     .min = 1e-6,
     .max = 1e6},
};

static const nlm_command command = {
    .name = "nlm-model",
    .usage =
        "inspect FILE [--tensors] [--json]\n       nlm-model verify FILE [--no-mmap]\n"
        "       nlm-model convert IN OUT [--dtype TYPE]",
    .summary = "Shows what is in a GGUF model file, checks that it is sound, or converts it.",
    .details =
        "inspect prints the model's shape, its types, the memory that running it takes and its metadata.\n"
        "verify reads the whole file and reports damaged structure and every tensor that holds a value\n"
        "or a block scale that is not a finite number.\n"
        "convert writes a GGUF file as a folder of Hugging Face's transformers, which is new or empty\n"
        "(config.json, safetensors, tokenizer.json), and such a folder as a GGUF file. Vectors of a GGUF stay f32.\n",
    .examples =
        "  nlm-model inspect model.gguf\n"
        "  nlm-model inspect model.gguf --tensors | less\n"
        "  nlm-model inspect model.gguf --json | jq .memory\n"
        "  nlm-model verify model.gguf && echo sound\n"
        "  nlm-model convert model.gguf folder --dtype bf16\n"
        "  nlm-model convert folder model.gguf\n",
    .options = option_table,
    .n_options = sizeof option_table / sizeof *option_table,
    .max_operands = 3,
};

typedef enum verb { INSPECT, VERIFY, CONVERT, N_VERBS } verb;

static const char *const verbs[] = {[INSPECT] = "inspect", [VERIFY] = "verify", [CONVERT] = "convert"};

/* An option that the verb has nothing to do with; NULL: there is none. */
static const char *stray_option(verb which) {
    if (which != INSPECT && options.tensors) return "tensors";
    if (which != INSPECT && options.json) return "json";
    if (which == CONVERT && options.has_no_mmap) return "no-mmap";
    if (which != CONVERT && conversion.dtype) return "dtype";
    return which != CONVERT && conversion.shard_gb != 5 ? "shard-size" : NULL;
}

static int look_at(verb which, const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf;
    if ((options.has_no_mmap ? nlm_gguf_open_copy : nlm_gguf_open)(path, &gguf, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    const int code = which == INSPECT ? inspect_model(&command, gguf, &options) : verify_model(&command, gguf);
    nlm_gguf_close(gguf);
    return code;
}

int main(int argc, char **argv) {
    int first = 0;
    const int parsed = nlm_options_parse(&command, argc, argv, &first);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (first == argc) return nlm_tell_usage(&command, "give a command, inspect, verify or convert, and a file");
    const char *name = argv[first];
    verb which = 0;
    while (which < N_VERBS && strcmp(name, verbs[which]) != 0) which++;
    if (which == N_VERBS) {
        return nlm_tell_usage(&command, "'%s' is no command; expected inspect, verify or convert", name);
    }
    const int paths = argc - first - 1, expected = which == CONVERT ? 2 : 1;
    if (paths < expected)
        return nlm_tell_usage(&command, "%s needs %s", name, expected == 1 ? "a file" : "IN and OUT");
    if (paths > expected)
        return nlm_tell_usage(&command, "%s takes one file; '%s' is too many", name, argv[first + 2]);
    const char *stray = stray_option(which);
    if (stray) return nlm_tell_usage(&command, "%s takes no --%s", name, stray);
    if (which == CONVERT) return convert_model(&command, argv[first + 1], argv[first + 2], &conversion);
    return look_at(which, argv[first + 1]);
}
