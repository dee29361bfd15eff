/* The command line of nlm-conform. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "common/options.h"
#include "config/config.h"
#include "conform.h"

/* KEY=VALUE as key, value, ..., NULL in the arena's memory. NULL: no memory, or said what is wrong. */
static const char **split_options(const nlm_command *command, const nlm_option_texts *given, nlm_arena *arena) {
    const char **list = nlm_arena_array(arena, 2 * given->count + 1, sizeof *list);
    for (size_t i = 0; list && i < given->count; i++) {
        const char *text = given->items[i], *equals = strchr(text, '=');
        if (!equals || equals == text) {
            nlm_tell_usage(command, "--option: '%s' is not KEY=VALUE", text);
            return NULL;
        }
        list[2 * i] = nlm_arena_strndup(arena, text, (size_t)(equals - text));
        list[2 * i + 1] = equals + 1;
        if (!list[2 * i]) return NULL;
    }
    if (list) list[2 * given->count] = NULL;
    return list;
}

/* What the device is opened with says how far it may round activations; --strict overrides that. */
static oracle_activations activations_of(const conform_options *options, bool is_strict) {
    const char *bits = nlm_config_option(options->device_options, "activations");
    if (is_strict) return ORACLE_STRICT;
    return bits && strcmp(bits, "8") == 0 ? ORACLE_COARSE : ORACLE_ROUNDED;
}

static int run(const nlm_command *command, const conform_options *options) {
    nlm_error err = NLM_ERROR_INIT;
    conform_case *cases = NULL;
    size_t count = 0;
    if (options->backend && options->library) return nlm_tell_usage(command, "give --backend or --library, not both");
    if (options->first >= options->sample) {
        return nlm_tell_usage(command, "--first %lld is not below --sample %lld", (long long)options->first,
                              (long long)options->sample);
    }
    if (options->part >= options->parts) {
        return nlm_tell_usage(command, "--part %lld is not below --parts %lld", (long long)options->part,
                              (long long)options->parts);
    }
    if (options->is_perf) {
        const nlm_status measured = conform_perf(options, &err);
        if (measured != NLM_OK) nlm_tell(command, &err);
        return nlm_stdout_finish(command) && measured == NLM_OK ? NLM_EXIT_OK : NLM_EXIT_FAILED;
    }
    int code = NLM_EXIT_FAILED;
    nlm_status status = conform_collect(options, &cases, &count, &err);
    if (status == NLM_OK && count == 0) {
        return nlm_tell_usage(command, "no case is named '%s'%s", options->filter,
                              options->sample > 1 || options->parts > 1 ? " in this sample or part" : "");
    }
    if (status == NLM_OK) status = conform_supervise(options, cases, count, &err);
    if (status != NLM_OK) {
        nlm_tell(command, &err);
    } else if (conform_report(options, cases, count)) {
        code = NLM_EXIT_OK;
    }
    free(cases);
    return nlm_stdout_finish(command) ? code : NLM_EXIT_FAILED;
}

int main(int argc, char **argv) {
    nlm_option_texts device_options = {.count = 0};
    bool is_strict = false;
    conform_options options = {.sample = 1, .parts = 1, .seed = 1, .timeout_s = 120, .level = CONFORM_ALL_LEVELS};
    const nlm_option table[] = {
        {.name = "backend",
         .type = NLM_OPTION_TEXT,
         .argument = "NAME",
         .help = "a backend of the registry",
         .out = &options.backend},
        {.name = "library",
         .type = NLM_OPTION_TEXT,
         .argument = "FILE",
         .help = "a backend's shared object",
         .out = &options.library},
        {.name = "option",
         .type = NLM_OPTION_TEXTS,
         .argument = "KEY=VALUE",
         .help = "an option of the device, before those of the registry; may be repeated.\n"
                 "With activations=8 bounds are those of activations of 8 bits",
         .out = &device_options},
        {.name = "filter",
         .type = NLM_OPTION_TEXT,
         .argument = "ROW",
         .help = "only the cases of this row of the tables, an op for example,\nor the one case of this name",
         .out = &options.filter},
        {"sample", 0, NLM_OPTION_INT, "N", "only one in N of the cases, where the machine is too slow for all (1)",
         &options.sample, 1, 1000000},
        {"first", 0, NLM_OPTION_INT, "N",
         "of --sample: the first of them (0); --sample 2 --first 1 has the cases\nthat --sample 2 leaves out",
         &options.first, 0, 999999},
        {"parts", 0, NLM_OPTION_INT, "N", "only one of N parts of the cases, each a row of neighbours (1)",
         &options.parts, 1, 1000000},
        {"part", 0, NLM_OPTION_INT, "N", "of --parts: which, from 0 (0)", &options.part, 0, 999999},
        {.name = "level",
         .type = NLM_OPTION_INT,
         .argument = "N",
         .help = "0: the rules of the ABI; 1: also ops and models; 2: also fused ops and\n"
                 "captured graphs; 3: also training (all there is)",
         .out = &options.level,
         .min = 0,
         .max = CONFORM_MAX_LEVEL},
        {.name = "seed",
         .type = NLM_OPTION_INT,
         .argument = "N",
         .help = "of the cases' contents (1)",
         .out = &options.seed},
        {.name = "timeout",
         .type = NLM_OPTION_INT,
         .argument = "SECONDS",
         .help = "a case that takes longer has failed (120)",
         .out = &options.timeout_s,
         .min = 1,
         .max = 86400},
        {.name = "strict",
         .type = NLM_OPTION_FLAG,
         .help = "allow no rounding of activations, whatever the weights' type",
         .out = &is_strict},
        {.name = "complete",
         .type = NLM_OPTION_FLAG,
         .help = "a case that is not supported has failed",
         .out = &options.is_complete},
        {.name = "perf",
         .type = NLM_OPTION_FLAG,
         .help = "time the ops, with their data in the caches and not, instead of\ncertifying them",
         .out = &options.is_perf},
        {.name = "threads",
         .type = NLM_OPTION_INT,
         .argument = "N",
         .help = "of --perf (one per physical core)",
         .out = &options.threads,
         .min = 1,
         .max = 1024},
        {.name = "json", .type = NLM_OPTION_FLAG, .help = "every case, as JSON", .out = &options.is_json},
    };
    const nlm_command command = {
        .name = "nlm-conform",
        .usage = "[options]",
        .summary = "Certifies a backend: runs its ops against float64 references.",
        .examples =
            "  nlm-conform --backend cpu_scalar\n"
            "  nlm-conform --library ./mine.so --filter matmul\n"
            "  nlm-conform --library ./mine.so --filter matmul --perf\n"
            "  nlm-conform --library ./mine.so --filter 'matmul/M=1,K=1,N=1' --seed 7\n",
        .options = table,
        .n_options = sizeof table / sizeof *table,
    };
    int first_operand;
    const int code = nlm_options_parse(&command, argc, argv, &first_operand);
    if (code != NLM_OPTIONS_GO_ON) return code;
    nlm_arena arena = {0};
    options.device_options = split_options(&command, &device_options, &arena);
    options.activations = activations_of(&options, is_strict);
    const int exit_code = options.device_options ? run(&command, &options) : NLM_EXIT_USAGE;
    nlm_arena_release(&arena);
    return exit_code;
}
