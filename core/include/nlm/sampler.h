/* The part of nlm/nlm.h that chooses a token from logits. Its rules are nlm.h's. */
#ifndef NLM_SAMPLER_H
#define NLM_SAMPLER_H

#include <nlm/api.h>
#include <nlm/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nlm_sampler nlm_sampler;

/* Applied in this order: repetition penalty, temperature, top-k, top-p, min-p. Zero turns each off. */
typedef struct nlm_sampler_options {
    uint32_t struct_size;
    uint32_t repeat_last_n; /* how many of the last tokens are looked at; 0: 64 */
    uint64_t seed;
    float temperature;    /* 0: greedy, the first of the greatest logits */
    float top_p;          /* keep the fewest most likely tokens whose probabilities reach it */
    float min_p;          /* keep tokens at least this fraction as likely as the likeliest */
    float repeat_penalty; /* > 0: logits of tokens seen are divided by it (multiplied if negative), once a token, and
                             stay finite */
    int32_t top_k;        /* keep the k most likely tokens; of equals those of lower id */
    uint32_t reserved;
} nlm_sampler_options;

/* The random number of a draw is Philox4x32-10 of (seed, position in the session): the same seed gives the
 * same text on every run, for any number of threads, and after a session was saved and restored. A
 * sampler may serve several sessions of one model.
 * Errors   INVALID_ARGUMENT (a value out of its range: which, and what the range is), OUT_OF_MEMORY. */
NLM_API nlm_status nlm_sampler_create(const nlm_model *model, const nlm_sampler_options *options,
                                      nlm_sampler **out_sampler, nlm_error *error);
NLM_API void nlm_sampler_destroy(nlm_sampler *sampler);

/* The token after history[0..n_history), from logits of the caller's own, [n_vocab] f32: those of a session that were
 * changed, say. What a session that holds `history` would choose from the same logits. history NULL with n_history 0.
 * Errors   INVALID_ARGUMENT (n_logits is not the vocabulary's size), NUMERIC (a logit is NaN, or none is finite:
 * -INFINITY rules a token out). */
NLM_API nlm_status nlm_sampler_pick(nlm_sampler *sampler, const float *logits, size_t n_logits,
                                    const int32_t *history, size_t n_history, int32_t *out_id, nlm_error *error);

/* What rules tokens out while text is generated: a grammar, say. Its functions run on the calling thread, as
 * callbacks do; `user` is passed to them. A token is first chosen as if there were none. If `allows` has it, it is
 * the one; else `mask` is asked once for all that may come, and another is chosen among these alone, with a random
 * number of its own (of the same seed and position). A likely text so costs one call of `allows` a token, and a token
 * still comes as often as it would if the others' logits were -INFINITY, where the sampler makes no cut; a cut
 * (top-k, ...) is made of all tokens first, and of those that may come the second time. Greedy it is the first of the
 * greatest logits that may come. One constraint follows one text: it stands where its accepted tokens lead. */
typedef struct nlm_constraint {
    uint32_t struct_size;
    uint32_t reserved;
    void *user;
    /* Nonzero: the token may come next. */
    int32_t (*allows)(void *user, int32_t id);
    /* Sets bit id % 32 of bits[id / 32] for each token that may come next; bits are [(n_vocab + 31) / 32] and 0. What
     * it returns other than NLM_OK is the call's status. */
    nlm_status (*mask)(void *user, uint32_t *bits, size_t n_words, nlm_error *error);
    /* The token was chosen: the next one comes after it. Of tokens that end a generation too. */
    nlm_status (*accept)(void *user, int32_t id, nlm_error *error);
} nlm_constraint;

/* What a choice depends on beside logits and history. */
typedef struct nlm_pick_options {
    uint32_t struct_size;
    uint32_t reserved;
    const nlm_constraint *constraint; /* NULL: none. It is the caller who tells it of the token: `accept` is not
                                         called here */
} nlm_pick_options;

/* As nlm_sampler_pick. Errors   also INVALID_ARGUMENT (a function of the constraint is NULL), NOT_FOUND (the
 * constraint rules every token out), NUMERIC (no logit of a token that may come is finite), and those of `mask`. */
NLM_API nlm_status nlm_sampler_pick_with(nlm_sampler *sampler, const float *logits, size_t n_logits,
                                         const int32_t *history, size_t n_history, const nlm_pick_options *options,
                                         int32_t *out_id, nlm_error *error);

/* How likely the model holds a token to be the next one: the natural logarithm of its probability, before the
 * sampler's penalties, temperature and cuts. */
typedef struct nlm_logprob {
    int32_t id;
    float logprob;
} nlm_logprob;

#define NLM_LOGPROBS_MAX 64

#ifdef __cplusplus
}
#endif
#endif
