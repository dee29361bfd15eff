/* Choosing from logits that the caller has: nlm_sampler_pick. */
#include <math.h>
#include <stdbool.h>

#include "base/status.h"
#include "session/constraint.h"
#include "session/options.h"
#include "session/sampler.h"

/* Are they something to choose from? */
static nlm_status check_logits(const nlm_sampler *sampler, const float *logits, size_t n_logits, nlm_error *err) {
    const size_t n_vocab = (size_t)nlm_sampler_n_vocab(sampler);
    bool has_finite = false;
    if (n_logits != n_vocab) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sampler_pick", "%zu logits for a vocabulary of %zu", n_logits,
                        n_vocab);
    }
    for (size_t i = 0; i < n_vocab; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY) {
            return nlm_fail(err, NLM_NUMERIC, "nlm_sampler_pick", "the logit of token %zu is %f", i,
                            (double)logits[i]);
        }
        has_finite |= logits[i] > -INFINITY;
    }
    return has_finite ? NLM_OK : nlm_fail(err, NLM_NUMERIC, "nlm_sampler_pick", "no logit is finite");
}

nlm_status nlm_sampler_pick_with(nlm_sampler *sampler, const float *logits, size_t n_logits, const int32_t *history,
                                 size_t n_history, const nlm_pick_options *options, int32_t *out_id,
                                 nlm_error *error) {
    NLM_NEEDS(sampler, error);
    NLM_NEEDS(logits, error);
    NLM_NEEDS(out_id, error);
    if (n_history > 0) NLM_NEEDS(history, error);
    nlm_pick_options o = {0};
    nlm_constraint constraint;
    NLM_TRY(nlm_take_options(&o, sizeof o, options, "nlm_pick_options", error));
    if (o.reserved) return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_pick_options", "reserved is not 0");
    NLM_TRY(nlm_constraint_take(&constraint, o.constraint, error));
    NLM_TRY(check_logits(sampler, logits, n_logits, error));
    if (o.mirostat_mu && !isfinite(*o.mirostat_mu)) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_pick_options", "mirostat_mu is %f", *o.mirostat_mu);
    }
    for (size_t i = 0; i < n_history; i++) {
        if (history[i] >= 0 && (size_t)history[i] < n_logits) continue;
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_sampler_pick", "token %zu of the history is %d", i,
                        history[i]);
    }
    const double start = o.mirostat_mu ? *o.mirostat_mu : 0;
    double mu = start;
    nlm_choice choice = {.logits = logits, .history = history, .n_history = n_history, .mu = &mu};
    int32_t id = nlm_sampler_choose(sampler, &choice);
    if (id >= 0 && nlm_constraint_is_set(&constraint) && !nlm_constraint_allows(&constraint, NULL, id)) {
        uint32_t *mask = nlm_sampler_mask(sampler);
        NLM_TRY(nlm_constraint_mask(&constraint, NULL, mask, nlm_sampler_n_vocab(sampler), error));
        choice.allowed = mask;
        mu = start;
        id = nlm_sampler_choose(sampler, &choice);
    }
    if (id < 0)
        return nlm_fail(error, NLM_NUMERIC, "nlm_sampler_pick", "no logit of a token that may come is finite");
    if (o.mirostat_mu) *o.mirostat_mu = mu;
    *out_id = id;
    return NLM_OK;
}

nlm_status nlm_sampler_pick(nlm_sampler *sampler, const float *logits, size_t n_logits, const int32_t *history,
                            size_t n_history, int32_t *out_id, nlm_error *error) {
    return nlm_sampler_pick_with(sampler, logits, n_logits, history, n_history, NULL, out_id, error);
}
