/* Rules to a pushdown automaton: Thompson's construction, a graph a rule. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar_pushdown.h"
#include "text/grammar_shortest.h"

#define POSITIONS_MAX (1u << 20)
#define EDGES_MAX     (1u << 22)
#define SETS_MAX      4096u
#define DEPTH_MAX     2000       /* of trees within one another */
#define LINE_OF_SETS  UINT32_MAX /* of a rule that is made here for a set */

/* A set above U+007F is a rule of its own, shared by all that are the same. */
typedef struct set_rule {
    const nlm_code_set *set;
    uint32_t rule;
} set_rule;

typedef struct compiler {
    nlm_rules *rules;
    uint32_t n_positions;
    nlm_from_edge *edges;
    size_t n_edges, capacity;
    uint32_t *entry, *end; /* [n_entries] of the rules */
    size_t n_entries;
    set_rule *sets;
    size_t n_sets, sets_capacity;
    unsigned depth;
} compiler;

static bool is_ok(const compiler *c) {
    return c->rules->status == NLM_OK;
}

static uint32_t new_position(void *user) {
    compiler *c = user;
    if (c->n_positions == POSITIONS_MAX) {
        nlm_rules_fail(c->rules, NLM_LIMIT, NLM_GRAMMAR_AT,
                       "its automaton has more than %u positions: fewer or shorter repeats are needed",
                       POSITIONS_MAX);
        return 0;
    }
    return c->n_positions++;
}

static void add_edge(compiler *c, uint32_t from, nlm_edge edge) {
    if (!is_ok(c)) return;
    if (c->n_edges == c->capacity) {
        const size_t capacity = c->capacity ? 2 * c->capacity : 256;
        nlm_from_edge *edges = capacity <= EDGES_MAX ? realloc(c->edges, capacity * sizeof *edges) : NULL;
        if (!edges) {
            const bool is_large = capacity > EDGES_MAX;
            nlm_rules_fail(c->rules, is_large ? NLM_LIMIT : NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT,
                           is_large ? "its automaton has more than %u edges" : "no memory for %u edges", EDGES_MAX);
            return;
        }
        c->edges = edges;
        c->capacity = capacity;
    }
    c->edges[c->n_edges++] = (nlm_from_edge){from, edge};
}

static void add_bytes(void *user, uint32_t from, uint32_t to, uint8_t first, uint8_t last) {
    add_edge(user, from, (nlm_edge){.kind = NLM_EDGE_BYTES, .to = to, .first = first, .last = last});
}

static void add_empty(compiler *c, uint32_t from, uint32_t to) {
    if (from != to) add_edge(c, from, (nlm_edge){.kind = NLM_EDGE_EMPTY, .to = to});
}

static void add_call(compiler *c, uint32_t from, uint32_t to, uint32_t rule) {
    add_edge(c, from, (nlm_edge){.kind = NLM_EDGE_CALL, .to = to, .rule = rule});
}

static void add_text(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    const size_t length = tree->text.length;
    if (length == 0) add_empty(c, from, to);
    for (size_t i = 0; i < length && is_ok(c); i++) {
        const uint8_t byte = (uint8_t)tree->text.bytes[i];
        const uint32_t next = i + 1 == length ? to : new_position(c);
        add_bytes(c, from, next, byte, byte);
        from = next;
    }
}

/* Ranges above U+007F are compared alone: what is below is no part of a set's rule. */
static bool same_set(const nlm_code_set *a, const nlm_code_set *b) {
    size_t i = 0, j = 0;
    while (i < a->count && a->ranges[i].last < 0x80) i++;
    while (j < b->count && b->ranges[j].last < 0x80) j++;
    if (a->count - i != b->count - j) return false;
    for (bool is_first = true; i < a->count; i++, j++, is_first = false) {
        const nlm_code_range x = a->ranges[i], y = b->ranges[j];
        const bool both_cut = is_first && x.first <= 0x80 && y.first <= 0x80;
        if ((x.first != y.first && !both_cut) || x.last != y.last) return false;
    }
    return true;
}

/* The rule for what of a set is above U+007F. */
static uint32_t rule_of_set(compiler *c, const nlm_code_set *set) {
    for (size_t i = 0; i < c->n_sets; i++) {
        if (same_set(c->sets[i].set, set)) return c->sets[i].rule;
    }
    if (c->n_sets == SETS_MAX) {
        nlm_rules_fail(c->rules, NLM_LIMIT, NLM_GRAMMAR_AT, "more than %u different sets of characters", SETS_MAX);
    }
    set_rule *sets = nlm_rules_grow(c->rules, c->sets, c->n_sets, &c->sets_capacity, sizeof *sets);
    const uint32_t rule = nlm_rules_add(c->rules, NULL, LINE_OF_SETS);
    if (!is_ok(c)) return 0;
    c->rules->items[rule].body = nlm_tree_set(c->rules, set);
    c->sets = sets;
    sets[c->n_sets++] = (set_rule){set, rule};
    return rule;
}

static void add_set(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    const nlm_code_set *set = &tree->set;
    for (size_t i = 0; i < set->count && set->ranges[i].first < 0x80; i++) {
        const uint32_t last = set->ranges[i].last < 0x7F ? set->ranges[i].last : 0x7F;
        add_bytes(c, from, to, (uint8_t)set->ranges[i].first, (uint8_t)last);
    }
    if (set->count && set->ranges[set->count - 1].last >= 0x80) add_call(c, from, to, rule_of_set(c, set));
}

static void add_tree(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to);

/* What is repeated often and is no single edge is a rule, so that a repeat costs one edge each. */
static const nlm_tree *as_rule(compiler *c, const nlm_tree *item) {
    const uint32_t rule = nlm_rules_add(c->rules, NULL, 0);
    if (!is_ok(c)) return item;
    c->rules->items[rule].body = item;
    return nlm_tree_rule(c->rules, rule);
}

/* What groups of one stand around. */
static const nlm_tree *bare(const nlm_tree *tree) {
    while ((tree->kind == NLM_TREE_SEQUENCE || tree->kind == NLM_TREE_CHOICE) && tree->list.count == 1) {
        tree = tree->list.items[0];
    }
    return tree;
}

/* (x?){m,n} is x{0,n}, (x*){m,n} is x*, (x+){m,n} is x{m,}: in one way rather than in many. */
static void simplify_repeat(const nlm_tree **item, uint32_t *least, uint32_t *most) {
    for (*item = bare(*item); (*item)->kind == NLM_TREE_REPEAT && *most > 0; *item = bare((*item)->repeat.item)) {
        const uint32_t inner_least = (*item)->repeat.least, inner_most = (*item)->repeat.most;
        if (inner_least > 1 || (inner_most != NLM_NO_LIMIT && (inner_least != 0 || inner_most != 1))) return;
        if (inner_least == 0) *least = 0;
        if (inner_most == NLM_NO_LIMIT) *most = NLM_NO_LIMIT;
    }
}

static void add_repeat(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    uint32_t least = tree->repeat.least, most = tree->repeat.most;
    const nlm_tree *item = tree->repeat.item;
    simplify_repeat(&item, &least, &most);
    const uint32_t copies = most == NLM_NO_LIMIT ? least + 1 : most;
    if (copies > 3 && item->kind != NLM_TREE_SET && item->kind != NLM_TREE_RULE) item = as_rule(c, item);
    for (uint32_t i = 0; i < least && is_ok(c); i++) {
        const uint32_t next = i + 1 == most ? to : new_position(c);
        add_tree(c, item, from, next);
        from = next;
    }
    if (most == NLM_NO_LIMIT) {
        const uint32_t loop = new_position(c);
        add_empty(c, from, loop);
        add_tree(c, item, loop, loop);
        add_empty(c, loop, to);
        return;
    }
    for (uint32_t i = least; i < most && is_ok(c); i++) {
        const uint32_t next = i + 1 == most ? to : new_position(c);
        add_empty(c, from, to);
        add_tree(c, item, from, next);
        from = next;
    }
    if (most == 0) add_empty(c, from, to);
}

static void add_graph(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    uint32_t *states = nlm_rules_alloc(c->rules, tree->graph.n_states, sizeof *states);
    if (!states) return;
    for (uint32_t i = 0; i < tree->graph.n_states; i++) states[i] = new_position(c);
    if (tree->graph.n_states) add_empty(c, from, states[0]);
    for (size_t i = 0; i < tree->graph.n_edges && is_ok(c); i++) {
        const nlm_graph_edge *edge = &tree->graph.edges[i];
        add_tree(c, edge->tree, states[edge->from], states[edge->to]);
    }
    for (uint32_t i = 0; i < tree->graph.n_states; i++) {
        if (tree->graph.is_final[i]) add_empty(c, states[i], to);
    }
}

static void add_sequence(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    const size_t count = tree->list.count;
    if (count == 0) add_empty(c, from, to);
    for (size_t i = 0; i < count && is_ok(c); i++) {
        const uint32_t next = i + 1 == count ? to : new_position(c);
        add_tree(c, tree->list.items[i], from, next);
        from = next;
    }
}

/* Ways from `from` to `to` that read what the tree matches. No edge into `from` or out of `to` is added, unless they
 * are the same, as those of a loop are. */
static void add_tree(compiler *c, const nlm_tree *tree, uint32_t from, uint32_t to) {
    if (!is_ok(c)) return;
    if (++c->depth > DEPTH_MAX) {
        nlm_rules_fail(c->rules, NLM_LIMIT, NLM_GRAMMAR_AT, "more than %d expressions within one another", DEPTH_MAX);
    }
    switch (tree->kind) {
        case NLM_TREE_TEXT: add_text(c, tree, from, to); break;
        case NLM_TREE_SET: add_set(c, tree, from, to); break;
        case NLM_TREE_SEQUENCE: add_sequence(c, tree, from, to); break;
        case NLM_TREE_CHOICE:
            for (size_t i = 0; i < tree->list.count; i++) add_tree(c, tree->list.items[i], from, to);
            break;
        case NLM_TREE_REPEAT: add_repeat(c, tree, from, to); break;
        case NLM_TREE_RULE: add_call(c, from, to, tree->rule); break;
        case NLM_TREE_GRAPH: add_graph(c, tree, from, to); break;
    }
    c->depth--;
}

/* Room for the entries of all rules there are. */
static void grow_entries(compiler *c) {
    const size_t count = c->rules->capacity;
    if (count <= c->n_entries) return;
    uint32_t *entry = realloc(c->entry, count * sizeof *entry), *end = NULL;
    if (entry) {
        c->entry = entry;
        end = realloc(c->end, count * sizeof *end);
    }
    if (end) c->end = end;
    if (!entry || !end) {
        nlm_rules_fail(c->rules, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for %zu rules", count);
        return;
    }
    c->n_entries = count;
}

/* Rules are added while others are compiled. */
static void add_rules(compiler *c) {
    for (size_t i = 0; i < c->rules->count && is_ok(c); i++) {
        grow_entries(c);
        if (!is_ok(c)) return;
        const nlm_tree *body = c->rules->items[i].body;
        const uint32_t entry = c->entry[i] = new_position(c), end = c->end[i] = new_position(c);
        if (c->rules->items[i].line == LINE_OF_SETS) {
            nlm_utf8_edges made = {.user = c, .add = add_bytes, .position = new_position, .from = entry, .to = end};
            nlm_utf8_edges_of(&made, &body->set);
        } else {
            add_tree(c, body, entry, end);
        }
    }
}

nlm_status nlm_pushdown_create(nlm_rules *rules, nlm_pushdown *out, nlm_error *err) {
    *out = (nlm_pushdown){0};
    compiler c = {.rules = rules, .n_positions = 1}; /* 0 is where all is read */
    add_rules(&c);
    nlm_status status = rules->status;
    if (status != NLM_OK) nlm_error_give(err, &rules->error);
    const nlm_loose_automaton loose = {.rules = rules,
                                       .n_positions = c.n_positions,
                                       .edges = c.edges,
                                       .n_edges = c.n_edges,
                                       .entry = c.entry,
                                       .end = c.end};
    if (status == NLM_OK) status = nlm_pushdown_tighten(&loose, out, err);
    free(c.edges);
    free(c.entry);
    free(c.end);
    if (status != NLM_OK) nlm_pushdown_release(out);
    return status;
}

void nlm_pushdown_release(nlm_pushdown *program) {
    free(program->edges);
    free(program->first_edge);
    free(program->flags);
    free(program->shortest);
    free(program->entry);
    *program = (nlm_pushdown){0};
}
