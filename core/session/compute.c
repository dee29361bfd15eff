/* Bringing a session's pending tokens through the model, chunk by chunk. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/session.h"

/* Logits of all rows of a chunk together take at most this. */
#define LOGITS_BYTES (8u << 20)

nlm_status nlm_session_make_room(nlm_session *session, int32_t n, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    nlm_status status = nlm_states_extend(runtime->states, session->slot, n, err);
    while (status == NLM_LIMIT && runtime->prompts && nlm_prompt_cache_evict(runtime->prompts)) {
        status = nlm_states_extend(runtime->states, session->slot, n, err);
    }
    return status;
}

void nlm_session_roll_back(nlm_session *session) {
    session->n_computed = nlm_states_roll_back(session->runtime->states, session->slot, session->n_computed);
    session->n_tokens = session->n_computed;
    if (session->n_offered > session->n_computed) session->n_offered = session->n_computed;
}

/* ---- chunks ------------------------------------------------------------------------------- */

static int32_t rows_at_once(const nlm_session *session, bool wants_all) {
    const nlm_runtime *runtime = session->runtime;
    int32_t rows = nlm_programs_max_rows(runtime->programs);
    const uint64_t row_bytes = (uint64_t)runtime->hparams->n_vocab * sizeof(float);
    while (wants_all && rows > 1 && (uint64_t)rows * row_bytes > LOGITS_BYTES) rows /= 2;
    return rows;
}

static nlm_status compute_chunk(nlm_session *session, int32_t n, float *out_rows, nlm_error *err) {
    const nlm_runtime *runtime = session->runtime;
    const size_t n_vocab = (size_t)runtime->hparams->n_vocab;
    const nlm_batch_item item = {.slot = session->slot,
                                 .pos = session->n_computed,
                                 .n = n,
                                 .n_outputs = out_rows ? n : 1,
                                 .ids = session->tokens + session->n_computed};
    NLM_TRY(nlm_session_make_room(session, n, err));
    const float *logits = NULL;
    NLM_TRY(nlm_programs_run(runtime->programs, &item, 1, &logits, err));
    if (out_rows) memcpy(out_rows, logits, (size_t)n * n_vocab * sizeof *logits);
    const float *last = logits + (size_t)(item.n_outputs - 1) * n_vocab;
    memcpy(session->logits, last, n_vocab * sizeof *last);
    session->n_computed += n;
    return NLM_OK;
}

/* Tells how far the prefill is; nonzero: stop. */
static bool is_cancelled(const nlm_session *session, int32_t first) {
    if (!session->progress || session->n_computed == session->n_tokens) return false;
    const double done = session->n_computed - first, all = session->n_tokens - first;
    return session->progress(session->progress_user, done / all) != 0;
}

nlm_status nlm_session_compute(nlm_session *session, float *out_rows, nlm_error *err) {
    const int32_t first = session->n_computed;
    const int32_t max_rows = rows_at_once(session, out_rows != NULL);
    const size_t n_vocab = (size_t)session->runtime->hparams->n_vocab;
    while (session->n_computed < session->n_tokens) {
        const int32_t from = session->n_computed;
        const int32_t left = session->n_tokens - from;
        int32_t end = from + (left < max_rows ? left : max_rows);
        if (!out_rows) end = nlm_session_chunk_end(session, end);
        float *rows = out_rows ? out_rows + (size_t)(from - first) * n_vocab : NULL;
        const nlm_status status = compute_chunk(session, end - from, rows, err);
        if (status != NLM_OK) {
            nlm_session_roll_back(session);
            return status;
        }
        nlm_session_keep_prompt(session, end - from);
        if (!is_cancelled(session, first)) continue;
        session->n_tokens = session->n_computed;
        return nlm_fail(err, NLM_CANCELLED, "session", "cancelled after %d tokens", session->n_computed);
    }
    return NLM_OK;
}
