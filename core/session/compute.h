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

/* Appends a session that is in no queue. wanted NULL: nothing. */
void nlm_pending_add(nlm_pending *pending, nlm_session *session, const nlm_wanted *wanted);

/* Computes what all of them have pending, single tokens before the chunks of longer ones, and empties the queue.
 * Afterwards part.status and part.error of each say how it went: one that fails takes no other with it, except in
 * a run that fails as a whole. A session that failed has no pending tokens but those that it had before the call,
 * and of the others none at all if it has states that are not paged, which may be half written. Allocates nothing
 * once the programs exist. Returns the first failure. */
nlm_status nlm_pending_run(nlm_pending *queue);

/* The same for one session; its logits are known afterwards, if it holds a token. */
nlm_status nlm_session_compute(nlm_session *session, const nlm_wanted *wanted, nlm_error *err);

/* The session's logits: on the host, until the next run of the engine. Errors of fetching them. */
nlm_status nlm_session_fetch_logits(nlm_session *session, nlm_error *err);
/* The same in memory of the session's own: they stay until it changes. */
nlm_status nlm_session_own_logits(nlm_session *session, nlm_error *err);
/* Before a run of the engine, a session's or another: logits that sessions have in the results of the latest one are
 * copied to their own, except of sessions that the coming run goes on with. */
nlm_status nlm_engine_settle_logits(nlm_engine *engine, nlm_error *err);
/* They are gone, or nobody will ask for them. */
void nlm_session_drop_logits(nlm_session *session);

#endif
