/* How likely tokens are: the softmax of logits, and its greatest. */
#include "session/logprobs.h"

#include <math.h>

#include "session/sampler.h"

/* log sum_i exp(logits[i]) */
static double log_sum(const float *logits, int32_t n_vocab) {
    const double greatest = (double)logits[nlm_sampler_greedy(logits, n_vocab)];
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - greatest);
    return greatest + log(sum);
}

float nlm_logprob_of(const float *logits, int32_t n_vocab, int32_t id) {
    return (float)((double)logits[id] - log_sum(logits, n_vocab));
}

/* Puts id among the first *n of `top`, which are sorted by logit, if it belongs there; at most `most` stay. */
static void insert(nlm_logprob *top, uint32_t *n, uint32_t most, nlm_logprob token) {
    if (*n == most && token.logprob <= top[most - 1].logprob) return;
    uint32_t at = *n < most ? (*n)++ : most - 1;
    for (; at > 0 && top[at - 1].logprob < token.logprob; at--) top[at] = top[at - 1];
    top[at] = token;
}

uint32_t nlm_logprobs_top(const float *logits, int32_t n_vocab, uint32_t n, nlm_logprob *out_top) {
    uint32_t count = 0;
    if (n == 0) return 0;
    for (int32_t i = 0; i < n_vocab; i++) insert(out_top, &count, n, (nlm_logprob){i, logits[i]});
    const double sum = log_sum(logits, n_vocab);
    for (uint32_t i = 0; i < count; i++) out_top[i].logprob = (float)((double)out_top[i].logprob - sum);
    return count;
}
