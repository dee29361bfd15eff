/* Drawing the next token: penalties, temperature, top-k, top-p, min-p, and one uniform number. */
#include "session/sampler.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/philox.h"
#include "base/status.h"
#include "session/constraint.h"
#include "session/options.h"

#define DEFAULT_REPEAT_LAST_N 64

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct nlm_sampler {
    nlm_sampler_options options;
    int32_t n_vocab;
    candidate *candidates; /* [n_vocab], by id, then a heap */
    candidate *kept;       /* [n_vocab]: those that may be drawn */
    double *weights;       /* [n_vocab]: of kept, 1 is the likeliest's */
    uint8_t *is_seen;      /* [n_vocab], all 0 between calls */
    uint32_t *mask;        /* [nlm_mask_words(n_vocab)], for nlm_sampler_mask */
    float greatest;        /* of the candidates' logits */
};

static nlm_status check_range(const char *name, double value, double min, double max, nlm_error *err) {
    if (value >= min && value <= max) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "%s is %g; expected %g to %g", name, value, min, max);
}

static nlm_status check_options(const nlm_sampler_options *o, nlm_error *err) {
    NLM_TRY(check_range("temperature", o->temperature, 0, 1e6, err));
    NLM_TRY(check_range("top_k", o->top_k, 0, INT32_MAX, err));
    NLM_TRY(check_range("top_p", o->top_p, 0, 1, err));
    NLM_TRY(check_range("min_p", o->min_p, 0, 1, err));
    return check_range("repeat_penalty", o->repeat_penalty, 0, 1e6, err);
}

nlm_status nlm_sampler_new(int32_t n_vocab, const nlm_sampler_options *options, nlm_sampler **out, nlm_error *err) {
    *out = NULL;
    nlm_sampler_options o = {0};
    NLM_TRY(nlm_take_options(&o, sizeof o, options, "nlm_sampler_options", err));
    if (o.reserved) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sampler_options", "reserved is not 0");
    NLM_TRY(check_options(&o, err));
    if (o.repeat_last_n == 0) o.repeat_last_n = DEFAULT_REPEAT_LAST_N;
    nlm_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler", "no memory for a sampler");
    sampler->options = o;
    sampler->n_vocab = n_vocab;
    sampler->candidates = calloc((size_t)n_vocab, sizeof *sampler->candidates);
    sampler->kept = calloc((size_t)n_vocab, sizeof *sampler->kept);
    sampler->weights = calloc((size_t)n_vocab, sizeof *sampler->weights);
    sampler->is_seen = calloc((size_t)n_vocab, sizeof *sampler->is_seen);
    sampler->mask = calloc(nlm_mask_words(n_vocab), sizeof *sampler->mask);
    if (!sampler->candidates || !sampler->kept || !sampler->weights || !sampler->is_seen || !sampler->mask) {
        nlm_sampler_destroy(sampler);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler", "no memory for %d candidates", n_vocab);
    }
    *out = sampler;
    return NLM_OK;
}

void nlm_sampler_destroy(nlm_sampler *sampler) {
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler->kept);
    free(sampler->weights);
    free(sampler->is_seen);
    free(sampler->mask);
    free(sampler);
}

int32_t nlm_sampler_n_vocab(const nlm_sampler *sampler) {
    return sampler->n_vocab;
}

uint32_t *nlm_sampler_mask(nlm_sampler *sampler) {
    return sampler->mask;
}

int32_t nlm_sampler_greedy(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

int32_t nlm_sampler_greedy_allowed(const float *logits, const uint32_t *allowed, int32_t n) {
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        if (!nlm_mask_has(allowed, i) || !(logits[i] > -INFINITY)) continue;
        if (best < 0 || logits[i] > logits[best]) best = i;
    }
    return best;
}

/* Keskar et al. 2019 (CTRL), section 4.1, applied once to each distinct token. */
static void penalise(nlm_sampler *s, const int32_t *history, size_t n_history) {
    const float penalty = s->options.repeat_penalty;
    if (penalty == 0 || penalty == 1) return;
    const size_t window = n_history < s->options.repeat_last_n ? n_history : s->options.repeat_last_n;
    const int32_t *recent = history + (n_history - window);
    for (size_t i = 0; i < window; i++) {
        const int32_t id = recent[i];
        if (id < 0 || id >= s->n_vocab || s->is_seen[id]) continue;
        s->is_seen[id] = 1;
        float *logit = &s->candidates[id].logit;
        if (*logit == -INFINITY) continue; /* it is ruled out */
        const float penalised = *logit > 0 ? *logit / penalty : *logit * penalty;
        *logit = fmaxf(-FLT_MAX, fminf(penalised, FLT_MAX)); /* infinities have no difference to weigh */
    }
    for (size_t i = 0; i < window; i++) {
        if (recent[i] >= 0 && recent[i] < s->n_vocab) s->is_seen[recent[i]] = 0;
    }
}

static bool is_likelier(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(candidate *heap, int32_t n, int32_t at) {
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && is_likelier(heap[child + 1], heap[child])) child++;
        if (!is_likelier(heap[child], heap[at])) return;
        const candidate moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

/* How likely a candidate is beside the likeliest: exp of the difference, at the temperature. */
static double weigh(const nlm_sampler *s, candidate c) {
    return exp(((double)c.logit - (double)s->greatest) / (double)s->options.temperature);
}

/* Moves the likeliest candidates to `kept`, likeliest first, until there are `count` or their weights
 * reach `mass`. Returns how many. */
static int32_t take_likeliest(nlm_sampler *s, int32_t count, double mass) {
    int32_t left = s->n_vocab;
    for (int32_t at = left / 2 - 1; at >= 0; at--) sift_down(s->candidates, left, at);
    double sum = 0;
    int32_t taken = 0;
    while (taken < count && sum < mass) {
        s->kept[taken] = s->candidates[0];
        s->weights[taken] = weigh(s, s->candidates[0]);
        sum += s->weights[taken++];
        s->candidates[0] = s->candidates[--left];
        sift_down(s->candidates, left, 0);
    }
    return taken;
}

/* How many of the first n weights it takes to reach `mass`. */
static int32_t count_to_mass(const double *weights, int32_t n, double mass) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weights[i];
        if (sum >= mass) return i + 1;
    }
    return n;
}

/* Top-k and top-p. With both, top-p is of the probabilities that top-k leaves. */
static int32_t keep_top(nlm_sampler *s) {
    const double top_p = s->options.top_p > 0 && s->options.top_p < 1 ? (double)s->options.top_p : INFINITY;
    const int32_t k = s->options.top_k;
    double total = 0;
    if (k > 0 && k < s->n_vocab) {
        const int32_t n = take_likeliest(s, k, INFINITY);
        for (int32_t i = 0; i < n; i++) total += s->weights[i];
        return count_to_mass(s->weights, n, top_p * total);
    }
    for (int32_t i = 0; i < s->n_vocab; i++) total += weigh(s, s->candidates[i]);
    return take_likeliest(s, s->n_vocab, top_p * total);
}

/* When nothing needs an order: all candidates, by id. */
static int32_t keep_all(nlm_sampler *s) {
    for (int32_t i = 0; i < s->n_vocab; i++) {
        s->kept[i] = s->candidates[i];
        s->weights[i] = weigh(s, s->candidates[i]);
    }
    return s->n_vocab;
}

static int32_t drop_below_min_p(nlm_sampler *s, int32_t n) {
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (s->weights[i] < (double)s->options.min_p) continue;
        s->weights[kept] = s->weights[i];
        s->kept[kept++] = s->kept[i];
    }
    return kept;
}

/* The first candidate whose cumulative weight is above uniform * total. */
static int32_t draw(const nlm_sampler *s, int32_t n, double uniform) {
    double total = 0;
    for (int32_t i = 0; i < n; i++) total += s->weights[i];
    return s->kept[count_to_mass(s->weights, n, nextafter(uniform * total, INFINITY)) - 1].id;
}

static bool is_plain_greedy(const nlm_sampler_options *o) {
    return o->temperature <= 0 && (o->repeat_penalty == 0 || o->repeat_penalty == 1);
}

static bool needs_order(const nlm_sampler_options *o) {
    return o->top_k > 0 || (o->top_p > 0 && o->top_p < 1);
}

/* Which of the random numbers of a position is drawn with. */
enum { DRAW_OF_ALL = 0, DRAW_OF_ALLOWED = 1 };

/* Of all tokens, or of those of a mask. */
static int32_t choose(nlm_sampler *s, const float *logits, const uint32_t *allowed, const int32_t *history,
                      size_t n_history) {
    for (int32_t i = 0; i < s->n_vocab; i++) s->candidates[i] = (candidate){logits[i], i};
    penalise(s, history, n_history);
    for (int32_t i = 0; allowed && i < s->n_vocab; i++) {
        if (!nlm_mask_has(allowed, i)) s->candidates[i].logit = -INFINITY;
    }
    candidate best = s->candidates[0];
    for (int32_t i = 1; i < s->n_vocab; i++) {
        if (is_likelier(s->candidates[i], best)) best = s->candidates[i];
    }
    if (!(best.logit > -INFINITY)) return -1;
    if (s->options.temperature <= 0) return best.id;
    s->greatest = best.logit;
    const int32_t kept = needs_order(&s->options) ? keep_top(s) : keep_all(s);
    const int32_t n = drop_below_min_p(s, kept);
    return draw(s, n, nlm_philox_uniform_of(s->options.seed, n_history, allowed ? DRAW_OF_ALLOWED : DRAW_OF_ALL));
}

int32_t nlm_sampler_choose(nlm_sampler *s, const float *logits, const int32_t *history, size_t n_history) {
    if (is_plain_greedy(&s->options)) return nlm_sampler_greedy(logits, s->n_vocab);
    return choose(s, logits, NULL, history, n_history);
}

int32_t nlm_sampler_choose_allowed(nlm_sampler *s, const float *logits, const uint32_t *allowed,
                                   const int32_t *history, size_t n_history) {
    if (is_plain_greedy(&s->options)) return nlm_sampler_greedy_allowed(logits, allowed, s->n_vocab);
    return choose(s, logits, allowed, history, n_history);
}
