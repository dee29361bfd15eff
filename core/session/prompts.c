/* A session and its model's prompt cache: pages for Llama, snapshots of the states for Mamba. */
#include "base/status.h"
#include "session/session.h"
#include "session/snapshots.h"

nlm_status nlm_session_find_prompt(nlm_session *session, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    if (!runtime->prompts || session->n_computed > 0) return NLM_OK;
    if (session->has_stale_states) NLM_TRY(nlm_session_clear_states(session, err));
    int32_t count = 0;
    const int32_t covered = nlm_prompt_cache_find(runtime->prompts, session->tokens, session->n_tokens - 1,
                                                  runtime->found, runtime->found_capacity, &count);
    if (covered == 0) return NLM_OK;
    if (runtime->pages) {
        nlm_kv_pages_adopt(runtime->pages, session->slot, runtime->found, count);
        session->n_offered = covered;
    } else {
        NLM_TRY(nlm_snapshots_restore(runtime->snapshots, runtime->found[count - 1], session->slot, err));
    }
    session->n_computed = covered;
    session->counters.cached_tokens += (uint64_t)covered;
    return NLM_OK;
}

static void keep_pages(nlm_session *session) {
    nlm_runtime *runtime = session->runtime;
    const size_t row = (size_t)session->slot * (size_t)runtime->cache->options.n_blocks;
    while (session->n_computed - session->n_offered >= NLM_PAGE_TOKENS) {
        const int32_t from = session->n_offered;
        const int32_t page = nlm_kv_pages_table(runtime->pages)[row + (size_t)(from / NLM_PAGE_TOKENS)];
        session->n_offered += NLM_PAGE_TOKENS;
        nlm_kv_pages_retain(runtime->pages, page);
        if (nlm_prompt_cache_add(runtime->prompts, session->tokens, from, session->n_offered, page)) continue;
        nlm_kv_pages_release_page(runtime->pages, page);
    }
}

/* The last place before the end of the tokens where a snapshot may stand: the same prompt, given again,
 * has at least its last token to compute. */
static int32_t last_snapshot(const nlm_session *session) {
    return (session->n_tokens - 1) / NLM_SNAPSHOT_GRAIN * NLM_SNAPSHOT_GRAIN;
}

static void keep_snapshot(nlm_session *session) {
    nlm_runtime *runtime = session->runtime;
    const int32_t at = session->n_computed;
    if (at % NLM_SNAPSHOT_TOKENS != 0 && at != last_snapshot(session)) return;
    const int32_t from = (at - 1) / NLM_SNAPSHOT_TOKENS * NLM_SNAPSHOT_TOKENS;
    int32_t number = 0;
    if (nlm_snapshots_take(runtime->snapshots, session->slot, &number, NULL) != NLM_OK) return;
    if (nlm_prompt_cache_add(runtime->prompts, session->tokens, from, at, number)) return;
    nlm_snapshots_drop(runtime->snapshots, number);
}

void nlm_session_keep_prompt(nlm_session *session, int32_t n) {
    if (!session->runtime->prompts) return;
    if (session->runtime->pages) {
        keep_pages(session);
    } else if (n > 1) {
        keep_snapshot(session);
    }
}

int32_t nlm_session_chunk_end(const nlm_session *session, int32_t end) {
    if (!session->runtime->snapshots) return end;
    const int32_t next = (session->n_computed / NLM_SNAPSHOT_TOKENS + 1) * NLM_SNAPSHOT_TOKENS;
    const int32_t last = last_snapshot(session);
    if (next < end) end = next;
    return last > session->n_computed && last < end ? last : end;
}
