/* Bringing the pending tokens of sessions through their model, many sessions in one run. */
#ifndef NLM_SESSION_COMPUTE_H
#define NLM_SESSION_COMPUTE_H

#include "session/session.h"

/* Sessions of one runtime whose pending tokens are to be computed, and what is wanted of each. */
typedef struct nlm_pending {
    nlm_session *first, **last;
} nlm_pending;

#define NLM_PENDING_INIT(queue) \
    { .last = &(queue).first }

/* Appends a session that is in no queue. out_rows NULL, or the logits after each token from position rows_from, which
 * is not computed yet, to the last: [n_tokens - rows_from, n_vocab]. */
void nlm_pending_add(nlm_pending *queue, nlm_session *session, float *out_rows, int32_t rows_from);

/* Computes what all of them have pending, single tokens before the chunks of longer ones, and empties the queue.
 * Afterwards part.status and part.error of each say how it went: one that fails takes no other with it, except in
 * a run that fails as a whole. A session that failed has no pending tokens, and none at all if it has states that
 * are not paged, which may be half written. Allocates nothing once the programs exist. Returns the first failure. */
nlm_status nlm_pending_run(nlm_pending *queue);

/* The same for one session. */
nlm_status nlm_session_compute(nlm_session *session, float *out_rows, int32_t rows_from, nlm_error *err);

/* Before any run: logits that sessions have in the memory of the latest run's results are copied to their own, except
 * of sessions that the coming run goes on with. */
void nlm_settle_logits(nlm_engine *engine);

/* The session's logits in memory of its own: they stay until it changes. */
const float *nlm_session_own_logits(nlm_session *session);
/* They are gone, or nobody will ask for them. */
void nlm_session_drop_logits(nlm_session *session);

#endif
