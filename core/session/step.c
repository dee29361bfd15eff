/* Many sessions at once: nlm_step, and what is a simple form of it. */
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "session/compute.h"
#include "session/logprobs.h"
#include "session/options.h"

#define KNOWN_FLAGS (NLM_STEP_SAMPLE | NLM_STEP_LOGPROB)

/* ---- items of the caller's size ------------------------------------------------------------ */

/* What an item has in the first version, where an array of them ends at the least. */
#define ITEM_1_0 (offsetof(nlm_step_item, next) + sizeof(int32_t))

/* What a later version has, read; zeroed where the item does not cover it. */
typedef struct item_tail {
    const nlm_constraint *constraint;
    nlm_logprob *out_top;
    uint32_t n_top, max_computed;
} item_tail;

#define COVERS(item, field) ((item)->struct_size >= offsetof(nlm_step_item, field) + sizeof((item)->field))

static item_tail tail_of(const nlm_step_item *item) {
    return (item_tail){.constraint = COVERS(item, constraint) ? item->constraint : NULL,
                       .out_top = COVERS(item, out_top) ? item->out_top : NULL,
                       .n_top = COVERS(item, n_top) ? item->n_top : 0,
                       .max_computed = COVERS(item, max_computed) ? item->max_computed : 0};
}

static nlm_step_item *item_at(nlm_step_item *items, size_t stride, size_t i) {
    return (nlm_step_item *)(void *)((char *)items + i * stride);
}

static nlm_status check_sizes(nlm_step_item *items, size_t count, nlm_error *err) {
    if (!items || count == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "no items are given");
    const uint32_t size = items->struct_size;
    for (size_t i = 0; i < count && size >= ITEM_1_0; i++) {
        if (item_at(items, size, i)->struct_size == size) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "item %zu has struct_size %u, the first %u", i,
                        item_at(items, size, i)->struct_size, size);
    }
    if (size >= ITEM_1_0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "struct_size is %u; set it to sizeof(nlm_step_item)",
                    size);
}

/* ---- one item ------------------------------------------------------------------------------ */

/* What is asked for with NLM_STEP_SAMPLE; without it nothing of that is looked at. */
static nlm_status check_choosing(const nlm_step_item *item, nlm_error *err) {
    const item_tail tail = tail_of(item);
    nlm_constraint constraint;
    if (!(item->flags & NLM_STEP_SAMPLE)) return NLM_OK;
    NLM_TRY(nlm_session_check_sampler(item->session, item->sampler, err));
    NLM_TRY(nlm_constraint_take(&constraint, tail.constraint, err));
    if (tail.n_top <= NLM_LOGPROBS_MAX && (tail.n_top == 0 || tail.out_top)) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step",
                    "the %u likeliest tokens are wanted; expected at most %d, and room for them", tail.n_top,
                    NLM_LOGPROBS_MAX);
}

static nlm_status check_item(const nlm_step_item *item, const nlm_runtime *runtime, nlm_error *err) {
    const nlm_session *session = item->session;
    if (!session) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "the item has no session");
    if (session->runtime != runtime) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step",
                        "the session is of another model than the first item's");
    }
    if (session->part.is_queued) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "the session has an item before this one");
    }
    if (item->flags & ~(uint32_t)KNOWN_FLAGS) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step", "flags 0x%x are not known",
                        item->flags & ~(uint32_t)KNOWN_FLAGS);
    }
    if (item->n_logits > item->count || (item->n_logits && !item->out_logits) || (item->count && !item->ids)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_step",
                        "%zu rows of logits are wanted after %zu tokens; expected at most as many, and room for both",
                        item->n_logits, item->count);
    }
    NLM_TRY(check_choosing(item, err));
    if (item->count == 0) NLM_TRY(nlm_session_check_holds(session, err));
    return nlm_session_check_ids(session, item->ids, item->count, err);
}

/* A single token after others is decoding; the rest are prompts. */
static bool is_decoding(const nlm_step_item *item) {
    return item->count <= 1 && item->session->part.first > 0;
}

/* Puts the item's tokens into its session and the session into the queue. */
static nlm_status begin(nlm_pending *queue, const nlm_step_item *item, nlm_error *err) {
    nlm_session *session = item->session;
    const uint32_t max_computed = tail_of(item).max_computed;
    NLM_TRY(nlm_session_append(session, item->ids, item->count, err));
    const nlm_status status = item->n_logits ? NLM_OK : nlm_session_find_prompt(session, err);
    if (status != NLM_OK) {
        nlm_session_roll_back(session, session->n_tokens - (int32_t)item->count);
        return status;
    }
    const nlm_wanted wanted = {
        .out_rows = item->n_logits ? item->out_logits : NULL,
        .rows_from = session->n_tokens - (int32_t)item->n_logits,
        .n_appended = (int32_t)item->count,
        .max_computed = max_computed < INT32_MAX ? (int32_t)max_computed : INT32_MAX,
        .has_logits = (item->flags & NLM_STEP_SAMPLE) && (item->sampler || (item->flags & NLM_STEP_LOGPROB))};
    nlm_pending_add(queue, session, &wanted);
    if (!is_decoding(item)) session->extended_at_ns = nlm_clock_ns();
    return NLM_OK;
}

static void count_part(nlm_session *session, uint64_t *tokens, uint64_t *ns) {
    const int32_t computed = session->n_computed - session->part.first;
    if (computed > 0) *tokens += (uint64_t)computed;
    *ns += session->part.ns;
}

/* Chooses the item's next token, and says how likely it was. */
static nlm_status choose_next(nlm_step_item *item, nlm_error *err) {
    nlm_session *session = item->session;
    const item_tail tail = tail_of(item);
    const int32_t n_vocab = session->runtime->hparams->n_vocab;
    nlm_choosing how = {.sampler = item->sampler};
    int32_t id;
    NLM_TRY(nlm_constraint_take(&how.constraint, tail.constraint, err));
    NLM_TRY(nlm_session_choose(session, &how, &id, err));
    if (item->flags & NLM_STEP_LOGPROB) {
        NLM_TRY(nlm_session_fetch_logits(session, err));
        if (COVERS(item, logprob)) item->logprob = nlm_logprob_of(session->row, n_vocab, id);
        uint32_t n = nlm_logprobs_top(session->row, n_vocab, tail.n_top, tail.out_top);
        for (; n < tail.n_top; n++) tail.out_top[n] = (nlm_logprob){.id = -1};
    }
    if (nlm_constraint_is_set(&how.constraint)) {
        NLM_TRY(nlm_constraint_accept(&how.constraint, &session->runtime->engine->gate, id, err));
    }
    item->next = id;
    return NLM_OK;
}

/* After the runs, for an item that was begun. */
static void finish(nlm_step_item *item) {
    nlm_session *session = item->session;
    nlm_counters *counters = &session->counters;
    if (is_decoding(item)) {
        count_part(session, &counters->decode_tokens, &counters->decode_ns);
    } else {
        count_part(session, &counters->prompt_tokens, &counters->prompt_ns);
    }
    nlm_part *part = &session->part;
    if (part->status == NLM_OK && (item->flags & NLM_STEP_SAMPLE)) {
        part->status = choose_next(item, &part->error);
    }
    item->status = part->status;
    if (item->status != NLM_OK) {
        item->next = -1;
        if (COVERS(item, logprob)) item->logprob = 0;
        nlm_error_give(item->error, &part->error);
    }
    if (item->next < 0) return;
    if (session->extended_at_ns) counters->first_token_ns = nlm_clock_ns() - session->extended_at_ns;
    session->extended_at_ns = 0;
}

/* ---- all ----------------------------------------------------------------------------------- */

/* No item's status: it was begun, and the runs will tell. */
#define BEGUN (-1)

static const nlm_runtime *runtime_of(nlm_step_item *items, size_t stride, size_t n_items) {
    for (size_t i = 0; i < n_items; i++) {
        const nlm_session *session = item_at(items, stride, i)->session;
        if (session) return session->runtime;
    }
    return NULL;
}

nlm_status nlm_step(nlm_step_item *items, size_t n_items, nlm_error *error) {
    NLM_TRY(check_sizes(items, n_items, error));
    const size_t stride = items->struct_size;
    const nlm_runtime *runtime = runtime_of(items, stride, n_items);
    if (!runtime) return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_step", "no item has a session");
    NLM_ENTER(&runtime->engine->gate, error);
    nlm_pending queue = NLM_PENDING_INIT(queue);
    nlm_error refused = NLM_ERROR_INIT; /* of the first item that was not begun */
    for (size_t i = 0; i < n_items; i++) {
        nlm_step_item *item = item_at(items, stride, i);
        nlm_error cause = NLM_ERROR_INIT;
        item->next = -1;
        if (COVERS(item, logprob)) item->logprob = 0;
        if (item->session) atomic_store(&item->session->is_cancelled, false);
        item->status = check_item(item, runtime, &cause);
        if (item->status == NLM_OK) item->status = begin(&queue, item, &cause);
        if (item->status == NLM_OK) {
            item->status = BEGUN;
            continue;
        }
        nlm_error_give(item->error, &cause);
        if (refused.code == NLM_OK) refused = cause;
    }
    nlm_pending_run(&queue);
    nlm_status first_failure = NLM_OK;
    for (size_t i = 0; i < n_items; i++) {
        nlm_step_item *item = item_at(items, stride, i);
        const bool was_begun = item->status == BEGUN;
        if (was_begun) finish(item);
        if (item->status == NLM_OK || first_failure != NLM_OK) continue;
        first_failure = item->status;
        nlm_error_give(error, was_begun ? &item->session->part.error : &refused);
    }
    return first_failure;
}

static nlm_status check_sessions(nlm_session *const *sessions, const int32_t *ids, size_t count, nlm_error *err) {
    if (count == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sessions_decode", "no sessions are given");
    for (size_t i = 0; i < count; i++) {
        if (!sessions[i]) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sessions_decode", "session %zu is NULL", i);
        NLM_TRY(nlm_session_check_ids(sessions[i], &ids[i], 1, err));
        if (sessions[i]->runtime != sessions[0]->runtime) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sessions_decode", "session %zu is of another model", i);
        }
        for (size_t j = 0; j < i; j++) {
            if (sessions[j] != sessions[i]) continue;
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sessions_decode", "sessions %zu and %zu are the same", j,
                            i);
        }
    }
    return NLM_OK;
}

nlm_status nlm_sessions_decode(nlm_session *const *sessions, const int32_t *ids, size_t count, nlm_error *error) {
    NLM_NEEDS(sessions, error);
    NLM_NEEDS(ids, error);
    NLM_TRY(check_sessions(sessions, ids, count, error));
    NLM_ENTER(&sessions[0]->runtime->engine->gate, error);
    nlm_pending queue = NLM_PENDING_INIT(queue);
    for (size_t i = 0; i < count; i++) {
        nlm_error cause = NLM_ERROR_INIT;
        const nlm_status status = nlm_session_append(sessions[i], &ids[i], 1, &cause);
        if (status == NLM_OK) {
            nlm_pending_add(&queue, sessions[i], &(nlm_wanted){.n_appended = 1});
        } else {
            sessions[i]->part = (nlm_part){.first = sessions[i]->n_computed, .status = status, .error = cause};
        }
    }
    nlm_pending_run(&queue);
    nlm_status first_failure = NLM_OK;
    for (size_t i = 0; i < count; i++) {
        nlm_session *session = sessions[i];
        count_part(session, &session->counters.decode_tokens, &session->counters.decode_ns);
        if (session->part.status == NLM_OK || first_failure != NLM_OK) continue;
        first_failure = session->part.status;
        nlm_error_give(error, &session->part.error);
    }
    return first_failure;
}
