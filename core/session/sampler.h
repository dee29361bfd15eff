/* Choosing the next token from logits. What each option does, and in which order: nlm/nlm.h. */
#ifndef NLM_SESSION_SAMPLER_H
#define NLM_SESSION_SAMPLER_H

#include <nlm/nlm.h>

/* For logits of n_vocab; options may be NULL (greedy). Errors as nlm_sampler_create. */
nlm_status nlm_sampler_new(int32_t n_vocab, const nlm_sampler_options *options, nlm_sampler **out, nlm_error *err);
int32_t nlm_sampler_n_vocab(const nlm_sampler *sampler);
/* Room for a mask of its vocabulary. */
uint32_t *nlm_sampler_mask(nlm_sampler *sampler);

/* The token after history[0..n_history), from finite logits [n_vocab]. The draw is the one at position
 * n_history. Equal logits are ordered by id. Never allocates. */
int32_t nlm_sampler_choose(nlm_sampler *sampler, const float *logits, const int32_t *history, size_t n_history);

/* The same among the tokens of a mask (constraint.h), with the second random number of the position. -1: none of them
 * has a finite logit. */
int32_t nlm_sampler_choose_allowed(nlm_sampler *sampler, const float *logits, const uint32_t *allowed,
                                   const int32_t *history, size_t n_history);

/* The first index of the greatest of logits[0..n). */
int32_t nlm_sampler_greedy(const float *logits, int32_t n);
/* The same among the tokens of a mask; -1: none of them has a finite logit. */
int32_t nlm_sampler_greedy_allowed(const float *logits, const uint32_t *allowed, int32_t n);

#endif
