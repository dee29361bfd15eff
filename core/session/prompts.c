/* A session and its model's prompt cache, whose payloads are snapshots of the states. */
#include "base/status.h"
#include "session/session.h"

nlm_status nlm_session_find_prompt(nlm_session *session, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    if (!runtime->prompts || session->n_computed > 0) return NLM_OK;
    int32_t count = 0;
    const int32_t covered = nlm_prompt_cache_find(runtime->prompts, session->tokens, session->n_tokens - 1,
                                                  runtime->found, runtime->found_capacity, &count);
    if (covered == 0) return NLM_OK;
    NLM_TRY(nlm_snapshots_restore(runtime->snapshots, runtime->found, count, session->slot, err));
    session->n_computed = session->n_offered = covered;
    session->counters.cached_tokens += (uint64_t)covered;
    return NLM_OK;
}

static void keep(nlm_session *session, int32_t from, int32_t to) {
    nlm_runtime *runtime = session->runtime;
    int32_t number = 0;
    if (nlm_snapshots_take(runtime->snapshots, session->slot, from, to, &number, NULL) != NLM_OK) return;
    if (nlm_prompt_cache_add(runtime->prompts, session->tokens, from, to, number)) return;
    nlm_snapshots_drop(runtime->snapshots, number);
}

/* Pages stay as they are once full: they can be kept at any time later. */
static void keep_pages(nlm_session *session) {
    while (session->n_computed - session->n_offered >= NLM_PAGE_TOKENS) {
        session->n_offered += NLM_PAGE_TOKENS;
        keep(session, session->n_offered - NLM_PAGE_TOKENS, session->n_offered);
    }
}

/* The last place before the end of the tokens where a snapshot may stand: the same prompt, given again,
 * has at least its last token to compute. */
static int32_t last_snapshot(const nlm_session *session) {
    return (session->n_tokens - 1) / NLM_PAGE_TOKENS * NLM_PAGE_TOKENS;
}

/* States that the next token overwrites can be kept now or never. */
static void keep_states(nlm_session *session) {
    const int32_t at = session->n_computed;
    if (at % NLM_SNAPSHOT_TOKENS != 0 && at != last_snapshot(session)) return;
    keep(session, (at - 1) / NLM_SNAPSHOT_TOKENS * NLM_SNAPSHOT_TOKENS, at);
}

void nlm_session_keep_prompt(nlm_session *session, int32_t n) {
    if (!session->runtime->prompts) return;
    if (session->runtime->states->slot_bytes == 0) {
        keep_pages(session);
    } else if (n > 1) {
        keep_states(session);
    }
}

int32_t nlm_session_chunk_end(const nlm_session *session, int32_t end) {
    if (!session->runtime->prompts || session->runtime->states->slot_bytes == 0) return end;
    const int32_t next = (session->n_computed / NLM_SNAPSHOT_TOKENS + 1) * NLM_SNAPSHOT_TOKENS;
    const int32_t last = last_snapshot(session);
    if (next < end) end = next;
    return last > session->n_computed && last < end ? last : end;
}
