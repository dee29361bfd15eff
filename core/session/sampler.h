/* Choosing the next token from logits. What each option does, and in which order: nlm/nlm.h. */
#ifndef NLM_SESSION_SAMPLER_H
#define NLM_SESSION_SAMPLER_H

#include <nlm/nlm.h>

/* For logits of n_vocab; options may be NULL (greedy). Errors as nlm_sampler_create. */
nlm_status nlm_sampler_new(int32_t n_vocab, const nlm_sampler_options *options, nlm_sampler **out, nlm_error *err);
int32_t nlm_sampler_n_vocab(const nlm_sampler *sampler);

/* The token after history[0..n_history), from finite logits [n_vocab]. The draw is the one at position
 * n_history. Equal logits are ordered by id. Never allocates. */
int32_t nlm_sampler_choose(nlm_sampler *sampler, const float *logits, const int32_t *history, size_t n_history);

/* The first index of the greatest of logits[0..n). */
int32_t nlm_sampler_greedy(const float *logits, int32_t n);

#endif
