/* What cuts tokens before one is drawn. Weights are relative; over their sum they are probabilities. */
#include <math.h>

#include "base/philox.h"
#include "session/sampler_pool.h"

/* ---- by logits and weights ---------------------------------------------------------------- */

static bool is_within(const nlm_sampler *s, int32_t at, double below) {
    return (double)s->greatest - (double)s->pool[at].logit <= below;
}

/* Temperature moves logits and their deviation alike. */
void nlm_stage_top_n_sigma(nlm_sampler *s) {
    double mean = 0, variance = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (s->pool[i].logit == -INFINITY) continue;
        mean += (double)s->pool[i].logit;
        n++;
    }
    mean /= n;
    for (int32_t i = 0; i < s->n; i++) {
        const double apart = (double)s->pool[i].logit - mean;
        if (s->pool[i].logit > -INFINITY) variance += apart * apart / n;
    }
    s->greatest = s->pool[nlm_pool_best(s)].logit;
    nlm_pool_keep(s, is_within, (double)s->options.top_n_sigma * sqrt(variance));
}

void nlm_stage_top_k(nlm_sampler *s) {
    const int32_t k = s->options.top_k;
    s->wants_order = true;
    if (k >= s->n) return;
    if (s->is_sorted) {
        s->n = k;
    } else {
        nlm_pool_take_likeliest(s, k, INFINITY);
    }
}

void nlm_stage_top_p(nlm_sampler *s) {
    const double mass = (double)s->options.top_p * nlm_pool_weigh(s);
    s->wants_order = true;
    if (s->is_sorted) {
        s->n = nlm_count_to_mass(s->weights, s->n, mass);
    } else {
        nlm_pool_take_likeliest(s, s->n, mass);
    }
}

static bool has_weight(const nlm_sampler *s, int32_t at, double bound) {
    return s->weights[at] >= bound;
}

/* The likeliest has weight 1. */
void nlm_stage_min_p(nlm_sampler *s) {
    nlm_pool_weigh(s);
    nlm_pool_keep(s, has_weight, (double)s->options.min_p);
}

/* ---- by surprise -------------------------------------------------------------------------- */

static void sift_down(nlm_ranked *heap, int32_t n, int32_t at) {
    for (;;) {
        int32_t first = at;
        for (int32_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            const bool is_before = heap[child].key < heap[first].key ||
                                   (heap[child].key == heap[first].key && heap[child].at < heap[first].at);
            if (is_before) first = child;
        }
        if (first == at) return;
        const nlm_ranked moved = heap[at];
        heap[at] = heap[first];
        heap[first] = moved;
        at = first;
    }
}

/* Ranks the pool by how far the surprise of each is from the mean one, of probabilities. */
static void rank_by_surprise(nlm_sampler *s, double total) {
    double mean = 0;
    for (int32_t i = 0; i < s->n; i++) {
        const double p = s->weights[i] / total;
        if (p > 0) mean -= p * log(p);
    }
    for (int32_t i = 0; i < s->n; i++) {
        s->ranked[i] = (nlm_ranked){fabs(-log(s->weights[i] / total) - mean), i};
    }
    for (int32_t at = s->n / 2 - 1; at >= 0; at--) sift_down(s->ranked, s->n, at);
}

static bool is_chosen(const nlm_sampler *s, int32_t at, double bound) {
    (void)bound;
    return s->weights[at] < 0;
}

void nlm_stage_typical(nlm_sampler *s) {
    const double total = nlm_pool_weigh(s), mass = (double)s->options.typical_p * total;
    double sum = 0;
    rank_by_surprise(s, total);
    for (int32_t left = s->n; left > 0 && sum < mass; sift_down(s->ranked, left, 0)) {
        double *weight = &s->weights[s->ranked[0].at];
        sum += *weight;
        *weight = -1; /* marks it */
        s->ranked[0] = s->ranked[--left];
    }
    nlm_pool_keep(s, is_chosen, 0);
    s->has_weights = false;
}

/* The least surprise comes with the greatest weight, 1: that token stays. */
void nlm_sampler_cut_surprise(nlm_sampler *s, double mu) {
    const double bound = nlm_pool_weigh(s) * exp2(-mu);
    if (bound <= 1) {
        nlm_pool_keep(s, has_weight, bound);
    } else {
        nlm_pool_take_likeliest(s, 1, INFINITY);
    }
}

/* ---- exclude top choices ------------------------------------------------------------------ */

static bool is_below(const nlm_sampler *s, int32_t at, double bound) {
    return s->weights[at] < bound;
}

void nlm_stage_xtc(nlm_sampler *s) {
    const double chance = nlm_philox_uniform_of(s->options.seed, s->choice->n_history, NLM_DRAW_XTC);
    if (chance >= (double)s->options.xtc_probability) return;
    const double bound = (double)s->options.xtc_threshold * nlm_pool_weigh(s);
    int32_t least = -1, n = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (s->weights[i] < bound) continue;
        n++;
        const bool is_less = least < 0 || s->pool[i].logit < s->pool[least].logit ||
                             (s->pool[i].logit == s->pool[least].logit && s->pool[i].id > s->pool[least].id);
        if (is_less) least = i;
    }
    if (n < 2) return;
    s->weights[least] = 0; /* as one below the bound */
    nlm_pool_keep(s, is_below, bound);
    s->has_weights = false;
}
