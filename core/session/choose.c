/* A session's next token: from its logits, by a sampler, within a constraint. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/compute.h"
#include "session/options.h"
#include "session/sampler.h"

/* ---- samplers of a model ------------------------------------------------------------------ */

static nlm_status check_breakers(const nlm_sampler_options *o, nlm_error *err) {
    for (size_t i = 0; i < o->n_dry_breakers; i++) {
        if (o->dry_breakers[i] && o->dry_breakers[i][0]) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "dry_breakers: number %zu is empty", i + 1);
    }
    return NLM_OK;
}

/* Tells the sampler which tokens end repetitions. */
static nlm_status find_breakers(const nlm_runtime *runtime, nlm_sampler *sampler, const nlm_sampler_options *o,
                                nlm_error *err) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    const int32_t n_vocab = runtime->hparams->n_vocab;
    const char *const *breakers = o->dry_breakers ? o->dry_breakers : usual;
    const size_t n_breakers = o->dry_breakers ? o->n_dry_breakers : sizeof usual / sizeof *usual;
    NLM_TRY(check_breakers(o, err));
    if (o->n_dry_breakers) NLM_TRY(nlm_runtime_check_text(runtime, err));
    if (!runtime->tokenizer) return NLM_OK; /* ids alone: there is no text to look at */
    uint32_t *mask = calloc(nlm_mask_words(n_vocab), sizeof *mask);
    nlm_breakers *spelled = nlm_breakers_create(breakers, n_breakers);
    nlm_sampler_take_breakers(sampler, mask, spelled);
    bool has_memory = mask && spelled;
    for (int32_t id = 0; id < n_vocab && has_memory; id++) {
        nlm_piece piece;
        bool is_whole;
        NLM_TRY(nlm_tokenizer_piece(runtime->tokenizer, id, &piece, err));
        has_memory = nlm_breakers_add(spelled, id, piece.text, piece.length, &is_whole);
        if (is_whole) mask[id / 32] |= 1u << id % 32;
    }
    if (has_memory) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler", "no memory for what ends repetitions in %d tokens", n_vocab);
}

nlm_status nlm_sampler_create(const nlm_model *model, const nlm_sampler_options *options, nlm_sampler **out_sampler,
                              nlm_error *error) {
    NLM_NEEDS(out_sampler, error);
    *out_sampler = NULL;
    NLM_NEEDS(model, error);
    nlm_sampler_options own = {0};
    nlm_sampler *sampler = NULL;
    NLM_TRY(nlm_take_options(&own, sizeof own, options, "nlm_sampler_options", error));
    NLM_TRY(nlm_sampler_new(nlm_model_hparams(model)->n_vocab, options, &sampler, error));
    nlm_status status = NLM_OK;
    if (nlm_sampler_wants_breakers(sampler)) {
        status = find_breakers(nlm_model_runtime(model), sampler, &own, error);
    }
    if (status != NLM_OK) {
        nlm_sampler_destroy(sampler);
        return status;
    }
    *out_sampler = sampler;
    return NLM_OK;
}

nlm_status nlm_session_check_sampler(const nlm_session *session, const nlm_sampler *sampler, nlm_error *err) {
    if (!sampler || nlm_sampler_n_vocab(sampler) == session->runtime->hparams->n_vocab) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "it was made for a vocabulary of %d, and this one has %d",
                    nlm_sampler_n_vocab(sampler), session->runtime->hparams->n_vocab);
}

/* ---- choosing ----------------------------------------------------------------------------- */

double nlm_mirostat_now(const nlm_mirostat *mirostat, int32_t n_tokens) {
    return mirostat->at == n_tokens ? mirostat->mu : mirostat->next;
}

/* Among the tokens of a mask, or all; mu as the sampler leaves it. -1: none has a finite logit. */
static nlm_status choose_among(nlm_session *session, nlm_sampler *sampler, const uint32_t *allowed, double *mu,
                               int32_t *out_id, nlm_error *err) {
    const int32_t n_vocab = session->runtime->hparams->n_vocab;
    *out_id = session->greedy;
    if (!sampler && !allowed && session->greedy >= 0) return NLM_OK;
    NLM_TRY(nlm_session_fetch_logits(session, err));
    const nlm_choice choice = {.logits = session->row,
                               .history = session->tokens,
                               .n_history = (size_t)session->n_tokens,
                               .allowed = allowed,
                               .mu = mu};
    *out_id = sampler   ? nlm_sampler_choose(sampler, &choice)
              : allowed ? nlm_sampler_greedy_allowed(session->row, allowed, n_vocab)
                        : nlm_sampler_greedy(session->row, n_vocab);
    return NLM_OK;
}

nlm_status nlm_session_choose(nlm_session *session, const nlm_choosing *how, int32_t *out_id, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    const nlm_constraint *constraint = &how->constraint;
    nlm_gate *gate = &runtime->engine->gate;
    const double start = nlm_mirostat_now(&session->mirostat, session->n_tokens);
    double mu = start;
    int32_t id;
    NLM_TRY(choose_among(session, how->sampler, NULL, &mu, &id, err));
    if (id >= 0 && nlm_constraint_is_set(constraint) && !nlm_constraint_allows(constraint, gate, id)) {
        NLM_TRY(nlm_constraint_mask(constraint, gate, runtime->mask, runtime->hparams->n_vocab, err));
        mu = start;
        NLM_TRY(choose_among(session, how->sampler, runtime->mask, &mu, &id, err));
    }
    if (id < 0) return nlm_fail(err, NLM_NUMERIC, "sampler", "its biases leave no token that may come");
    session->mirostat = (nlm_mirostat){.mu = start, .next = mu, .at = session->n_tokens};
    *out_id = id;
    return NLM_OK;
}

nlm_status nlm_session_choose_next(nlm_session *session, const nlm_choosing *how, bool wants_logits, int32_t *out_id,
                                   nlm_error *err) {
    NLM_TRY(nlm_session_check_holds(session, err));
    NLM_TRY(nlm_session_compute(session, &(nlm_wanted){.has_logits = how->sampler || wants_logits}, err));
    if (wants_logits) NLM_TRY(nlm_session_fetch_logits(session, err));
    return nlm_session_choose(session, how, out_id, err);
}

nlm_status nlm_session_sample(nlm_session *session, nlm_sampler *sampler, int32_t *out_id, nlm_error *error) {
    NLM_NEEDS(out_id, error);
    NLM_ENTER_SESSION(session, error);
    NLM_TRY(nlm_session_check_sampler(session, sampler, error));
    return nlm_session_choose_next(session, &(nlm_choosing){.sampler = sampler}, false, out_id, error);
}
