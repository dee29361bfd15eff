/* How far each position of an automaton is from the end of its rule, and the automaton without those that have none.
 */
#include "text/grammar_shortest.h"

#include <stdlib.h>
#include <string.h>

/* Edges by where they lead, and calls by whom they call. */
typedef struct search {
    const nlm_loose_automaton *loose;
    uint32_t *shortest;   /* [n_positions], of the result */
    uint32_t *first_into; /* [n_positions + 1] */
    uint32_t *into;       /* [n_edges] */
    uint32_t *first_call; /* [n_rules + 1] */
    uint32_t *calls;      /* [n_edges] */
    uint32_t *rule_at;    /* [n_positions] rule + 1 whose entry it is, or 0 */
    uint64_t *heap;       /* distance << 32 | position, smallest first */
    size_t n_heap;
    uint8_t *is_settled; /* [n_positions] */
} search;

static void swap(uint64_t *a, uint64_t *b) {
    const uint64_t kept = *a;
    *a = *b;
    *b = kept;
}

static void heap_push(search *s, uint64_t item) {
    size_t at = s->n_heap++;
    s->heap[at] = item;
    for (; at > 0 && s->heap[(at - 1) / 2] > s->heap[at]; at = (at - 1) / 2)
        swap(&s->heap[at], &s->heap[(at - 1) / 2]);
}

static uint64_t heap_pop(search *s) {
    const uint64_t top = s->heap[0];
    s->heap[0] = s->heap[--s->n_heap];
    for (size_t at = 0, child; (child = 2 * at + 1) < s->n_heap; at = child) {
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child]) child++;
        if (s->heap[at] <= s->heap[child]) break;
        swap(&s->heap[at], &s->heap[child]);
    }
    return top;
}

static uint32_t add_distances(uint32_t a, uint32_t b) {
    const uint64_t sum = (uint64_t)a + b;
    return sum >= NLM_NEVER ? NLM_NEVER - 1 : (uint32_t)sum;
}

static void relax(search *s, uint32_t position, uint32_t distance) {
    if (distance >= s->shortest[position]) return;
    s->shortest[position] = distance;
    heap_push(s, (uint64_t)distance << 32 | position);
}

static void settle(search *s, uint32_t position) {
    const nlm_loose_automaton *loose = s->loose;
    const uint32_t distance = s->shortest[position];
    s->is_settled[position] = 1;
    for (uint32_t i = s->first_into[position]; i < s->first_into[position + 1]; i++) {
        const nlm_from_edge *e = &loose->edges[s->into[i]];
        if (e->edge.kind != NLM_EDGE_CALL) {
            relax(s, e->from, add_distances(distance, e->edge.kind == NLM_EDGE_BYTES));
        } else if (s->is_settled[loose->entry[e->edge.rule]]) {
            relax(s, e->from, add_distances(distance, s->shortest[loose->entry[e->edge.rule]]));
        }
    }
    const uint32_t rule = s->rule_at[position];
    for (uint32_t i = rule ? s->first_call[rule - 1] : 0; rule && i < s->first_call[rule]; i++) {
        const nlm_from_edge *e = &loose->edges[s->calls[i]];
        if (s->is_settled[e->edge.to]) relax(s, e->from, add_distances(distance, s->shortest[e->edge.to]));
    }
}

/* Counts by key become where each key's begin. Then the last is taken first: each start comes to its own place. */
static void add_up(uint32_t *counts, size_t count) {
    for (size_t i = 1; i <= count; i++) counts[i] += counts[i - 1];
}

static void index_edges(search *s) {
    const nlm_loose_automaton *loose = s->loose;
    for (size_t i = 0; i < loose->n_edges; i++) {
        s->first_into[loose->edges[i].edge.to]++;
        if (loose->edges[i].edge.kind == NLM_EDGE_CALL) s->first_call[loose->edges[i].edge.rule]++;
    }
    add_up(s->first_into, loose->n_positions);
    add_up(s->first_call, loose->rules->count);
    for (size_t i = loose->n_edges; i-- > 0;) {
        const nlm_edge *edge = &loose->edges[i].edge;
        s->into[--s->first_into[edge->to]] = (uint32_t)i;
        if (edge->kind == NLM_EDGE_CALL) s->calls[--s->first_call[edge->rule]] = (uint32_t)i;
    }
}

/* Dijkstra's search from all ends at once; a call is as long as the shortest way through the rule (Knuth 1977). */
static void find_shortest(search *s) {
    const nlm_loose_automaton *loose = s->loose;
    index_edges(s);
    memset(s->shortest, 0xFF, loose->n_positions * sizeof *s->shortest);
    for (size_t i = 0; i < loose->rules->count; i++) {
        s->rule_at[loose->entry[i]] = (uint32_t)i + 1;
        relax(s, loose->end[i], 0);
    }
    while (s->n_heap) {
        const uint32_t position = (uint32_t)heap_pop(s);
        if (!s->is_settled[position]) settle(s, position);
    }
}

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its automaton");
}

static nlm_status search_shortest(const nlm_loose_automaton *loose, uint32_t *shortest, nlm_error *err) {
    const size_t n_positions = loose->n_positions, n_edges = loose->n_edges, n_rules = loose->rules->count;
    search s = {.loose = loose, .shortest = shortest};
    s.first_into = calloc(n_positions + 1, sizeof *s.first_into);
    s.into = calloc(n_edges + 1, sizeof *s.into);
    s.first_call = calloc(n_rules + 1, sizeof *s.first_call);
    s.calls = calloc(n_edges + 1, sizeof *s.calls);
    s.rule_at = calloc(n_positions, sizeof *s.rule_at);
    s.heap = calloc(2 * n_edges + n_rules + 1, sizeof *s.heap);
    s.is_settled = calloc(n_positions, 1);
    const bool has_memory = s.first_into && s.into && s.first_call && s.calls && s.rule_at && s.heap && s.is_settled;
    if (has_memory) find_shortest(&s);
    free(s.first_into);
    free(s.into);
    free(s.first_call);
    free(s.calls);
    free(s.rule_at);
    free(s.heap);
    free(s.is_settled);
    return has_memory ? NLM_OK : out_of_memory(err);
}

static bool is_kept(const nlm_loose_automaton *loose, const nlm_pushdown *program, const nlm_from_edge *e) {
    if (program->shortest[e->from] == NLM_NEVER || program->shortest[e->edge.to] == NLM_NEVER) return false;
    return e->edge.kind != NLM_EDGE_CALL || program->shortest[loose->entry[e->edge.rule]] != NLM_NEVER;
}

/* Edges by where they begin, less those that lead nowhere. */
static void place_edges(const nlm_loose_automaton *loose, nlm_pushdown *program) {
    uint32_t *first = program->first_edge;
    for (size_t i = 0; i < loose->n_edges; i++)
        first[loose->edges[i].from] += is_kept(loose, program, &loose->edges[i]);
    add_up(first, program->n_positions);
    for (size_t i = loose->n_edges; i-- > 0;) {
        const nlm_from_edge *e = &loose->edges[i];
        if (!is_kept(loose, program, e)) continue;
        program->edges[--first[e->from]] = e->edge;
        if (e->edge.kind == NLM_EDGE_BYTES) program->flags[e->from] |= NLM_POSITION_READS;
    }
}

/* Positions from which only empty edges go, and only to ends, are ends: so a call in front of one is a last call,
 * which leaves nothing to come back to. */
static void mark_ends(const nlm_loose_automaton *loose, nlm_pushdown *program) {
    for (size_t i = 0; i < loose->rules->count; i++) program->flags[loose->end[i]] |= NLM_POSITION_END;
    bool has_changed = true;
    for (int pass = 0; pass < 8 && has_changed; pass++) { /* more would only save memory later */
        has_changed = false;
        for (uint32_t p = 1; p < program->n_positions; p++) {
            bool is_end =
                program->first_edge[p] < program->first_edge[p + 1] && !(program->flags[p] & NLM_POSITION_END);
            for (uint32_t i = program->first_edge[p]; is_end && i < program->first_edge[p + 1]; i++) {
                const nlm_edge *edge = &program->edges[i];
                is_end = edge->kind == NLM_EDGE_EMPTY && (program->flags[edge->to] & NLM_POSITION_END);
            }
            if (is_end) program->flags[p] |= NLM_POSITION_END;
            has_changed |= is_end;
        }
    }
}

nlm_status nlm_pushdown_tighten(const nlm_loose_automaton *loose, nlm_pushdown *out, nlm_error *err) {
    const size_t n_rules = loose->rules->count;
    out->n_positions = loose->n_positions;
    out->n_rules = (uint32_t)n_rules;
    out->root = loose->rules->root;
    out->shortest = malloc(loose->n_positions * sizeof *out->shortest);
    out->edges = calloc(loose->n_edges + 1, sizeof *out->edges);
    out->first_edge = calloc(loose->n_positions + 1, sizeof *out->first_edge);
    out->flags = calloc(loose->n_positions, 1);
    out->entry = malloc((n_rules + 1) * sizeof *out->entry);
    if (!out->shortest || !out->edges || !out->first_edge || !out->flags || !out->entry) return out_of_memory(err);
    if (n_rules) memcpy(out->entry, loose->entry, n_rules * sizeof *out->entry);
    NLM_TRY(search_shortest(loose, out->shortest, err));
    NLM_TRY(nlm_check_left_recursion(loose, out, err));
    if (out->shortest[out->entry[out->root]] == NLM_NEVER) {
        return nlm_fail(err, NLM_BAD_FORMAT, NLM_GRAMMAR_AT,
                        "no text can ever be complete: every way goes on for ever");
    }
    place_edges(loose, out);
    mark_ends(loose, out);
    return NLM_OK;
}
