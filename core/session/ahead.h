/* Generating ahead: tokens that a device computes and chooses one after another before the host looks at the first.
 * What the session says of itself is as without: a token counts as computed when it is given out. */
#ifndef NLM_SESSION_AHEAD_H
#define NLM_SESSION_AHEAD_H

#include "session/chain.h"
#include "session/session.h"

typedef struct nlm_ahead {
    int32_t most; /* tokens at once; 0: never */
    bool is_greedy;
    nlm_sampler_way way;
    int32_t stops[NLM_CHAIN_STOPS];
    size_t n_stops;
    int32_t ids[NLM_CHAIN_TOKENS]; /* [n], of which those from `at` on were not given out */
    int32_t at, n;
    int32_t n_spoiled; /* 1: behind them one more token was computed, and its logits are no numbers */
} nlm_ahead;

/* Whether tokens may be computed ahead, and how: not with a choice that only the host can make, or an end that only
 * the host can see where states cannot be taken back. Errors of planning mean that they may not, and are logged. */
void nlm_ahead_begin(nlm_ahead *ahead, nlm_session *session, const nlm_choosing *how,
                     const nlm_generate_options *options);
/* Gives the next token, of which the one before counts as computed then; *out_is_given false: it is to be computed
 * and chosen as always. left: tokens that are still wanted. Errors as of computing it. */
nlm_status nlm_ahead_next(nlm_ahead *ahead, nlm_session *session, uint64_t left, bool *out_is_given, int32_t *out_id,
                          nlm_error *err);
/* For measurements: appends n_tokens, each the greedy choice after those before it, whatever it ends. */
nlm_status nlm_ahead_decode(nlm_session *session, uint32_t ahead, int32_t n_tokens, nlm_error *err);
/* Is it better to give out what there is than to end here? What is given up would have to be computed from the
 * beginning. */
bool nlm_ahead_goes_on(const nlm_ahead *ahead, const nlm_session *session);
/* Takes back what was computed and not given out. */
void nlm_ahead_end(nlm_ahead *ahead, nlm_session *session);

#endif
