/* Logarithms of probabilities, from logits. */
#ifndef NLM_SESSION_LOGPROBS_H
#define NLM_SESSION_LOGPROBS_H

#include <nlm/nlm.h>

/* log softmax(logits)[id], in double: of finite logits [n_vocab], at least one of which is there. */
float nlm_logprob_of(const float *logits, int32_t n_vocab, int32_t id);

/* The n likeliest tokens, likeliest first, of equals the lower id; n at most NLM_LOGPROBS_MAX. Returns how many there
 * are: n, or n_vocab. Never allocates. */
uint32_t nlm_logprobs_top(const float *logits, int32_t n_vocab, uint32_t n, nlm_logprob *out_top);

#endif
