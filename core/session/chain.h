/* Tokens of one sequence computed one after another on a device, each chosen there of the logits that the one before
 * it gave. */
#ifndef NLM_SESSION_CHAIN_H
#define NLM_SESSION_CHAIN_H

#include "session/programs.h"
#include "session/sampler.h"

typedef struct nlm_chain nlm_chain;

#define NLM_CHAIN_TOKENS 64 /* at most in one call */
#define NLM_CHAIN_STOPS  32 /* ids that end a chain */

/* Does the model run where tokens can be chosen and gone on with: on one device, with a stream and memory of its own,
 * that records and has the ops? */
bool nlm_chain_may_be(const nlm_programs_options *options);
/* Plans the program: of greedy choices alone, or of any. Errors as nlm_graph_plan; UNSUPPORTED where it cannot run
 * without the host. */
nlm_status nlm_chain_create(const nlm_programs_options *options, bool is_greedy, nlm_chain **out, nlm_error *err);
void nlm_chain_destroy(nlm_chain *chain);
uint64_t nlm_chain_activation_bytes(const nlm_chain *chain);

typedef struct nlm_chain_run {
    int32_t slot, pos, id; /* where it begins: a token and its position, with room for n_tokens behind it */
    int32_t n_tokens;      /* to choose, 1 to NLM_CHAIN_TOKENS; as many are computed, the first being `id` */
    nlm_sampler_way way;
    const int32_t *stops; /* [n_stops], at most NLM_CHAIN_STOPS */
    size_t n_stops;
} nlm_chain_run;

/* out_ids[0..*out_n) are the tokens that were chosen: n_tokens of them, or fewer up to one that is in `stops`, or to
 * -1 where the logits were no numbers. So many tokens were computed as were chosen. Valid until the next run.
 * Errors   those of a run; UNSUPPORTED: the device does not record the program, and nothing was done. */
nlm_status nlm_chain_do(nlm_chain *chain, const nlm_chain_run *run, const int32_t **out_ids, int32_t *out_n,
                        nlm_error *err);

#endif
