/* States of a pushdown automaton, made as they are reached. */
#include "text/grammar_walk.h"

#include <stdlib.h>
#include <string.h>

void nlm_walk_release(nlm_walk *walk) {
    nlm_stacks_release(&walk->stacks);
    free(walk->below);
    free(walk->reached);
    free(walk->queue);
    free(walk->is_queued);
    free(walk->first_pending);
    free(walk->pending);
    free(walk->joined);
    free(walk->path);
    *walk = (nlm_walk){0};
}

/* ---- one state ------------------------------------------------------------------------------- */

static bool grow_pending(nlm_walk *w) {
    if (w->n_pending < w->pending_capacity) return true;
    const uint32_t capacity = w->pending_capacity ? 2 * w->pending_capacity : 256;
    nlm_walk_pending *pending = realloc(w->pending, capacity * sizeof *pending);
    if (pending) w->pending = pending;
    uint32_t *joined = pending ? realloc(w->joined, capacity * sizeof *joined) : NULL;
    if (joined) w->joined = joined;
    if (!pending || !joined) {
        w->stacks.status = NLM_OUT_OF_MEMORY;
        return false;
    }
    w->pending_capacity = capacity;
    return true;
}

/* The position may be on top of these stacks too. They are joined with the others when it is the position's turn, all
 * at once: one by one a position that thousands lead to would make thousands of sets. */
static void reach(nlm_walk *w, uint32_t position, uint32_t below) {
    if (below == w->below[position] || below == NLM_STACKS_NONE) return;
    if (!nlm_stacks_spend(&w->stacks, 4) || !grow_pending(w)) return;
    w->pending[w->n_pending] = (nlm_walk_pending){below, w->first_pending[position]};
    w->first_pending[position] = ++w->n_pending;
    if (w->is_queued[position]) return;
    const uint32_t last = w->queue_first + w->n_queued++, size = w->program->n_positions;
    w->is_queued[position] = 1;
    w->queue[last < size ? last : last - size] = position;
}

/* Joins what is pending for a position. False: that is nothing new. */
static bool join_pending(nlm_walk *w, uint32_t position) {
    uint32_t n = 0;
    for (uint32_t i = w->first_pending[position]; i; i = w->pending[i - 1].next)
        w->joined[n++] = w->pending[i - 1].set;
    w->first_pending[position] = 0;
    while (n > 1) { /* in pairs, so that each is copied a few times only */
        uint32_t half = 0;
        for (uint32_t i = 0; i < n; i += 2) {
            w->joined[half++] =
                i + 1 < n ? nlm_stacks_union(&w->stacks, w->joined[i], w->joined[i + 1]) : w->joined[i];
        }
        n = half;
    }
    const uint32_t before = w->below[position], after = nlm_stacks_union(&w->stacks, before, w->joined[0]);
    if (after == before || w->stacks.status != NLM_OK) return false;
    if (before == NLM_STACKS_NONE) w->reached[w->n_reached++] = position;
    w->below[position] = after;
    return true;
}

/* Back to where the rule was called from. */
static void leave_rule(nlm_walk *w, uint32_t stacks) {
    for (uint32_t i = 0; i < w->stacks.sets[stacks].count; i++) {
        const nlm_stack_entry entry = w->stacks.entries[w->stacks.sets[stacks].first + i];
        if (entry.position == NLM_BOTTOM) {
            w->may_end = true;
        } else {
            reach(w, entry.position, entry.below);
        }
    }
}

static void go_on_from(nlm_walk *w, uint32_t position) {
    const nlm_pushdown *program = w->program;
    const uint32_t below = w->below[position];
    if (program->flags[position] & NLM_POSITION_END) {
        leave_rule(w, below);
        return;
    }
    for (uint32_t i = program->first_edge[position]; i < program->first_edge[position + 1]; i++) {
        const nlm_edge *edge = &program->edges[i];
        if (edge->kind == NLM_EDGE_EMPTY) reach(w, edge->to, below);
        if (edge->kind != NLM_EDGE_CALL) continue;
        const nlm_stack_entry back = {edge->to, below};
        const bool is_last = program->flags[edge->to] & NLM_POSITION_END;
        reach(w, program->entry[edge->rule], is_last ? below : nlm_stacks_set(&w->stacks, &back, 1));
    }
}

static int compare_positions(const void *a, const void *b) {
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* The positions reached that read bytes, as a set; forgets what was reached. */
static uint32_t take_reached(nlm_walk *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->n_reached; i++) {
        const uint32_t position = w->reached[i];
        if (w->program->flags[position] & NLM_POSITION_READS) {
            w->reached[n++] = position;
        } else {
            w->below[position] = NLM_STACKS_NONE;
        }
    }
    if (n) qsort(w->reached, n, sizeof *w->reached, compare_positions);
    nlm_stack_entry few[32], *entries = n < 32 ? few : malloc(((size_t)n + 1) * sizeof *entries);
    if (!entries) w->stacks.status = NLM_OUT_OF_MEMORY;
    uint32_t count = 0;
    if (entries && w->may_end) entries[count++] = (nlm_stack_entry){NLM_BOTTOM, NLM_STACKS_NONE};
    for (uint32_t i = 0; i < n; i++) {
        if (entries) entries[count++] = (nlm_stack_entry){w->reached[i], w->below[w->reached[i]]};
        w->below[w->reached[i]] = NLM_STACKS_NONE;
    }
    const uint32_t state = entries ? nlm_stacks_set(&w->stacks, entries, count) : NLM_STACKS_NONE;
    if (entries != few) free(entries);
    w->n_reached = 0;
    w->may_end = false;
    return state;
}

/* The state of all positions that those reached lead to without a byte. */
static uint32_t close_reached(nlm_walk *w) {
    while (w->n_queued) {
        const uint32_t position = w->queue[w->queue_first];
        w->queue_first = w->queue_first + 1 == w->program->n_positions ? 0 : w->queue_first + 1;
        w->n_queued--;
        w->is_queued[position] = 0;
        const uint32_t first = w->program->first_edge[position], end = w->program->first_edge[position + 1];
        if (join_pending(w, position) && nlm_stacks_spend(&w->stacks, end - first + 1)) go_on_from(w, position);
    }
    w->n_pending = 0;
    return take_reached(w);
}

nlm_status nlm_walk_begin(nlm_walk *walk, const nlm_pushdown *program, nlm_error *err) {
    const size_t count = program->n_positions;
    walk->program = program;
    walk->below = calloc(count, sizeof *walk->below);
    walk->reached = calloc(count, sizeof *walk->reached);
    walk->queue = calloc(count, sizeof *walk->queue);
    walk->is_queued = calloc(count, 1);
    walk->first_pending = calloc(count, sizeof *walk->first_pending);
    if (!walk->below || !walk->reached || !walk->queue || !walk->is_queued || !walk->first_pending ||
        nlm_stacks_begin(&walk->stacks, program) != NLM_OK) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its states");
    }
    nlm_walk_renew(walk);
    reach(walk, program->entry[program->root], NLM_STACKS_EMPTY);
    walk->start = close_reached(walk);
    return walk->stacks.status == NLM_OK ? NLM_OK : nlm_stacks_explain(&walk->stacks, err);
}

/* ---- ways between states --------------------------------------------------------------------- */

/* Reaches what a byte leads to from the positions of a state. [*low, *high] is narrowed to bytes that lead to the
 * same. */
static void read_byte(nlm_walk *w, uint32_t state, uint8_t byte, uint32_t *low, uint32_t *high) {
    const nlm_pushdown *program = w->program;
    for (uint32_t e = 0; e < w->stacks.sets[state].count; e++) {
        const nlm_stack_entry entry = w->stacks.entries[w->stacks.sets[state].first + e];
        const uint32_t first = program->first_edge[entry.position], end = program->first_edge[entry.position + 1];
        if (entry.position == NLM_BOTTOM || !nlm_stacks_spend(&w->stacks, end - first + 1)) continue;
        for (uint32_t i = first; i < end; i++) {
            const nlm_edge *edge = &program->edges[i];
            if (edge->kind != NLM_EDGE_BYTES) continue;
            if (byte < edge->first) {
                if (edge->first <= *high) *high = edge->first - 1u;
            } else if (byte > edge->last) {
                if (edge->last >= *low) *low = edge->last + 1u;
            } else {
                if (edge->first > *low) *low = edge->first;
                if (edge->last < *high) *high = edge->last;
                reach(w, edge->to, entry.below);
            }
        }
    }
}

uint32_t nlm_walk_step_slowly(nlm_walk *w, uint32_t state, uint8_t byte) {
    uint32_t low = 0, high = 255;
    if (state == NLM_STACKS_NONE || w->stacks.status != NLM_OK) return NLM_STACKS_NONE;
    if (!w->stacks.sets[state].next) {
        uint32_t *next = nlm_stacks_spend(&w->stacks, 256) ? malloc(256 * sizeof *next) : NULL;
        if (!next && w->stacks.status == NLM_OK) w->stacks.status = NLM_OUT_OF_MEMORY;
        if (!next) return NLM_STACKS_NONE;
        memset(next, 0xFF, 256 * sizeof *next);
        w->stacks.sets[state].next = next;
        w->stacks.n_tables++;
    }
    read_byte(w, state, byte, &low, &high);
    const uint32_t after = close_reached(w);
    if (w->stacks.status != NLM_OK) return NLM_STACKS_NONE;
    uint32_t *next = w->stacks.sets[state].next;
    for (uint32_t b = low; b <= high; b++) next[b] = after;
    return after;
}

uint32_t nlm_walk_text(nlm_walk *walk, uint32_t state, const char *text, size_t length, size_t *out_count) {
    size_t n = 0;
    while (n < length) {
        const uint32_t next = nlm_walk_step(walk, state, (uint8_t)text[n]);
        if (next == NLM_STACKS_NONE) break;
        state = next;
        n++;
    }
    *out_count = n;
    return n == length ? state : NLM_STACKS_NONE;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void set_bits(const nlm_token_trie *trie, uint32_t first, uint32_t end, uint32_t *bits) {
    for (uint32_t i = first; i < end; i++)
        bits[(uint32_t)trie->tokens[i] / 32] |= 1u << ((uint32_t)trie->tokens[i] % 32);
}

/* The bytes after which a state is the same. */
static void find_loops(nlm_walk *w, uint32_t state, nlm_byte_set *out) {
    *out = (nlm_byte_set){0};
    for (uint32_t b = 0; b < 256; b++) {
        if (nlm_walk_step(w, state, (uint8_t)b) == state) nlm_byte_set_add(out, (uint8_t)b);
    }
}

static bool make_path(nlm_walk *w, const nlm_token_trie *trie) {
    if (trie->depth + 1 <= w->path_capacity) return true;
    uint32_t *path = realloc(w->path, (trie->depth + 1) * sizeof *path);
    if (!path) return false;
    w->path = path;
    w->path_capacity = trie->depth + 1;
    return true;
}

nlm_status nlm_walk_tokens(nlm_walk *w, uint32_t state, const nlm_token_trie *trie, uint32_t *bits, nlm_error *err) {
    if (!make_path(w, trie)) return nlm_fail(err, NLM_OUT_OF_MEMORY, NLM_GRAMMAR_AT, "no memory for its states");
    uint32_t looping = NLM_STACKS_NONE;
    nlm_byte_set loops = {0};
    w->path[0] = state;
    for (uint32_t i = 0; i < trie->n_nodes;) {
        const nlm_trie_node *node = &trie->nodes[i];
        const uint32_t before = w->path[node->depth], after = nlm_walk_step(w, before, node->byte);
        if (after == NLM_STACKS_NONE) {
            i = node->end;
            continue;
        }
        if (after == before && node->bytes != NLM_TRIE_FEW) {
            if (looping != after) find_loops(w, looping = after, &loops);
            if (nlm_byte_set_holds(&loops, &trie->byte_sets[node->bytes])) {
                set_bits(trie, node->first_token, trie->nodes[node->end].first_token, bits);
                i = node->end;
                continue;
            }
        }
        set_bits(trie, node->first_token, node[1].first_token, bits);
        w->path[node->depth + 1] = after;
        i++;
    }
    return w->stacks.status == NLM_OK ? NLM_OK : nlm_stacks_explain(&w->stacks, err);
}
