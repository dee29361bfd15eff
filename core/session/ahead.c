/* Which tokens are computed ahead, how they are given out, and how the rest is taken back. */
#include "session/ahead.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "session/compute.h"

/* ---- whether ------------------------------------------------------------------------------ */

/* The states cannot be taken back to fewer tokens. */
static bool has_recurrent_states(const nlm_session *session) {
    return session->runtime->states->slot_bytes > 0;
}

static bool add_stop(nlm_ahead *ahead, int32_t id) {
    if (ahead->n_stops == NLM_CHAIN_STOPS) return false;
    ahead->stops[ahead->n_stops++] = id;
    return true;
}

/* The ids that end the text; false: the device cannot know all of them. */
static bool list_stops(nlm_ahead *ahead, const nlm_session *session, const nlm_generate_options *options) {
    const nlm_runtime *runtime = session->runtime;
    bool has_all = true;
    for (size_t i = 0; i < options->n_stop_ids; i++) has_all = add_stop(ahead, options->stop_ids[i]) && has_all;
    for (int32_t id = 0; id < runtime->hparams->n_vocab && !(options->flags & NLM_GENERATE_IGNORE_END); id++) {
        if (nlm_tokenizer_is_end(runtime->tokenizer, id)) has_all = add_stop(ahead, id) && has_all;
    }
    return has_all;
}

static nlm_chain *find_chain(nlm_runtime *runtime, bool is_greedy) {
    nlm_error cause = NLM_ERROR_INIT;
    if (!nlm_programs_knows_chain(runtime->programs, is_greedy) &&
        nlm_engine_settle_logits(runtime->engine, &cause) != NLM_OK)
        return NULL; /* who asks for them is told */
    return nlm_programs_find_chain(runtime->programs, is_greedy);
}

void nlm_ahead_begin(nlm_ahead *ahead, nlm_session *session, const nlm_choosing *how,
                     const nlm_generate_options *options) {
    const uint32_t wanted = options->ahead < NLM_CHAIN_TOKENS ? options->ahead : NLM_CHAIN_TOKENS;
    *ahead = (nlm_ahead){0};
    if (wanted < 2 || options->n_top > 0 || nlm_constraint_is_set(&how->constraint)) return;
    if (how->sampler && !nlm_sampler_way_of(how->sampler, &ahead->way)) return;
    ahead->is_greedy = !(ahead->way.temperature > 0);
    if (!find_chain(session->runtime, ahead->is_greedy)) return;
    const bool has_all_ends = list_stops(ahead, session, options) && options->n_stops == 0;
    if (has_recurrent_states(session) && !has_all_ends) return;
    ahead->most = (int32_t)wanted;
}

/* ---- a chain ------------------------------------------------------------------------------ */

/* The states go back to what the session says that it has. */
static void take_back(nlm_ahead *ahead, nlm_session *session) {
    if (ahead->n - ahead->at + ahead->n_spoiled > 0) {
        session->n_computed = nlm_states_roll_back(session->runtime->states, session->slot, session->n_computed);
        if (session->n_offered > session->n_computed) session->n_offered = session->n_computed;
        nlm_session_drop_logits(session);
    }
    ahead->at = ahead->n = ahead->n_spoiled = 0;
}

static nlm_status run_chain(nlm_ahead *ahead, nlm_session *session, int32_t n_tokens, const int32_t **out_ids,
                            int32_t *out_n, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    const nlm_chain_run run = {.slot = session->slot,
                               .pos = session->n_computed,
                               .id = session->tokens[session->n_computed],
                               .n_tokens = n_tokens,
                               .way = ahead->way,
                               .stops = ahead->stops,
                               .n_stops = ahead->n_stops};
    NLM_TRY(nlm_gguf_check_size(nlm_model_gguf(runtime->model), err));
    session->part.n = 1; /* its logits are needed no more */
    const nlm_status status = nlm_engine_settle_logits(runtime->engine, err);
    session->part.n = 0;
    NLM_TRY(status);
    nlm_session_drop_logits(session);
    return nlm_chain_do(nlm_programs_find_chain(runtime->programs, ahead->is_greedy), &run, out_ids, out_n, err);
}

/* Computes up to n_tokens, fewer where there is room for fewer: cached prompts are not given up for tokens that may
 * never be. Nothing is done where there is room for none, or the device refuses. */
static nlm_status compute(nlm_ahead *ahead, nlm_session *session, int32_t n_tokens, nlm_error *err) {
    const int32_t *ids = NULL;
    int32_t n = 0;
    nlm_states *states = session->runtime->states;
    nlm_status status = nlm_states_extend(states, session->slot, n_tokens, err);
    for (; status == NLM_LIMIT && n_tokens > 2; status = nlm_states_extend(states, session->slot, n_tokens, err))
        n_tokens /= 2;
    if (status == NLM_LIMIT) return NLM_OK;
    NLM_TRY(status);
    status = run_chain(ahead, session, n_tokens, &ids, &n, err);
    if (status == NLM_UNSUPPORTED) {
        nlm_states_trim(states, session->slot, session->n_computed);
        ahead->most = 0;
        return NLM_OK;
    }
    if (status != NLM_OK) nlm_session_roll_back(session, session->n_tokens);
    NLM_TRY(status);
    memcpy(ahead->ids, ids, (size_t)n * sizeof *ids);
    ahead->n = n;
    nlm_states_trim(states, session->slot, session->n_computed + n);
    if (n == 0 || ids[n - 1] >= 0) return NLM_OK;
    ahead->n--;
    ahead->n_spoiled = 1;
    return NLM_OK;
}

/* ---- giving out --------------------------------------------------------------------------- */

/* Tokens of the next chain; fewer than 2: none. */
static int32_t choose_count(const nlm_ahead *ahead, const nlm_session *session, uint64_t left) {
    const int32_t room = session->runtime->context_length - session->n_tokens;
    if (session->n_tokens - session->n_computed != 1) return 0;
    int32_t n = ahead->most < room ? ahead->most : room;
    if (left < (uint64_t)n) n = (int32_t)left;
    return n;
}

nlm_status nlm_ahead_next(nlm_ahead *ahead, nlm_session *session, uint64_t left, bool *out_is_given, int32_t *out_id,
                          nlm_error *err) {
    *out_is_given = false;
    if (ahead->most == 0) return NLM_OK;
    if (ahead->at == ahead->n) {
        const bool was_spoiled =
            ahead->n_spoiled > 0; /* by the token that is next: computed by itself it tells why */
        take_back(ahead, session);
        const int32_t n_tokens = was_spoiled ? 0 : choose_count(ahead, session, left);
        if (n_tokens > 1) NLM_TRY(compute(ahead, session, n_tokens, err));
        if (ahead->n == 0) {
            take_back(ahead, session);
            return NLM_OK;
        }
    }
    session->n_computed++;
    nlm_session_keep_prompt(session, 1);
    *out_id = ahead->ids[ahead->at++];
    *out_is_given = true;
    return NLM_OK;
}

bool nlm_ahead_goes_on(const nlm_ahead *ahead, const nlm_session *session) {
    return ahead->at < ahead->n && has_recurrent_states(session);
}

void nlm_ahead_end(nlm_ahead *ahead, nlm_session *session) {
    take_back(ahead, session);
}

static nlm_status decode(nlm_ahead *ahead, nlm_session *session, int32_t n_tokens, nlm_error *err) {
    const nlm_choosing greedy = {0};
    for (int32_t left = n_tokens; left > 0; left--) {
        int32_t id = 0;
        bool is_given;
        NLM_TRY(nlm_ahead_next(ahead, session, (uint64_t)left, &is_given, &id, err));
        if (!is_given) NLM_TRY(nlm_session_choose_next(session, &greedy, false, &id, err));
        NLM_TRY(nlm_session_append(session, &id, 1, err));
    }
    return NLM_OK;
}

nlm_status nlm_ahead_decode(nlm_session *session, uint32_t ahead, int32_t n_tokens, nlm_error *err) {
    const nlm_generate_options options = {.flags = NLM_GENERATE_IGNORE_END, .ahead = ahead};
    nlm_ahead a;
    nlm_ahead_begin(&a, session, &(nlm_choosing){0}, &options);
    const nlm_status status = decode(&a, session, n_tokens, err);
    nlm_ahead_end(&a, session);
    return status;
}
