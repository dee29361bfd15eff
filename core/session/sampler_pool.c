/* The tokens that may still be drawn, and how likely they are. */
#include "session/sampler_pool.h"

#include <float.h>
#include <math.h>

#include "session/constraint.h"

/* So many of the likeliest are looked for before all are ordered. */
#define FEW 256

void nlm_pool_fill(nlm_sampler *s, const nlm_choice *choice) {
    s->choice = choice;
    s->pool = s->memory[0];
    s->spare = s->memory[1];
    s->n = s->n_vocab;
    s->is_whole = true;
    s->is_sorted = s->wants_order = s->has_weights = false;
    s->temperature = 1;
    for (int32_t i = 0; i < s->n_vocab; i++) s->pool[i] = (nlm_candidate){choice->logits[i], i};
    for (int32_t i = 0; choice->allowed && i < s->n_vocab; i++) {
        if (!nlm_mask_has(choice->allowed, i)) s->pool[i].logit = -INFINITY;
    }
}

nlm_candidate *nlm_pool_find(nlm_sampler *s, int32_t id) {
    if (s->is_whole) return &s->pool[id];
    for (int32_t i = 0; i < s->n; i++) {
        if (s->pool[i].id == id) return &s->pool[i];
    }
    return NULL;
}

static bool is_likelier(nlm_candidate a, nlm_candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

int32_t nlm_pool_best(const nlm_sampler *s) {
    int32_t best = 0;
    for (int32_t i = 1; i < s->n; i++) {
        if (is_likelier(s->pool[i], s->pool[best])) best = i;
    }
    return best;
}

/* A small temperature has no infinity of it. */
static float divided(float logit, double temperature) {
    if (logit == -INFINITY) return logit;
    return (float)fmax(-(double)FLT_MAX, fmin((double)logit / temperature, (double)FLT_MAX));
}

void nlm_pool_change_logits(nlm_sampler *s) {
    if (s->temperature != 1) {
        for (int32_t i = 0; i < s->n; i++) s->pool[i].logit = divided(s->pool[i].logit, s->temperature);
    }
    s->temperature = 1;
    s->is_sorted = s->has_weights = false;
}

static double weigh(const nlm_sampler *s, nlm_candidate c) {
    return exp(((double)c.logit - (double)s->greatest) / s->temperature);
}

double nlm_pool_weigh(nlm_sampler *s) {
    double total = 0;
    if (!s->has_weights) s->greatest = s->pool[nlm_pool_best(s)].logit;
    for (int32_t i = 0; i < s->n; i++) {
        if (!s->has_weights) s->weights[i] = weigh(s, s->pool[i]);
        total += s->weights[i];
    }
    s->has_weights = true;
    return total;
}

static void sift_down(nlm_candidate *heap, int32_t n, int32_t at) {
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && is_likelier(heap[child + 1], heap[child])) child++;
        if (!is_likelier(heap[child], heap[at])) return;
        const nlm_candidate moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

/* The same heap the other way round: the least likely on top. */
static void sift_down_least(nlm_candidate *heap, int32_t n, int32_t at) {
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && is_likelier(heap[child], heap[child + 1])) child++;
        if (!is_likelier(heap[at], heap[child])) return;
        const nlm_candidate moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

/* Puts the `count` likeliest of the pool into `out`, likeliest first: most of the rest is looked at once. */
static void select_likeliest(const nlm_sampler *s, nlm_candidate *out, int32_t count) {
    for (int32_t i = 0; i < count; i++) out[i] = s->pool[i];
    for (int32_t at = count / 2 - 1; at >= 0; at--) sift_down_least(out, count, at);
    for (int32_t i = count; i < s->n; i++) {
        if (!is_likelier(s->pool[i], out[0])) continue;
        out[0] = s->pool[i];
        sift_down_least(out, count, 0);
    }
    for (int32_t left = count - 1; left > 0; left--) {
        const nlm_candidate least = out[0];
        out[0] = out[left];
        out[left] = least;
        sift_down_least(out, left, 0);
    }
}

/* What was put into `spare` is the pool now, with its weights. */
static void swap_in(nlm_sampler *s, int32_t n) {
    nlm_candidate *before = s->pool;
    s->pool = s->spare;
    s->spare = before;
    s->n = n;
    s->is_whole = false;
    s->is_sorted = s->has_weights = true;
}

/* Weighs the first n of `spare`, likeliest first, until they reach `mass`. Returns how many; *out_reaches: they do.
 */
static int32_t weigh_to_mass(nlm_sampler *s, int32_t n, double mass, bool *out_reaches) {
    double sum = 0;
    int32_t taken = 0;
    s->greatest = s->spare[0].logit;
    while (taken < n && sum < mass) {
        s->weights[taken] = weigh(s, s->spare[taken]);
        sum += s->weights[taken++];
    }
    *out_reaches = sum >= mass;
    return taken;
}

void nlm_pool_take_likeliest(nlm_sampler *s, int32_t count, double mass) {
    const int32_t few = count < FEW ? count : FEW;
    if (few < s->n / 8) { /* as most distributions allow */
        bool reaches;
        select_likeliest(s, s->spare, few);
        const int32_t taken = weigh_to_mass(s, few, mass, &reaches);
        if (reaches || few == count) {
            swap_in(s, taken);
            return;
        }
    }
    nlm_candidate *heap = s->pool;
    int32_t left = s->n, n = 0;
    double sum = 0;
    for (int32_t at = left / 2 - 1; at >= 0; at--) sift_down(heap, left, at);
    s->greatest = heap[0].logit;
    while (n < count && left > 0 && sum < mass) {
        s->spare[n] = heap[0];
        s->weights[n] = weigh(s, heap[0]);
        sum += s->weights[n++];
        heap[0] = heap[--left];
        sift_down(heap, left, 0);
    }
    swap_in(s, n);
}

void nlm_pool_keep(nlm_sampler *s, bool (*keeps)(const nlm_sampler *s, int32_t at, double bound), double bound) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (!keeps(s, i, bound)) continue;
        s->weights[n] = s->weights[i];
        s->pool[n++] = s->pool[i];
    }
    if (n < s->n) s->is_whole = false;
    s->n = n;
}

int32_t nlm_count_to_mass(const double *weights, int32_t n, double mass) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weights[i];
        if (sum >= mass) return i + 1;
    }
    return n;
}
