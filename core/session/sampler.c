/* Drawing the next token: its stages one after the other, and one uniform number. */
#include "session/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "session/constraint.h"
#include "session/sampler_pool.h"

int32_t nlm_sampler_n_vocab(const nlm_sampler *sampler) {
    return sampler->n_vocab;
}

uint32_t *nlm_sampler_mask(nlm_sampler *sampler) {
    return sampler->mask;
}

int32_t nlm_sampler_wants_breakers(const nlm_sampler *sampler) {
    return sampler->options.dry_multiplier > 0;
}

void nlm_sampler_take_breakers(nlm_sampler *sampler, uint32_t *mask, nlm_breakers *spelled) {
    free(sampler->breakers);
    nlm_breakers_destroy(sampler->spelled);
    sampler->breakers = mask;
    sampler->spelled = spelled;
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

/* Nothing changes the order of the logits. */
static bool is_plain_greedy(const nlm_sampler *s) {
    if (s->options.temperature > 0 || s->options.n_biases > 0) return false;
    for (size_t i = 0; i < s->n_stages; i++) {
        if (!s->stages[i]->only_cuts) return false;
    }
    return true;
}

/* Has it no other stages than these, in this order? */
static bool has_only(const nlm_sampler *s, void (*const *runs)(nlm_sampler *), size_t n_runs) {
    size_t at = 0;
    for (size_t i = 0; i < s->n_stages; i++, at++) {
        while (at < n_runs && runs[at] != s->stages[i]->run) at++;
        if (at == n_runs) return false;
    }
    return true;
}

bool nlm_sampler_way_of(const nlm_sampler *s, nlm_sampler_way *out) {
    static void (*const runs[])(nlm_sampler *) = {nlm_stage_temperature, nlm_stage_top_k, nlm_stage_top_p,
                                                  nlm_stage_min_p};
    const nlm_sampler_options *o = &s->options;
    *out = (nlm_sampler_way){.seed = o->seed};
    if (is_plain_greedy(s)) return true;
    const bool has_more = o->n_biases > 0 || o->temperature_range > 0 || o->mirostat_tau > 0;
    if (has_more || !(o->temperature > 0) || !has_only(s, runs, sizeof runs / sizeof *runs)) return false;
    *out = (nlm_sampler_way){o->temperature, o->top_p, o->min_p, o->top_k, o->seed};
    return true;
}

/* mu of the text, in bits. */
static double surprise_bound(const nlm_sampler *s) {
    const double *mu = s->choice->mu;
    return mu && *mu != 0 ? *mu : 2 * (double)s->options.mirostat_tau;
}

/* Brings the pool to what is drawn of; false: nothing is left that may come. */
static bool run_stages(nlm_sampler *s, const nlm_choice *choice) {
    const bool is_greedy = s->options.temperature <= 0;
    nlm_pool_fill(s, choice);
    nlm_sampler_add_biases(s);
    if (s->pool[nlm_pool_best(s)].logit == -INFINITY) return false;
    for (size_t i = 0; i < s->n_stages; i++) {
        if (!is_greedy || !s->stages[i]->only_cuts) s->stages[i]->run(s);
    }
    if (is_greedy) return true;
    if (s->wants_order && !s->is_sorted) nlm_pool_take_likeliest(s, s->n, INFINITY);
    nlm_pool_weigh(s);
    return true;
}

/* After a draw: the surprise that was is brought closer to what is wanted. */
static void learn_surprise(const nlm_sampler *s, double mu, double probability) {
    const double surprise = -log2(probability);
    if (s->choice->mu)
        *s->choice->mu = mu - (double)s->options.mirostat_eta * (surprise - (double)s->options.mirostat_tau);
}

/* The first candidate whose cumulative weight is above uniform * total. */
static int32_t draw(nlm_sampler *s) {
    const uint32_t which = s->choice->allowed ? NLM_DRAW_OF_ALLOWED : NLM_DRAW_OF_ALL;
    const double uniform = nlm_philox_uniform_of(s->options.seed, s->choice->n_history, which);
    const bool has_bound = s->options.mirostat_tau > 0;
    const double mu = surprise_bound(s), whole = has_bound ? nlm_pool_weigh(s) : 0;
    if (has_bound) nlm_sampler_cut_surprise(s, mu);
    const double total = nlm_pool_weigh(s);
    const int32_t at = nlm_count_to_mass(s->weights, s->n, nextafter(uniform * total, INFINITY)) - 1;
    if (has_bound) learn_surprise(s, mu, s->weights[at] / whole);
    return s->pool[at].id;
}

int32_t nlm_sampler_choose(nlm_sampler *s, const nlm_choice *choice) {
    if (is_plain_greedy(s)) {
        if (choice->allowed) return nlm_sampler_greedy_allowed(choice->logits, choice->allowed, s->n_vocab);
        const int32_t best = nlm_sampler_greedy(choice->logits, s->n_vocab);
        return choice->logits[best] > -INFINITY ? best : -1;
    }
    if (!run_stages(s, choice)) return -1;
    if (s->options.temperature <= 0) return s->pool[nlm_pool_best(s)].id;
    return draw(s);
}

int32_t nlm_sampler_distribution(nlm_sampler *s, const nlm_choice *choice, int32_t *out_ids,
                                 double *out_probabilities) {
    if (!run_stages(s, choice)) return 0;
    if (s->options.temperature <= 0) {
        out_ids[0] = s->pool[nlm_pool_best(s)].id;
        out_probabilities[0] = 1;
        return 1;
    }
    if (s->options.mirostat_tau > 0) nlm_sampler_cut_surprise(s, surprise_bound(s));
    const double total = nlm_pool_weigh(s);
    for (int32_t i = 0; i < s->n; i++) {
        out_ids[i] = s->pool[i].id;
        out_probabilities[i] = s->weights[i] / total;
    }
    return s->n;
}
