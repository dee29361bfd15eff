#include <stdlib.h>
#include <string.h>

#include "common/options.h"
#include "conform.h"

typedef struct collection {
    const char *filter;
    conform_case *cases; /* NULL while counting */
    size_t count;
} collection;

/* An op, or a case's whole name. */
static bool matches(const char *filter, const char *name) {
    if (!filter) return true;
    const size_t length = strlen(filter);
    return strncmp(name, filter, length) == 0 && (name[length] == 0 || name[length] == '/');
}

static bool collect(void *user, const spec_table *table, const char *name) {
    collection *all = user;
    if (!matches(all->filter, name)) return true;
    if (all->cases) {
        conform_case *c = &all->cases[all->count];
        c->op = table->op;
        c->level = table->level;
        memcpy(c->name, name, strlen(name) + 1);
    }
    all->count++;
    return true;
}

static int run(const nlm_command *command, const conform_options *options) {
    nlm_error err = NLM_ERROR_INIT;
    collection all = {.filter = options->filter};
    if (options->backend && options->library) return nlm_tell_usage(command, "give --backend or --library, not both");
    spec_for_each(collect, &all);
    if (all.count == 0) return nlm_tell_usage(command, "no case is named '%s'", options->filter);
    all.cases = calloc(all.count, sizeof *all.cases);
    if (!all.cases) return NLM_EXIT_FAILED;
    all.count = 0;
    spec_for_each(collect, &all);
    int code = NLM_EXIT_FAILED;
    if (conform_supervise(options, all.cases, all.count, &err) != NLM_OK) {
        nlm_tell(command, &err);
    } else if (conform_report(options, all.cases, all.count)) {
        code = NLM_EXIT_OK;
    }
    free(all.cases);
    return nlm_stdout_finish(command) ? code : NLM_EXIT_FAILED;
}

int main(int argc, char **argv) {
    conform_options options = {.seed = 1, .timeout_s = 120};
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
        {.name = "filter",
         .type = NLM_OPTION_TEXT,
         .argument = "OP",
         .help = "only the cases of this op, or the one case of this name",
         .out = &options.filter},
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
         .out = &options.is_strict},
        {.name = "complete",
         .type = NLM_OPTION_FLAG,
         .help = "a case that is not supported has failed",
         .out = &options.is_complete},
        {.name = "json", .type = NLM_OPTION_FLAG, .help = "every case, as JSON", .out = &options.is_json},
    };
    const nlm_command command = {
        .name = "nlm-conform",
        .usage = "[options]",
        .summary = "Certifies a backend: runs its ops against float64 references.",
        .examples =
            "  nlm-conform --backend cpu_scalar\n"
            "  nlm-conform --library ./mine.so --filter matmul\n"
            "  nlm-conform --library ./mine.so --filter 'matmul/M=1,K=1,N=1' --seed 7\n",
        .options = table,
        .n_options = sizeof table / sizeof *table,
    };
    int first_operand;
    const int code = nlm_options_parse(&command, argc, argv, &first_operand);
    if (code != NLM_OPTIONS_GO_ON) return code;
    return run(&command, &options);
}
