/* nlm-model: what is in a model file, and whether it is sound. */
#include "base/status.h"
#include "commands.h"

#include <string.h>

static inspect_options options;
static convert_options conversion = {.shard_gb = 5};
static quantize_options quantization;

static const nlm_option option_table[] = {
    {.name = "tensors", .type = NLM_OPTION_FLAG, .help = "inspect: list every tensor", .out = &options.tensors},
    {.name = "json", .type = NLM_OPTION_FLAG, .help = "inspect, quantize: print JSON", .out = &options.json},
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
    {.name = "type",
     .type = NLM_OPTION_TEXT,
     .argument = "TYPE",
     .help = "quantize: q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k,\niq4_nl, f16 or bf16, of every matrix",
     .out = &quantization.type},
    {.name = "head-type",
     .type = NLM_OPTION_TEXT,
     .argument = "TYPE",
     .help = "quantize: of output.weight (q6_k, or --type if that is more)",
     .out = &quantization.head_type},
    {.name = "embedding-type",
     .type = NLM_OPTION_TEXT,
     .argument = "TYPE",
     .help = "quantize: of token_embd.weight (as --type; as the head where\nthe model has no other)",
     .out = &quantization.embedding_type},
    {.name = "text",
     .type = NLM_OPTION_TEXT,
     .argument = "FILE",
     .help = "quantize: print the perplexity of this text before and after",
     .out = &quantization.text},
    {.name = "calibrate",
     .type = NLM_OPTION_TEXT,
     .argument = "FILE",
     .help = "quantize: weigh errors by what columns are multiplied by when\nthe model reads this text",
     .out = &quantization.calibrate},
    {.name = "save-importance",
     .type = NLM_OPTION_TEXT,
     .argument = "FILE.gguf",
     .help = "quantize: write the sums of --calibrate, as llama.cpp's imatrix",
     .out = &quantization.importance},
    {.name = "backend",
     .letter = 'b',
     .type = NLM_OPTION_TEXT,
     .argument = "NAME",
     .help = "quantize: what runs the model over a text (the best one here)",
     .out = &quantization.backend},
    {.name = "threads",
     .letter = 'j',
     .type = NLM_OPTION_INT,
     .argument = "N",
     .help = "quantize: threads (0: one per physical core)",
     .out = &quantization.threads,
     .max = 1024},
};

static const nlm_command command = {
    .name = "nlm-model",
    .usage =
        "inspect FILE [--tensors] [--json]\n       nlm-model verify FILE [--no-mmap]\n"
        "       nlm-model convert IN OUT [--dtype TYPE]\n"
        "       nlm-model quantize IN.gguf OUT.gguf --type TYPE",
    .summary = "Shows what is in a GGUF model file, checks that it is sound, converts it, or quantises it.",
    .details =
        "inspect prints the model's shape, its types, the memory that running it takes and its metadata.\n"
        "verify reads the whole file and reports damaged structure and every tensor that holds a value\n"
        "or a block scale that is not a finite number.\n"
        "convert writes a GGUF file as a folder of Hugging Face's transformers, which is new or empty\n"
        "(config.json, safetensors, tokenizer.json), and such a folder as a GGUF file. Vectors of a GGUF stay f32.\n"
        "quantize writes the matrices of a GGUF file in a smaller type and prints what that costs: for each its "
        "size,\n"
        "the root of its squared error over that of its values, and its worst row. Vectors, norms, biases and "
        "Mamba's\n"
        "A, D and convolution stay as they are. Rows that are no whole blocks become q8_0 or f16, which is told.\n",
    .examples =
        "  nlm-model inspect model.gguf\n"
        "  nlm-model inspect model.gguf --tensors | less\n"
        "  nlm-model inspect model.gguf --json | jq .memory\n"
        "  nlm-model verify model.gguf && echo sound\n"
        "  nlm-model convert model.gguf folder --dtype bf16\n"
        "  nlm-model convert folder model.gguf\n"
        "  nlm-model quantize model.gguf small.gguf --type q4_k --text book.txt\n",
    .options = option_table,
    .n_options = sizeof option_table / sizeof *option_table,
    .max_operands = 3,
};

typedef enum verb { INSPECT, VERIFY, CONVERT, QUANTIZE, N_VERBS } verb;

static const char *const verbs[] = {
    [INSPECT] = "inspect", [VERIFY] = "verify", [CONVERT] = "convert", [QUANTIZE] = "quantize"};

/* An option that the verb has nothing to do with; NULL: there is none. */
static const char *stray_option(verb which) {
    const quantize_options *q = &quantization;
    const struct {
        const char *name;
        bool is_given;
        unsigned verbs;
    } rules[] = {
        {"tensors", options.tensors, 1u << INSPECT},
        {"json", options.json, 1u << INSPECT | 1u << QUANTIZE},
        {"no-mmap", options.has_no_mmap, 1u << INSPECT | 1u << VERIFY},
        {"dtype", conversion.dtype, 1u << CONVERT},
        {"shard-size", conversion.shard_gb != 5, 1u << CONVERT},
        {"type", q->type, 1u << QUANTIZE},
        {"head-type", q->head_type, 1u << QUANTIZE},
        {"embedding-type", q->embedding_type, 1u << QUANTIZE},
        {"text", q->text, 1u << QUANTIZE},
        {"calibrate", q->calibrate, 1u << QUANTIZE},
        {"save-importance", q->importance, 1u << QUANTIZE},
        {"backend", q->backend, 1u << QUANTIZE},
        {"threads", q->threads > 0, 1u << QUANTIZE},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].is_given && !(rules[i].verbs >> which & 1u)) return rules[i].name;
    }
    return NULL;
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
    if (first == argc)
        return nlm_tell_usage(&command, "give a command, inspect, verify, convert or quantize, and a file");
    const char *name = argv[first];
    verb which = 0;
    while (which < N_VERBS && strcmp(name, verbs[which]) != 0) which++;
    if (which == N_VERBS) {
        return nlm_tell_usage(&command, "'%s' is no command; expected inspect, verify, convert or quantize", name);
    }
    const int paths = argc - first - 1, expected = which >= CONVERT ? 2 : 1;
    if (paths < expected)
        return nlm_tell_usage(&command, "%s needs %s", name, expected == 1 ? "a file" : "IN and OUT");
    if (paths > expected)
        return nlm_tell_usage(&command, "%s takes %s; '%s' is too many", name, expected == 1 ? "one file" : "two",
                              argv[first + 1 + expected]);
    const char *stray = stray_option(which);
    if (stray) return nlm_tell_usage(&command, "%s takes no --%s", name, stray);
    quantization.json = options.json;
    if (which == CONVERT) return convert_model(&command, argv[first + 1], argv[first + 2], &conversion);
    if (which == QUANTIZE) return quantize_model(&command, argv[first + 1], argv[first + 2], &quantization);
    return look_at(which, argv[first + 1]);
}
