/* Whether a rule calls itself before a byte was read, where an automaton would call for ever. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar_shortest.h"

typedef struct graph {
    const nlm_loose_automaton *loose;
    const nlm_pushdown *program;
    uint32_t *first_edge, *edges; /* of positions, by where they begin */
    uint32_t *todo;               /* [n_positions] */
    uint8_t *is_seen;             /* [n_positions] */
    uint32_t *first_left, *left;  /* of rules: those that they begin with */
    uint8_t *colour;              /* [n_rules] 0 new, 1 on the way, 2 done */
    uint32_t *way, *next;         /* [n_rules] */
} graph;

static void index_edges(graph *g) {
    const nlm_loose_automaton *loose = g->loose;
    for (size_t i = 0; i < loose->n_edges; i++) g->first_edge[loose->edges[i].from]++;
    for (uint32_t i = 1; i <= loose->n_positions; i++) g->first_edge[i] += g->first_edge[i - 1];
    for (size_t i = loose->n_edges; i-- > 0;) g->edges[--g->first_edge[loose->edges[i].from]] = (uint32_t)i;
}

static void visit(graph *g, uint32_t position, uint32_t *n_todo) {
    if (g->is_seen[position]) return;
    g->is_seen[position] = 1;
    g->todo[(*n_todo)++] = position;
}

/* Rules that `rule` may call before it reads a byte; returns how many are found with those of the rules before. */
static uint32_t find_left(graph *g, uint32_t rule, uint32_t n_left) {
    const nlm_loose_automaton *loose = g->loose;
    uint32_t n_todo = 0;
    visit(g, loose->entry[rule], &n_todo);
    while (n_todo) {
        const uint32_t at = g->todo[--n_todo];
        for (uint32_t i = g->first_edge[at]; i < g->first_edge[at + 1]; i++) {
            const nlm_edge *edge = &loose->edges[g->edges[i]].edge;
            if (edge->kind == NLM_EDGE_BYTES) continue;
            if (edge->kind == NLM_EDGE_CALL) {
                g->left[n_left++] = edge->rule;
                if (g->program->shortest[loose->entry[edge->rule]] != 0) continue;
            }
            visit(g, edge->to, &n_todo);
        }
    }
    return n_left;
}

static nlm_status fail_recursive(const graph *g, uint32_t rule, uint32_t length, nlm_error *err) {
    const nlm_rule *named = &g->loose->rules->items[rule];
    for (uint32_t i = length; !named->name && i-- > 0 && g->way[i] != rule;)
        named = &g->loose->rules->items[g->way[i]];
    return nlm_fail(err, NLM_BAD_FORMAT, NLM_GRAMMAR_AT,
                    "the rule '%.60s' is left-recursive: it may begin with itself, which no text can; write it as a "
                    "repeat, or with what it begins with in front",
                    named->name ? named->name : "(unnamed)");
}

/* Depth first along the rules that rules begin with. */
static nlm_status search_from(graph *g, uint32_t start, nlm_error *err) {
    uint32_t length = 0;
    if (g->colour[start]) return NLM_OK;
    g->way[length++] = start;
    g->colour[start] = 1;
    g->next[start] = g->first_left[start];
    while (length) {
        const uint32_t at = g->way[length - 1];
        if (g->next[at] == g->first_left[at + 1]) {
            g->colour[at] = 2;
            length--;
            continue;
        }
        const uint32_t rule = g->left[g->next[at]++];
        if (g->colour[rule] == 1) return fail_recursive(g, rule, length, err);
        if (g->colour[rule] == 2) continue;
        g->way[length++] = rule;
        g->colour[rule] = 1;
        g->next[rule] = g->first_left[rule];
    }
    return NLM_OK;
}

static nlm_status search_all(graph *g, nlm_error *err) {
    const uint32_t n_rules = (uint32_t)g->loose->rules->count;
    uint32_t n_left = 0;
    index_edges(g);
    for (uint32_t i = 0; i < n_rules; i++) {
        g->first_left[i] = n_left;
        n_left = find_left(g, i, n_left);
    }
    g->first_left[n_rules] = n_left;
    for (uint32_t i = 0; i < n_rules; i++) NLM_TRY(search_from(g, i, err));
    return NLM_OK;
}

nlm_status nlm_check_left_recursion(const nlm_loose_automaton *loose, const nlm_pushdown *program, nlm_error *err) {
    const size_t n_positions = loose->n_positions, n_rules = loose->rules->count, n_edges = loose->n_edges;
    graph g = {.loose = loose, .program = program};
    uint32_t *numbers = calloc(2 * n_positions + 1 + 2 * n_edges + 3 * n_rules + 1, sizeof *numbers);
    uint8_t *marks = calloc(n_positions + n_rules + 1, 1);
    nlm_status status =
        numbers && marks ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its automaton");
    if (status == NLM_OK) {
        g.first_edge = numbers;
        g.todo = g.first_edge + n_positions + 1;
        g.edges = g.todo + n_positions;
        g.left = g.edges + n_edges;
        g.first_left = g.left + n_edges;
        g.way = g.first_left + n_rules + 1;
        g.next = g.way + n_rules;
        g.is_seen = marks;
        g.colour = marks + n_positions;
        status = search_all(&g, err);
    }
    free(numbers);
    free(marks);
    return status;
}
