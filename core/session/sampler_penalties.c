/* What changes logits before tokens are drawn: biases, penalties, repetitions, temperature. */
#include <float.h>
#include <math.h>

#include "session/constraint.h"
#include "session/sampler_pool.h"

/* Infinities have no difference to weigh. */
static float clamp_logit(double logit) {
    return (float)fmax(-(double)FLT_MAX, fmin(logit, (double)FLT_MAX));
}

void nlm_sampler_add_biases(nlm_sampler *s) {
    for (size_t i = 0; i < s->options.n_biases; i++) {
        float *logit = &s->pool[s->biases[i].id].logit;
        const float bias = s->biases[i].bias;
        if (*logit == -INFINITY) continue;
        *logit = bias == -INFINITY ? bias : clamp_logit((double)*logit + (double)bias);
    }
}

/* The last n tokens of the history; *out_count of them are there. */
static const int32_t *recent(const nlm_sampler *s, size_t n, size_t *out_count) {
    const nlm_choice *c = s->choice;
    *out_count = c->n_history < n ? c->n_history : n;
    return c->n_history ? c->history + (c->n_history - *out_count) : NULL;
}

static bool is_token(const nlm_sampler *s, int32_t id) {
    return id >= 0 && id < s->n_vocab;
}

/* Calls `change` once for each token that `seen` is not 0 for, which is one of those given, and clears it. */
static void change_seen(nlm_sampler *s, const int32_t *ids, size_t count,
                        void (*change)(const nlm_sampler *s, float *logit, uint32_t seen)) {
    nlm_pool_change_logits(s);
    for (size_t i = 0; i < count; i++) {
        if (!is_token(s, ids[i]) || s->seen[ids[i]] == 0) continue;
        nlm_candidate *candidate = nlm_pool_find(s, ids[i]);
        if (candidate && candidate->logit > -INFINITY) change(s, &candidate->logit, s->seen[ids[i]]);
        s->seen[ids[i]] = 0;
    }
}

/* Repetition: Keskar et al. 2019 (CTRL), section 4.1, applied once to each distinct token. */
static void penalise(const nlm_sampler *s, float *logit, uint32_t seen) {
    const nlm_sampler_options *o = &s->options;
    if (o->repeat_penalty > 0 && o->repeat_penalty != 1) {
        const float penalised = *logit > 0 ? *logit / o->repeat_penalty : *logit * o->repeat_penalty;
        *logit = fmaxf(-FLT_MAX, fminf(penalised, FLT_MAX));
    }
    if (o->frequency_penalty == 0 && o->presence_penalty == 0) return;
    *logit = clamp_logit((double)*logit - (double)seen * (double)o->frequency_penalty - (double)o->presence_penalty);
}

void nlm_stage_penalties(nlm_sampler *s) {
    size_t count;
    const int32_t *ids = recent(s, s->options.repeat_last_n, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_token(s, ids[i])) s->seen[ids[i]]++;
    }
    change_seen(s, ids, count, penalise);
}

/* ---- repetitions -------------------------------------------------------------------------- */

static bool is_breaker(const nlm_sampler *s, int32_t id) {
    return !is_token(s, id) || (s->breakers && nlm_mask_has(s->breakers, id));
}

/* Whether a repetition ends with the last of these tokens. */
static bool ends_repetition(const nlm_sampler *s, const int32_t *ids, size_t count) {
    return is_breaker(s, ids[count - 1]) || (s->spelled && nlm_breakers_end(s->spelled, ids, count));
}

static void penalise_length(const nlm_sampler *s, float *logit, uint32_t length) {
    const nlm_sampler_options *o = &s->options;
    const double over = (double)length - (double)o->dry_allowed_length;
    *logit = clamp_logit((double)*logit - (double)o->dry_multiplier * pow((double)o->dry_base, over));
}

void nlm_stage_dry(nlm_sampler *s) {
    size_t count;
    const int32_t *ids = recent(s, s->options.dry_last_n ? s->options.dry_last_n : SIZE_MAX, &count);
    size_t most = 0; /* tokens at the end that may repeat: those behind the last breaker */
    while (most < count && most < NLM_DRY_LENGTH_MAX && !ends_repetition(s, ids, count - most)) most++;
    if (most < s->options.dry_allowed_length) return;
    for (size_t next = 1; next < count; next++) { /* a token that came before: what stands in front of it */
        size_t length = 0;
        while (length < most && length < next && ids[next - 1 - length] == ids[count - 1 - length]) length++;
        if (length < s->options.dry_allowed_length || is_breaker(s, ids[next])) continue;
        if (s->seen[ids[next]] < length) s->seen[ids[next]] = (uint32_t)length;
    }
    change_seen(s, ids, count, penalise_length);
}

/* ---- temperature -------------------------------------------------------------------------- */

/* The entropy of the pool as a part of the greatest that as many tokens can have: 0 to 1. */
static double relative_entropy(nlm_sampler *s) {
    const double total = nlm_pool_weigh(s);
    double entropy = 0;
    for (int32_t i = 0; i < s->n; i++) {
        const double p = s->weights[i] / total;
        if (p > 0) entropy -= p * log(p);
    }
    return s->n > 1 ? fmin(entropy / log((double)s->n), 1) : 0;
}

void nlm_stage_temperature(nlm_sampler *s) {
    const nlm_sampler_options *o = &s->options;
    double temperature = (double)o->temperature;
    if (o->temperature_range > 0) {
        const double least = fmax(temperature - (double)o->temperature_range, 0);
        const double most = temperature + (double)o->temperature_range;
        temperature = least + (most - least) * pow(relative_entropy(s), (double)o->temperature_exponent);
        if (!(temperature > DBL_MIN))
            temperature = DBL_MIN; /* differences of floats over it stay numbers, or infinite */
    }
    s->temperature *= temperature;
    s->has_weights = false;
}
