/* One sequence of tokens and where it stands: the struct behind nlm_session. */
#ifndef NLM_SESSION_SESSION_H
#define NLM_SESSION_SESSION_H

#include <stdbool.h>
#include "session/runtime.h"
#include "session/text_stream.h"

typedef struct nlm_counters {
    uint64_t prompt_tokens, cached_tokens, decode_tokens;
    uint64_t prompt_ns, decode_ns, first_token_ns;
} nlm_counters;

/* tokens[0..n_computed) are in the cache, and `logits` are those after the last of them; the rest, up to
 * n_tokens, is computed when logits are asked for. */
struct nlm_session {
    nlm_runtime *runtime;
    int32_t slot;
    int32_t *tokens; /* [context_length] */
    int32_t n_tokens;
    int32_t n_computed;
    int32_t n_offered; /* tokens whose pages the prompt cache was offered */
    float *logits;     /* [n_vocab] */
    nlm_text_stream stream;
    nlm_progress_fn progress;
    void *progress_user;
    nlm_counters counters;
    uint64_t extended_at_ns; /* when the latest extend began; 0: a token came since */
};

/* Appends ids that were checked, without computing them. LIMIT if the context would overflow. */
nlm_status nlm_session_append(nlm_session *session, const int32_t *ids, size_t count, nlm_error *err);

/* Computes what is pending. out_rows NULL, or [pending, n_vocab] for the logits after each token. After an
 * error the pending tokens are gone; a session with states that are not paged, which may be half written, is empty.
 */
nlm_status nlm_session_compute(nlm_session *session, float *out_rows, nlm_error *err);

/* Before a run that appends n tokens: room for them in the states. Evicts prompts if there is none. */
nlm_status nlm_session_make_room(nlm_session *session, int32_t n, nlm_error *err);
/* After a run that failed. */
void nlm_session_roll_back(nlm_session *session);

/* Takes the longest known prefix of the pending tokens of an empty session from the prompt cache; one
 * token at least is left to compute. */
nlm_status nlm_session_find_prompt(nlm_session *session, nlm_error *err);
/* Offers what is computed to the prompt cache, after a run of n tokens. */
void nlm_session_keep_prompt(nlm_session *session, int32_t n);
/* Where the next chunk has to end so that the prompt cache can keep a snapshot, at most `end`. */
int32_t nlm_session_chunk_end(const nlm_session *session, int32_t end);

#endif
