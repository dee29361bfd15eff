/* The cases that a selection asks for. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "conform.h"

typedef struct collection {
    const conform_options *options;
    conform_case *cases; /* NULL while counting */
    size_t count;
} collection;

bool conform_matches(const char *filter, const char *name) {
    if (!filter) return true;
    const size_t length = strlen(filter);
    return strncmp(name, filter, length) == 0 && (name[length] == 0 || name[length] == '/');
}

static void add(collection *all, const char *name, const char *row, conform_kind kind, int level) {
    const int64_t most = all->options->level;
    if (!conform_matches(all->options->filter, name) || (most != CONFORM_ALL_LEVELS && level > most)) return;
    if (all->cases) {
        conform_case *c = &all->cases[all->count];
        *c = (conform_case){.row = row, .kind = kind, .level = level};
        memcpy(c->name, name, strlen(name) + 1);
    }
    all->count++;
}

static bool add_op(void *user, const spec_table *table, const char *name) {
    add(user, name, nlm_op_name(table->op), CONFORM_OP, spec_level(table->op));
    return true;
}

static void add_model(void *user, const char *name) {
    add(user, name, "models", CONFORM_MODEL, 1);
}

static void add_activation(void *user, const char *name) {
    add(user, name, "activations", CONFORM_ACTIVATION, 1);
}

static void add_captured(void *user, const char *name) {
    add(user, name, "captured", CONFORM_CAPTURED, 2);
}

static void add_all(collection *all) {
    size_t n_rules;
    const conform_rule *rules = conform_rules(&n_rules);
    all->count = 0;
    for (size_t i = 0; i < n_rules; i++) add(all, rules[i].name, "abi", CONFORM_RULE, 0);
    spec_for_each(add_op, all);
    conform_for_each_model(add_model, all);
    conform_for_each_activation(add_activation, all);
    conform_for_each_captured(add_captured, all);
}

nlm_status conform_collect(const conform_options *options, conform_case **out, size_t *out_count, nlm_error *err) {
    collection all = {.options = options};
    *out = NULL;
    add_all(&all);
    *out_count = all.count;
    if (all.count == 0) return NLM_OK;
    all.cases = calloc(all.count, sizeof *all.cases);
    if (!all.cases) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for %zu cases", all.count);
    add_all(&all);
    *out = all.cases;
    return NLM_OK;
}
