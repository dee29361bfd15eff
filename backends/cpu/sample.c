/* Drawing tokens from logits, the same code for every CPU backend. */
#include "cpu/plain.h"

#include <math.h>
#include <stdbool.h>

#include "cpu/view.h"

typedef struct candidate {
    float logit;
    int32_t index;
    double weight;
} candidate;

/* How a row chooses. */
typedef struct way {
    float temperature, top_p, min_p;
    int32_t top_k;
    uint64_t seed;
} way;

static way way_of(const nlm_sample_args *args, int32_t slot) {
    const float *cuts = nlm_kit_at(args->cuts, slot);
    const int32_t *draws = nlm_kit_at(args->draws, slot);
    return (way){cuts[0], cuts[1], cuts[2] > 1 ? 1 : cuts[2], draws[0],
                 (uint64_t)(uint32_t)draws[2] << 32 | (uint32_t)draws[1]};
}

/* In [0, 1), of 53 bits: the first words of Philox4x32-10 at counter [at, 0, 0, 0]. */
static double uniform_of(uint64_t seed, uint32_t at) {
    uint32_t word[4] = {at, 0, 0, 0}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        const uint64_t first = (uint64_t)0xD2511F53u * word[0], second = (uint64_t)0xCD9E8D57u * word[2];
        word[0] = (uint32_t)(second >> 32) ^ word[1] ^ key[0];
        word[1] = (uint32_t)second;
        word[2] = (uint32_t)(first >> 32) ^ word[3] ^ key[1];
        word[3] = (uint32_t)first;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return (double)(((uint64_t)word[0] << 32 | word[1]) >> 11) * 0x1p-53;
}

/* ---- the order of candidates ---- */

static bool is_likelier(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->index < b->index);
}

/* A heap whose least likely candidate is on top. */
static void sift_down(candidate *heap, int64_t n, int64_t at) {
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && is_likelier(&heap[child], &heap[child + 1])) child++;
        if (!is_likelier(&heap[at], &heap[child])) return;
        const candidate moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

/* Likeliest first, in place. */
static void sort(candidate *c, int64_t n) {
    for (int64_t at = n / 2 - 1; at >= 0; at--) sift_down(c, n, at);
    for (int64_t left = n - 1; left > 0; left--) {
        const candidate least = c[0];
        c[0] = c[left];
        c[left] = least;
        sift_down(c, left, 0);
    }
}

/* ---- a row ---- */

static double sum_of(const candidate *c, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += c[i].weight;
    return sum;
}

/* How many of the first n it takes for their weights to reach the bound. */
static int64_t count_to(const candidate *c, int64_t n, double bound) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += c[i].weight;
        if (sum >= bound) return i + 1;
    }
    return n;
}

/* Those at least as likely as min_p of the likeliest, which weighs 1. */
static int64_t keep_likely(candidate *c, int64_t n, float min_p) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (c[i].weight >= (double)min_p) c[kept++] = c[i];
    }
    return kept;
}

static int32_t draw(const way *w, candidate *c, int64_t n, float greatest, double uniform) {
    const bool has_top_p = w->top_p > 0 && w->top_p < 1;
    if (w->top_k > 0 || has_top_p) sort(c, n);
    if (w->top_k > 0 && w->top_k < n) n = w->top_k;
    for (int64_t i = 0; i < n; i++)
        c[i].weight = exp(((double)c[i].logit - (double)greatest) / (double)w->temperature);
    if (has_top_p) n = count_to(c, n, (double)w->top_p * sum_of(c, n));
    if (w->min_p > 0) n = keep_likely(c, n, w->min_p);
    return c[count_to(c, n, nextafter(uniform * sum_of(c, n), INFINITY)) - 1].index;
}

/* The first index of the greatest; -1: an element is no finite number. */
static int32_t greatest_of(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return -1;
        if (x[i] > x[best]) best = i;
    }
    return (int32_t)best;
}

uint64_t nlm_cpu_sample_scratch(int64_t columns) {
    return (uint64_t)columns * sizeof(candidate);
}

/* Slices rows. */
nlm_status nlm_cpu_sample(const nlm_exec_v1 *x, const nlm_sample_args *args) {
    const int32_t *slots = args->slot->data, *pos = args->pos->data;
    int32_t *y = args->y->data;
    candidate *candidates = x->scratch;
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    const int64_t n = args->x->shape[1], n_slots = args->cuts->shape[0];
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (slots[r] < 0 || slots[r] >= n_slots) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "sample", "slot[%lld] is %d, expected 0 to %lld",
                                (long long)r, slots[r], (long long)n_slots - 1);
        }
        const way w = way_of(args, slots[r]);
        const float *logits = nlm_kit_at(args->x, r);
        y[r] = greatest_of(logits, n);
        if (y[r] < 0 || !(w.temperature > 0)) continue;
        for (int64_t i = 0; i < n; i++) candidates[i] = (candidate){logits[i], (int32_t)i, 0};
        y[r] = draw(&w, candidates, n, logits[y[r]], uniform_of(w.seed, (uint32_t)pos[r] + 1));
    }
    return NLM_OK;
}
