/* The choice of a token, and what becomes of a batch then. */
#include "oracle_impl.h"

#include <string.h>

/* How far sums of weights may be off, relative to all of them. Where that decides which token it is, any will do. */
#define TOLERANCE 1e-6

typedef struct candidate {
    double logit, weight;
    int64_t index;
} candidate;

static int by_likelihood(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* Philox4x32-10 as its paper has it, and of its words the number that is drawn with. */
static double uniform_of(const uint32_t key[2], uint32_t at) {
    uint32_t counter[4] = {at, 0, 0, 0};
    for (uint32_t round = 0; round < 10; round++) {
        const uint64_t first = UINT64_C(0xD2511F53) * counter[0], second = UINT64_C(0xCD9E8D57) * counter[2];
        const uint32_t mixed[4] = {
            (uint32_t)(second >> 32) ^ counter[1] ^ (key[0] + round * 0x9E3779B9u), (uint32_t)second,
            (uint32_t)(first >> 32) ^ counter[3] ^ (key[1] + round * 0xBB67AE85u), (uint32_t)first};
        memcpy(counter, mixed, sizeof counter);
    }
    return floor(ldexp((double)counter[0], 21) + (double)(counter[1] >> 11)) * 0x1p-53;
}

/* How a row chooses. */
typedef struct way {
    double temperature, top_p, min_p, uniform;
    int64_t top_k;
} way;

static way way_of(const nlm_sample_args *a, int64_t r) {
    const int64_t slot = (int64_t)oracle_at(a->slot, r, 0, 0, 0);
    const uint32_t key[2] = {(uint32_t)(int64_t)oracle_at(a->draws, slot, 1, 0, 0),
                             (uint32_t)(int64_t)oracle_at(a->draws, slot, 2, 0, 0)};
    return (way){oracle_at(a->cuts, slot, 0, 0, 0), oracle_at(a->cuts, slot, 1, 0, 0),
                 oracle_at(a->cuts, slot, 2, 0, 0),
                 uniform_of(key, (uint32_t)(int64_t)oracle_at(a->pos, r, 0, 0, 0) + 1),
                 (int64_t)oracle_at(a->draws, slot, 0, 0, 0)};
}

static double sum_of(const candidate *c, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += c[i].weight;
    return sum;
}

/* How many of the first it takes for a sum above the bound, or of at least the bound. */
static int64_t count_to(const candidate *c, int64_t n, double bound, bool is_above) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += c[i].weight;
        if (is_above ? sum > bound : sum >= bound) return i + 1;
    }
    return n;
}

/* The token, with each comparison off by so much: `doubt` of sums, relative to all. */
static int64_t draw(const way *w, const candidate *all, candidate *kept, int64_t n, const double doubt[3]) {
    const bool has_top_p = w->top_p > 0 && w->top_p < 1;
    if (w->top_k > 0 && w->top_k < n) n = w->top_k;
    if (has_top_p) n = count_to(all, n, (w->top_p + doubt[0]) * sum_of(all, n), false);
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (w->min_p > 0 && all[i].weight < fmin(w->min_p * (1 + doubt[1]), 1)) continue;
        kept[n_kept++] = all[i];
    }
    const double total = sum_of(kept, n_kept);
    return kept[count_to(kept, n_kept, (w->uniform + doubt[2]) * total, true) - 1].index;
}

/* Sets *out_token, or returns false where rounding decides. */
static bool choose(const way *w, candidate *all, candidate *kept, int64_t n, int64_t *out_token) {
    const bool is_sorted = w->top_k > 0 || (w->top_p > 0 && w->top_p < 1);
    double greatest = -INFINITY;
    for (int64_t i = 0; i < n; i++) greatest = fmax(greatest, all[i].logit);
    for (int64_t i = 0; i < n; i++) all[i].weight = exp((all[i].logit - greatest) / w->temperature);
    if (is_sorted) qsort(all, (size_t)n, sizeof *all, by_likelihood);
    for (int signs = 0; signs < 8; signs++) {
        const double doubt[3] = {(signs & 1 ? 1 : -1) * TOLERANCE, (signs & 2 ? 1 : -1) * TOLERANCE,
                                 (signs & 4 ? 1 : -1) * TOLERANCE};
        const int64_t token = draw(w, all, kept, n, doubt);
        if (signs > 0 && token != *out_token) return false;
        *out_token = token;
    }
    return true;
}

ORACLE_OP(sample) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->x->shape[1];
    candidate *all = malloc((size_t)(2 * n + 1) * sizeof *all);
    if (!all) run->has_failed = true;
    for (int64_t r = 0; all && r < run->live_rows; r++) {
        const way w = way_of(a, r);
        int64_t n_finite = 0, token = 0;
        for (int64_t i = 0; i < n; i++) {
            all[i] = (candidate){.logit = oracle_at(a->x, r, i, 0, 0), .index = i};
            n_finite += isfinite(all[i].logit) != 0;
        }
        bool is_clear = true;
        if (n_finite < n) {
            token = -1;
        } else if (w.temperature > 0) {
            is_clear = choose(&w, all, all + n, n, &token);
        } else {
            for (int64_t i = 1; i < n; i++) token = all[i].logit > all[token].logit ? i : token;
        }
        oracle_set(y, r, (double)token, is_clear ? 0 : -1);
    }
    free(all);
}

/* Whether the sequence of row s goes on with the token; writes it down. */
static bool take_token(const nlm_advance_args *a, oracle_result *tokens, int64_t slot, int64_t token) {
    const int64_t columns = a->tokens->shape[1], used = (int64_t)oracle_at(a->tokens, slot, 0, 0, 0);
    const bool has_room = used >= 0 && used < columns - 1;
    bool goes_on = token >= 0 && has_room;
    if (has_room) {
        oracle_set(tokens, slot * columns, (double)used + 1, 0);
        oracle_set(tokens, slot * columns + 1 + used, (double)token, 0);
    }
    for (int64_t i = 0; i < a->stops->shape[1]; i++) {
        if (token >= 0 && (int64_t)oracle_at(a->stops, slot, i, 0, 0) == token) goes_on = false;
    }
    return goes_on;
}

ORACLE_OP(advance) {
    oracle_result *ids = oracle_state(run, a->ids), *pos = oracle_state(run, a->pos);
    oracle_result *slots = oracle_state(run, a->slot), *starts = oracle_state(run, a->seq_start);
    oracle_result *live = oracle_state(run, a->live), *tokens = oracle_state(run, a->tokens);
    int64_t m = 0;
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const int64_t slot = (int64_t)oracle_at(a->slot, s, 0, 0, 0);
        const int64_t token = (int64_t)oracle_at(a->next, s, 0, 0, 0);
        if (!take_token(a, tokens, slot, token)) continue;
        oracle_set(ids, m, (double)token, 0);
        oracle_set(pos, m, oracle_at(a->pos, s, 0, 0, 0) + 1, 0);
        oracle_set(slots, m++, (double)slot, 0);
    }
    if (run->live_seqs == 0) return;
    for (int64_t s = m; s < run->live_seqs; s++) {
        oracle_set(ids, s, 0, -1);
        oracle_set(pos, s, 0, -1);
        oracle_set(slots, s, 0, -1);
    }
    for (int64_t i = 0; i < a->seq_start->shape[0]; i++) oracle_set(starts, i, (double)(i < m ? i : m), 0);
    for (int kind = 1; kind < NLM_ROWS_KINDS; kind++) oracle_set(live, kind, (double)m, 0);
}
