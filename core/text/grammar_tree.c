/* Trees of a grammar and sets of code points, made in one arena. */
#include "text/grammar_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX (UINT64_C(1) << 21) /* about 100 MB of them */

static const nlm_tree nothing = {.kind = NLM_TREE_SEQUENCE};

void nlm_rules_release(nlm_rules *rules) {
    nlm_arena_release(&rules->arena);
    *rules = (nlm_rules){0};
}

void nlm_rules_fail(nlm_rules *rules, nlm_status code, const char *where, const char *format, ...) {
    char message[600];
    if (rules->status != NLM_OK) return;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    rules->error = (nlm_error)NLM_ERROR_INIT;
    rules->status = nlm_fail(&rules->error, code, where, "%s", message);
}

void *nlm_rules_alloc(nlm_rules *rules, size_t count, size_t element_bytes) {
    if (rules->status != NLM_OK) return NULL;
    rules->n_parts += 1 + count / 8;
    if (rules->n_parts > PARTS_MAX) {
        nlm_rules_fail(rules, NLM_LIMIT, NLM_GRAMMAR_AT, "it is made of more than %llu parts",
                       (unsigned long long)PARTS_MAX);
        return NULL;
    }
    void *memory = nlm_arena_array(&rules->arena, count, element_bytes);
    if (!memory) nlm_rules_fail(rules, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for a grammar");
    return memory;
}

void *nlm_rules_grow(nlm_rules *rules, void *items, size_t count, size_t *capacity, size_t element_bytes) {
    if (rules->status != NLM_OK) return NULL;
    if (count < *capacity) return items;
    const size_t larger = *capacity ? 2 * *capacity : 4;
    void *moved = nlm_rules_alloc(rules, larger, element_bytes);
    if (!moved) return NULL;
    if (count) memcpy(moved, items, count * element_bytes);
    *capacity = larger;
    return moved;
}

uint32_t nlm_rules_add(nlm_rules *rules, const char *name, uint32_t line) {
    nlm_rule *items = nlm_rules_grow(rules, rules->items, rules->count, &rules->capacity, sizeof *items);
    if (!items) return 0;
    rules->items = items;
    items[rules->count] = (nlm_rule){.name = name, .line = line};
    return (uint32_t)rules->count++;
}

static nlm_tree *new_tree(nlm_rules *rules, nlm_tree_kind kind) {
    nlm_tree *tree = nlm_rules_alloc(rules, 1, sizeof *tree);
    if (tree) tree->kind = kind;
    return tree;
}

const nlm_tree *nlm_tree_text(nlm_rules *rules, const char *bytes, size_t length) {
    nlm_tree *tree = new_tree(rules, NLM_TREE_TEXT);
    char *copy = tree ? nlm_rules_alloc(rules, length, 1) : NULL;
    if (!copy) return &nothing;
    if (length) memcpy(copy, bytes, length);
    tree->text.bytes = copy;
    tree->text.length = length;
    return tree;
}

const nlm_tree *nlm_tree_string(nlm_rules *rules, const char *string) {
    return nlm_tree_text(rules, string, strlen(string));
}

const nlm_tree *nlm_tree_set(nlm_rules *rules, const nlm_code_set *set) {
    nlm_tree *tree = new_tree(rules, NLM_TREE_SET);
    if (!tree) return &nothing;
    tree->set = *set;
    return tree;
}

const nlm_tree *nlm_tree_repeat(nlm_rules *rules, const nlm_tree *item, uint32_t least, uint32_t most) {
    nlm_tree *tree = new_tree(rules, NLM_TREE_REPEAT);
    if (!tree) return &nothing;
    tree->repeat.item = item;
    tree->repeat.least = least;
    tree->repeat.most = most;
    return tree;
}

const nlm_tree *nlm_tree_rule(nlm_rules *rules, uint32_t rule) {
    nlm_tree *tree = new_tree(rules, NLM_TREE_RULE);
    if (!tree) return &nothing;
    tree->rule = rule;
    return tree;
}

/* What a tree that may be added to is after a failure: what is added to it is dropped. */
static nlm_tree *growing_tree(nlm_rules *rules, nlm_tree_kind kind) {
    static _Thread_local nlm_tree spare;
    nlm_tree *tree = new_tree(rules, kind);
    if (tree) return tree;
    spare = (nlm_tree){.kind = kind};
    return &spare;
}

nlm_tree *nlm_tree_sequence(nlm_rules *rules) {
    return growing_tree(rules, NLM_TREE_SEQUENCE);
}

nlm_tree *nlm_tree_choice(nlm_rules *rules) {
    return growing_tree(rules, NLM_TREE_CHOICE);
}

void nlm_tree_add(nlm_rules *rules, nlm_tree *list, const nlm_tree *item) {
    const nlm_tree **items =
        nlm_rules_grow(rules, list->list.items, list->list.count, &list->list.capacity, sizeof *items);
    if (!items) return;
    list->list.items = items;
    items[list->list.count++] = item;
}

nlm_tree *nlm_tree_graph(nlm_rules *rules, uint32_t n_states) {
    nlm_tree *graph = growing_tree(rules, NLM_TREE_GRAPH);
    graph->graph.is_final = nlm_rules_alloc(rules, n_states, 1);
    if (graph->graph.is_final) graph->graph.n_states = n_states;
    return graph;
}

void nlm_tree_connect(nlm_rules *rules, nlm_tree *graph, uint32_t from, uint32_t to, const nlm_tree *tree) {
    nlm_graph_edge *edges =
        nlm_rules_grow(rules, graph->graph.edges, graph->graph.n_edges, &graph->graph.capacity, sizeof *edges);
    if (!edges) return;
    graph->graph.edges = edges;
    edges[graph->graph.n_edges++] = (nlm_graph_edge){from, to, tree};
}

/* ---- sets of code points -------------------------------------------------------------------- */

void nlm_code_set_add(nlm_rules *rules, nlm_code_set *set, uint32_t first, uint32_t last) {
    nlm_code_range *ranges = nlm_rules_grow(rules, set->ranges, set->count, &set->capacity, sizeof *ranges);
    if (!ranges || first > last) return;
    set->ranges = ranges;
    ranges[set->count++] = (nlm_code_range){first, last};
}

static int compare_ranges(const void *a, const void *b) {
    const nlm_code_range *left = a, *right = b;
    return left->first < right->first ? -1 : left->first > right->first;
}

void nlm_code_set_finish(nlm_code_set *set) {
    if (set->count == 0) return;
    qsort(set->ranges, set->count, sizeof *set->ranges, compare_ranges);
    size_t kept = 0;
    for (size_t i = 1; i < set->count; i++) {
        const nlm_code_range range = set->ranges[i];
        if (range.first <= set->ranges[kept].last || range.first - 1 == set->ranges[kept].last) {
            if (range.last > set->ranges[kept].last) set->ranges[kept].last = range.last;
        } else {
            set->ranges[++kept] = range;
        }
    }
    set->count = kept + 1;
}

nlm_code_set nlm_code_set_complement(nlm_rules *rules, const nlm_code_set *set) {
    nlm_code_set rest = {0};
    uint32_t next = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->ranges[i].first > next) nlm_code_set_add(rules, &rest, next, set->ranges[i].first - 1);
        next = set->ranges[i].last + 1;
    }
    if (next <= NLM_CODE_MAX) nlm_code_set_add(rules, &rest, next, NLM_CODE_MAX);
    return rest;
}

bool nlm_code_set_has(const nlm_code_set *set, uint32_t code) {
    for (size_t i = 0; i < set->count; i++) {
        if (code >= set->ranges[i].first && code <= set->ranges[i].last) return true;
    }
    return false;
}
