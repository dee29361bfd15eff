/* Sessions: their life, tokens in, logits out. */
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "session/compute.h"

/* ---- life --------------------------------------------------------------------------------- */

static nlm_status take_slot(nlm_runtime *runtime, int32_t *out, nlm_error *err) {
    for (int32_t i = 0; i < runtime->n_slots; i++) {
        if (runtime->is_slot_used[i]) continue;
        *out = i;
        return NLM_OK;
    }
    return nlm_fail(err, NLM_LIMIT, "nlm_session_create",
                    "all %d sessions of the model are in use; load it with a greater nlm_model_options.parallel",
                    runtime->n_slots);
}

/* What a session takes beside its part of the cache. */
static uint64_t own_bytes(const nlm_runtime *runtime) {
    return sizeof(nlm_session) + (uint64_t)runtime->context_length * sizeof(int32_t) +
           (uint64_t)runtime->hparams->n_vocab * sizeof(float);
}

static void end_session(nlm_ending *ending);

nlm_status nlm_session_create(nlm_model *model, nlm_session **out_session, nlm_error *error) {
    NLM_NEEDS(out_session, error);
    *out_session = NULL;
    NLM_NEEDS(model, error);
    nlm_runtime *runtime = nlm_model_runtime(model);
    NLM_ENTER(&runtime->engine->gate, error);
    int32_t slot = 0;
    NLM_TRY(take_slot(runtime, &slot, error));
    NLM_TRY(nlm_states_clear(runtime->states, slot, error));
    nlm_session *session = calloc(1, sizeof *session);
    if (!session) return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_session_create", "no memory for a session");
    const nlm_status status =
        nlm_engine_take_memory(runtime->engine, own_bytes(runtime), "nlm_session_create", error);
    if (status != NLM_OK) {
        free(session);
        return status;
    }
    session->runtime = runtime;
    session->ending.end = end_session;
    session->greedy = -1;
    session->slot = slot;
    session->tokens = calloc((size_t)runtime->context_length, sizeof *session->tokens);
    session->logits = calloc((size_t)runtime->hparams->n_vocab, sizeof *session->logits);
    runtime->is_slot_used[slot] = true;
    if (!session->tokens || !session->logits) {
        nlm_session_destroy(session);
        return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_session_create", "no memory for %d tokens",
                        runtime->context_length);
    }
    *out_session = session;
    return NLM_OK;
}

static void forget(nlm_session *session) {
    nlm_states_release(session->runtime->states, session->slot);
    nlm_session_drop_logits(session);
    nlm_text_stream_clear(&session->stream);
    session->mirostat = (nlm_mirostat){0};
    session->n_tokens = session->n_computed = session->n_offered = 0;
}

static void end_session(nlm_ending *ending) {
    nlm_session *session = (nlm_session *)((char *)ending - offsetof(nlm_session, ending));
    nlm_runtime *runtime = session->runtime;
    forget(session);
    runtime->is_slot_used[session->slot] = false;
    nlm_engine_give_memory(runtime->engine, own_bytes(runtime));
    nlm_text_stream_release(&session->stream);
    free(session->tokens);
    free(session->logits);
    free(session);
    nlm_runtime_end_with_last(runtime);
}

void nlm_session_destroy(nlm_session *session) {
    if (session) nlm_gate_end(&session->runtime->engine->gate, &session->ending);
}

nlm_status nlm_session_reset(nlm_session *session, nlm_error *error) {
    NLM_ENTER_SESSION(session, error);
    forget(session);
    return nlm_states_clear(session->runtime->states, session->slot, error);
}

static nlm_status copy_content(nlm_session *to, nlm_session *from, nlm_error *err) {
    nlm_runtime *runtime = from->runtime;
    NLM_TRY(nlm_states_fork(runtime->states, from->slot, to->slot, from->n_computed, err));
    NLM_TRY(nlm_text_stream_copy(&to->stream, &from->stream, err));
    memcpy(to->tokens, from->tokens, (size_t)from->n_tokens * sizeof *to->tokens);
    if (from->row) {
        NLM_TRY(nlm_session_fetch_logits(from, err));
        memcpy(to->logits, from->row, (size_t)runtime->hparams->n_vocab * sizeof *to->logits);
        to->row = to->logits;
        to->greedy = from->greedy;
    }
    to->mirostat = from->mirostat;
    to->n_tokens = from->n_tokens;
    to->n_computed = from->n_computed;
    to->n_offered = from->n_offered;
    return NLM_OK;
}

nlm_status nlm_session_fork(nlm_session *session, nlm_session **out_session, nlm_error *error) {
    NLM_NEEDS(out_session, error);
    *out_session = NULL;
    NLM_ENTER_SESSION(session, error);
    nlm_session *copy = NULL;
    NLM_TRY(nlm_session_create(session->runtime->model, &copy, error));
    const nlm_status status = copy_content(copy, session, error);
    if (status != NLM_OK) {
        nlm_session_destroy(copy);
        return status;
    }
    *out_session = copy;
    return NLM_OK;
}

void nlm_session_set_progress(nlm_session *session, nlm_progress_fn fn, void *user) {
    if (!session) return;
    session->progress = fn;
    session->progress_user = user;
}

void nlm_session_cancel(nlm_session *session) {
    if (session) atomic_store(&session->is_cancelled, true);
}

/* What is computed of the tokens that stay, but for the last, whose logits are wanted again. */
nlm_status nlm_session_truncate(nlm_session *session, size_t count, nlm_error *error) {
    NLM_ENTER_SESSION(session, error);
    if (count > (size_t)session->n_tokens) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_session_truncate",
                        "the session holds %d tokens, fewer than the %zu to keep", session->n_tokens, count);
    }
    if (count == (size_t)session->n_tokens) return NLM_OK;
    if (count == 0) return nlm_session_reset(session, error);
    const int32_t wanted = (int32_t)count - 1;
    nlm_session_drop_logits(session);
    nlm_text_stream_clear(&session->stream);
    if (session->n_computed > wanted) {
        session->n_computed = nlm_states_roll_back(session->runtime->states, session->slot, wanted);
    }
    session->n_tokens = (int32_t)count;
    if (session->n_offered > session->n_computed) session->n_offered = session->n_computed;
    return nlm_session_find_prompt(session, error);
}

const int32_t *nlm_session_tokens(const nlm_session *session, size_t *out_count) {
    if (out_count) *out_count = session ? (size_t)session->n_tokens : 0;
    return session ? session->tokens : NULL;
}

/* ---- tokens in ---------------------------------------------------------------------------- */

nlm_status nlm_session_check_ids(const nlm_session *session, const int32_t *ids, size_t count, nlm_error *err) {
    const int32_t n_vocab = session->runtime->hparams->n_vocab;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && ids[i] < n_vocab) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "session", "token %zu is %d; the vocabulary has 0 to %d", i,
                        ids[i], n_vocab - 1);
    }
    return NLM_OK;
}

nlm_status nlm_session_append(nlm_session *session, const int32_t *ids, size_t count, nlm_error *err) {
    const int32_t limit = session->runtime->context_length;
    if (count > (size_t)(limit - session->n_tokens)) {
        return nlm_fail(err, NLM_LIMIT, "session",
                        "%d tokens and %zu more do not fit the context of %d; load the model with a longer one",
                        session->n_tokens, count, limit);
    }
    if (count) memcpy(session->tokens + session->n_tokens, ids, count * sizeof *ids);
    session->n_tokens += (int32_t)count;
    nlm_text_stream_clear(&session->stream);
    return NLM_OK;
}

/* Runs of whole prompts; the clock for the first token starts here. */
static nlm_status extend(nlm_session *session, const int32_t *ids, size_t count, float *out_rows, nlm_error *err) {
    if (count == 0 || !ids) return nlm_fail(err, NLM_INVALID_ARGUMENT, "session", "no tokens are given");
    NLM_TRY(nlm_session_check_ids(session, ids, count, err));
    session->extended_at_ns = nlm_clock_ns();
    atomic_store(&session->is_cancelled, false);
    NLM_TRY(nlm_session_append(session, ids, count, err));
    nlm_status status = out_rows ? NLM_OK : nlm_session_find_prompt(session, err);
    if (status != NLM_OK) nlm_session_roll_back(session, session->n_tokens - (int32_t)count);
    if (status != NLM_OK) return status;
    const int32_t before = session->n_computed;
    const nlm_wanted wanted = {
        .out_rows = out_rows, .rows_from = session->n_tokens - (int32_t)count, .n_appended = (int32_t)count};
    status = nlm_session_compute(session, &wanted, err);
    session->counters.prompt_ns += nlm_clock_ns() - session->extended_at_ns;
    if (session->n_computed > before) session->counters.prompt_tokens += (uint64_t)(session->n_computed - before);
    return status;
}

nlm_status nlm_session_extend(nlm_session *session, const int32_t *ids, size_t count, nlm_error *error) {
    NLM_ENTER_SESSION(session, error);
    return extend(session, ids, count, NULL, error);
}

nlm_status nlm_session_extend_logits(nlm_session *session, const int32_t *ids, size_t count, float *out_logits,
                                     nlm_error *error) {
    NLM_ENTER_SESSION(session, error);
    NLM_NEEDS(out_logits, error);
    return extend(session, ids, count, out_logits, error);
}

nlm_status nlm_session_check_holds(const nlm_session *session, nlm_error *err) {
    if (session->n_tokens > 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "session", "it is empty; extend it with a prompt first");
}

nlm_status nlm_session_logits(nlm_session *session, const float **out_logits, nlm_error *error) {
    NLM_NEEDS(out_logits, error);
    NLM_ENTER_SESSION(session, error);
    NLM_TRY(nlm_session_check_holds(session, error));
    NLM_TRY(nlm_session_compute(session, &(nlm_wanted){.has_logits = true}, error));
    NLM_TRY(nlm_session_own_logits(session, error));
    *out_logits = session->logits;
    return NLM_OK;
}
