/* Bringing the pending tokens of sessions through their model, run by run. */
#include "session/compute.h"

#include <string.h>

#include "base/clock.h"
#include "base/status.h"

/* Logits of all rows that the sessions of a run want in full together take at most this. */
#define LOGITS_BYTES (8u << 20)

/* ---- logits ------------------------------------------------------------------------------- */

static void lend_logits(nlm_session *session, const nlm_batch_result *result, size_t row) {
    nlm_engine *engine = session->runtime->engine;
    session->row = result->logits + row * (size_t)session->runtime->hparams->n_vocab;
    session->greedy = result->next ? result->next[row] : -1;
    session->next_borrower = engine->borrowers;
    engine->borrowers = session;
}

static void return_logits(nlm_session *session) {
    nlm_session **link = &session->runtime->engine->borrowers;
    while (*link && *link != session) link = &(*link)->next_borrower;
    if (*link) *link = session->next_borrower;
    session->next_borrower = NULL;
}

void nlm_session_drop_logits(nlm_session *session) {
    return_logits(session);
    session->row = NULL;
    session->greedy = -1;
}

nlm_status nlm_session_fetch_logits(nlm_session *session, nlm_error *err) {
    return session->row == session->logits ? NLM_OK : nlm_programs_fetch(session->runtime->programs, err);
}

nlm_status nlm_session_own_logits(nlm_session *session, nlm_error *err) {
    if (!session->row || session->row == session->logits) return NLM_OK;
    NLM_TRY(nlm_session_fetch_logits(session, err));
    memcpy(session->logits, session->row, (size_t)session->runtime->hparams->n_vocab * sizeof *session->logits);
    return_logits(session);
    session->row = session->logits;
    return NLM_OK;
}

nlm_status nlm_engine_settle_logits(nlm_engine *engine, nlm_error *err) {
    for (nlm_session *s = engine->borrowers, *next; s; s = next) {
        next = s->next_borrower;
        if (s->part.n == 0) NLM_TRY(nlm_session_own_logits(s, err));
    }
    while (engine->borrowers) nlm_session_drop_logits(engine->borrowers);
    return NLM_OK;
}

/* ---- room and failures -------------------------------------------------------------------- */

nlm_status nlm_runtime_make_room(nlm_runtime *runtime, int32_t slot, int32_t n, nlm_error *err) {
    nlm_status status = nlm_states_extend(runtime->states, slot, n, err);
    while (status == NLM_LIMIT && runtime->prompts && nlm_prompt_cache_evict(runtime->prompts)) {
        status = nlm_states_extend(runtime->states, slot, n, err);
    }
    return status;
}

nlm_status nlm_session_make_room(nlm_session *session, int32_t n, nlm_error *err) {
    return nlm_runtime_make_room(session->runtime, session->slot, n, err);
}

/* The logits of the last token may have gone with the run that failed: then it is computed again when they are asked
 * for, which pages allow. */
void nlm_session_roll_back(nlm_session *session, int32_t n_kept) {
    const nlm_states *states = session->runtime->states;
    const int32_t held = session->n_computed;
    const int32_t wanted = held > 0 && !session->row ? held - 1 : held;
    session->n_computed = nlm_states_roll_back(session->runtime->states, session->slot, wanted);
    session->n_tokens = states->slot_bytes == 0 && session->n_computed == wanted ? held : session->n_computed;
    if (session->n_tokens < n_kept) session->n_tokens = n_kept;
    if (session->n_computed == 0) nlm_session_drop_logits(session);
    if (session->n_offered > session->n_computed) session->n_offered = session->n_computed;
}

static void fail_part(nlm_session *session, nlm_status status) {
    session->part.status = status;
    nlm_session_roll_back(session, session->part.n_kept);
}

/* ---- the queue ---------------------------------------------------------------------------- */

/* Tokens that were computed ahead leave no logits: the last one is computed again, or all where states have been
 * overwritten. */
static void recall_last(nlm_session *session) {
    if (session->row || session->n_tokens == 0 || session->n_computed < session->n_tokens) return;
    session->n_computed = nlm_states_roll_back(session->runtime->states, session->slot, session->n_tokens - 1);
    if (session->n_offered > session->n_computed) session->n_offered = session->n_computed;
}

void nlm_pending_add(nlm_pending *queue, nlm_session *session, const nlm_wanted *wanted) {
    recall_last(session);
    session->part = (nlm_part){.wanted = wanted ? *wanted : (nlm_wanted){0},
                               .first = session->n_computed,
                               .n_kept = session->n_tokens - (wanted ? wanted->n_appended : 0),
                               .is_queued = true,
                               .error = NLM_ERROR_INIT};
    *queue->last = session;
    queue->last = &session->part.next;
}

static int32_t pending(const nlm_session *session) {
    return session->part.status == NLM_OK ? session->n_tokens - session->n_computed : 0;
}

/* ---- one run ------------------------------------------------------------------------------ */

typedef struct batch {
    nlm_runtime *runtime;
    nlm_batch_item items[NLM_MAX_ROWS]; /* 16 KiB, of which one decode touches a few bytes */
    nlm_session *sessions[NLM_MAX_ROWS];
    int32_t n_items;
    int32_t room;    /* rows left */
    int32_t outputs; /* of sessions that want all their logits, left */
    bool wants_logits;
} batch;

/* Tokens that the session may still compute. */
static int32_t allowed(const nlm_session *session) {
    const nlm_part *part = &session->part;
    if (part->wanted.max_computed == 0) return INT32_MAX;
    return part->wanted.max_computed - (session->n_computed - part->first);
}

/* Tokens of the session that the run takes. */
static int32_t choose_count(const batch *b, const nlm_session *session) {
    int32_t n = pending(session);
    if (n > allowed(session)) n = allowed(session);
    if (n > b->room) n = b->room;
    if (session->part.wanted.out_rows) return n < b->outputs ? n : b->outputs;
    return nlm_session_chunk_end(session, session->n_computed + n) - session->n_computed;
}

static void add_to_batch(batch *b, nlm_session *session) {
    const int32_t n = choose_count(b, session);
    if (n < 1) return;
    const nlm_status status = nlm_session_make_room(session, n, &session->part.error);
    if (status != NLM_OK) {
        fail_part(session, status);
        return;
    }
    const nlm_wanted *wanted = &session->part.wanted;
    const int32_t end = session->n_computed + n;
    const int32_t from = wanted->rows_from > session->n_computed ? wanted->rows_from : session->n_computed;
    const int32_t n_outputs = wanted->out_rows && from < end ? end - from : 1;
    if (wanted->out_rows || (wanted->has_logits && end == session->n_tokens)) b->wants_logits = true;
    b->items[b->n_items] = (nlm_batch_item){.slot = session->slot,
                                            .pos = session->n_computed,
                                            .n = n,
                                            .n_outputs = n_outputs,
                                            .ids = session->tokens + session->n_computed};
    b->sessions[b->n_items++] = session;
    b->room -= n;
    if (wanted->out_rows) b->outputs -= n;
    session->part.n = n;
}

static void fill_batch(batch *b, const nlm_pending *queue) {
    const uint64_t row_bytes = (uint64_t)b->runtime->hparams->n_vocab * sizeof(float);
    b->n_items = 0;
    b->wants_logits = false;
    b->room = nlm_programs_max_rows(b->runtime->programs);
    b->outputs = row_bytes < LOGITS_BYTES ? (int32_t)(LOGITS_BYTES / row_bytes) : 1;
    for (nlm_session *s = queue->first; s && b->room > 0; s = s->part.next) {
        if (pending(s) == 1) add_to_batch(b, s);
    }
    for (nlm_session *s = queue->first; s && b->room > 0; s = s->part.next) {
        if (s->part.n == 0) add_to_batch(b, s);
    }
}

/* Tells how far a prefill is; nonzero: stop. */
static bool is_cancelled(const nlm_session *session) {
    const int32_t first = session->part.first;
    if (session->n_computed == session->n_tokens) return false;
    if (allowed(session) <= 0) return true;
    if (atomic_load(&session->is_cancelled)) return true;
    if (!session->progress) return false;
    const double done = session->n_computed - first, all = session->n_tokens - first;
    nlm_gate *gate = &session->runtime->engine->gate;
    nlm_gate_call_out(gate, true);
    const int32_t answer = session->progress(session->progress_user, done / all);
    nlm_gate_call_out(gate, false);
    return answer != 0;
}

static void copy_rows(const nlm_session *session, const nlm_batch_item *item, const float *rows) {
    const nlm_wanted *wanted = &session->part.wanted;
    const size_t n_vocab = (size_t)session->runtime->hparams->n_vocab;
    if (!wanted->out_rows || session->n_computed <= wanted->rows_from) return;
    const size_t at = (size_t)(session->n_computed - item->n_outputs - wanted->rows_from);
    memcpy(wanted->out_rows + at * n_vocab, rows, (size_t)item->n_outputs * n_vocab * sizeof *rows);
}

/* A session's part of a run that went well; its outputs begin with first_row. */
static void take_result(nlm_session *session, const nlm_batch_item *item, const nlm_batch_result *result,
                        int32_t first_row) {
    nlm_runtime *runtime = session->runtime;
    nlm_part *part = &session->part;
    const nlm_status status = nlm_programs_check_rows(runtime->programs, item, first_row, &part->error);
    if (status != NLM_OK) {
        fail_part(session, status);
        return;
    }
    session->n_computed += item->n;
    copy_rows(session, item, result->logits + (size_t)first_row * (size_t)runtime->hparams->n_vocab);
    lend_logits(session, result, (size_t)(first_row + item->n_outputs - 1));
    nlm_session_keep_prompt(session, item->n);
    if (!is_cancelled(session)) return;
    session->n_tokens = session->n_computed > part->n_kept ? session->n_computed : part->n_kept;
    part->status = nlm_fail(&part->error, NLM_CANCELLED, "session", "cancelled after %d tokens", session->n_computed);
}

static void run_batch(batch *b) {
    const int32_t n_rows = nlm_programs_max_rows(b->runtime->programs) - b->room;
    const uint64_t start_ns = nlm_clock_ns();
    const nlm_batch_result *result = NULL;
    nlm_error cause = NLM_ERROR_INIT;
    nlm_status status = nlm_gguf_check_size(nlm_model_gguf(b->runtime->model), &cause);
    if (status == NLM_OK) status = nlm_engine_settle_logits(b->runtime->engine, &cause);
    if (status == NLM_OK) {
        status = nlm_programs_run(b->runtime->programs, b->items, b->n_items, b->wants_logits, &result, &cause);
    }
    const uint64_t ns = nlm_clock_ns() - start_ns;
    int32_t row = 0;
    for (int32_t i = 0; i < b->n_items; i++) {
        nlm_session *session = b->sessions[i];
        session->part.ns += ns * (uint64_t)b->items[i].n / (uint64_t)n_rows;
        session->part.n = 0;
        if (status == NLM_OK) {
            take_result(session, &b->items[i], result, row);
            row += b->items[i].n_outputs;
        } else {
            session->part.error = cause;
            fail_part(session, status);
        }
    }
}

nlm_status nlm_pending_run(nlm_pending *queue) {
    if (!queue->first) return NLM_OK;
    batch b;
    b.runtime = queue->first->runtime;
    for (fill_batch(&b, queue); b.n_items > 0; fill_batch(&b, queue)) run_batch(&b);
    nlm_status first_failure = NLM_OK;
    for (nlm_session *s = queue->first; s; s = s->part.next) {
        s->part.is_queued = false;
        if (first_failure == NLM_OK) first_failure = s->part.status;
    }
    queue->first = NULL;
    queue->last = &queue->first;
    return first_failure;
}

nlm_status nlm_session_compute(nlm_session *session, const nlm_wanted *wanted, nlm_error *err) {
    if (session->n_computed == session->n_tokens && session->row) return NLM_OK;
    nlm_pending queue = NLM_PENDING_INIT(queue);
    nlm_pending_add(&queue, session, wanted);
    const nlm_status status = nlm_pending_run(&queue);
    if (status != NLM_OK) nlm_error_give(err, &session->part.error);
    return status;
}
