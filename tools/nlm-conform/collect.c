/* The cases that a selection asks for. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "conform.h"

typedef struct collection {
    const conform_options *options;
    conform_case *cases; /* NULL while counting */
    size_t count;
    int level;         /* whose cases are collected */
    int64_t asked_for; /* cases so far, taken into the sample or not */
} collection;

#define UNLOAD "unload/level_"

bool conform_matches(const char *filter, const char *name) {
    if (!filter) return true;
    const size_t length = strlen(filter);
    return strncmp(name, filter, length) == 0 && (name[length] == 0 || name[length] == '/');
}

/* What a level leaves behind is seen only after all of its cases. */
static bool is_wanted(const collection *all, const char *name) {
    const char *filter = all->options->filter;
    if (conform_matches(filter, name)) return true;
    const size_t length = strlen(UNLOAD);
    return strncmp(filter, UNLOAD, length) == 0 && filter[length] == '0' + all->level && filter[length + 1] == 0;
}

static void add(collection *all, const char *name, const char *row, conform_kind kind, int level) {
    if (level != all->level || !is_wanted(all, name)) return;
    if (all->asked_for++ % all->options->sample != all->options->first) return;
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
    const int64_t most = all->options->level == CONFORM_ALL_LEVELS ? CONFORM_MAX_LEVEL : all->options->level;
    all->count = 0;
    all->asked_for = 0;
    for (all->level = 0; all->level <= most; all->level++) {
        char unload[] = UNLOAD "0";
        for (size_t i = 0; i < n_rules; i++) add(all, rules[i].name, "abi", CONFORM_RULE, 0);
        spec_for_each(add_op, all);
        conform_for_each_model(add_model, all);
        conform_for_each_activation(add_activation, all);
        conform_for_each_captured(add_captured, all);
        unload[strlen(UNLOAD)] = (char)('0' + all->level);
        if (all->level > 0) add(all, unload, "unload", CONFORM_UNLOAD, all->level);
    }
}

static void take_part(collection *all) {
    const size_t part = (size_t)all->options->part, parts = (size_t)all->options->parts;
    const size_t from = all->count * part / parts, to = all->count * (part + 1) / parts;
    memmove(all->cases, all->cases + from, (to - from) * sizeof *all->cases);
    all->count = to - from;
}

nlm_status conform_collect(const conform_options *options, conform_case **out, size_t *out_count, nlm_error *err) {
    collection all = {.options = options};
    *out = NULL;
    *out_count = 0;
    add_all(&all);
    if (all.count == 0) return NLM_OK;
    all.cases = calloc(all.count, sizeof *all.cases);
    if (!all.cases) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for %zu cases", all.count);
    add_all(&all);
    take_part(&all);
    *out = all.cases;
    *out_count = all.count;
    return NLM_OK;
}
