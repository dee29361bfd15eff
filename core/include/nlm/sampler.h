/* The part of nlm/nlm.h that chooses a token from logits. Its rules are nlm.h's. */
#ifndef NLM_SAMPLER_H
#define NLM_SAMPLER_H

#include <nlm/api.h>
#include <nlm/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nlm_sampler nlm_sampler;

/* What is added to the logit of a token; -INFINITY rules it out. */
typedef struct nlm_logit_bias {
    int32_t id;
    float bias;
} nlm_logit_bias;

/* How a token is chosen. What is zero is off. Biases are added first; stages follow, in the order below unless
 * `order` says otherwise; then mirostat, if it is on. A stage sees what those before it have left, with probabilities
 * that sum to 1, and leaves one token at least. At temperature 0 nothing is drawn: the greatest logit behind biases,
 * penalties and dry is taken, and what only cuts has no effect.
 *   - penalties: repeat_penalty, then frequency_penalty and presence_penalty, for the last repeat_last_n tokens
 *   - dry: dry_*, against tokens that would go on with a repetition (Don't Repeat Yourself, by p-e-w)
 *   - temperature: temperature, temperature_range
 *   - top_n_sigma: keep logits at most so many standard deviations below the greatest (Tang et al. 2024)
 *   - top_k: keep the k most likely tokens; of equals those of lower id
 *   - typical: keep the fewest tokens whose probabilities reach typical_p, those first whose surprise is closest to
 *     the mean one (Meister et al. 2022)
 *   - top_p: keep the fewest most likely tokens whose probabilities reach it (Holtzman et al. 2020)
 *   - min_p: keep tokens at least this fraction as likely as the likeliest (Nguyen et al. 2024)
 *   - xtc: with the chance xtc_probability, of the tokens whose probabilities reach xtc_threshold keep the
 *     least likely alone (Exclude Top Choices, by p-e-w) */
typedef struct nlm_sampler_options {
    uint32_t struct_size;
    uint32_t repeat_last_n; /* how many of the last tokens the penalties look at; 0: 64 */
    uint64_t seed;
    float temperature;    /* 0: greedy, the first of the greatest logits */
    float top_p;          /* 0 to 1 */
    float min_p;          /* 0 to 1 */
    float repeat_penalty; /* > 0: logits of tokens seen are divided by it (multiplied if negative), once a token, and
                             stay finite */
    int32_t top_k;
    uint32_t reserved;
    float frequency_penalty;      /* subtracted from a token's logit for each time it is seen */
    float presence_penalty;       /* subtracted once, if it is seen */
    const nlm_logit_bias *biases; /* [n_biases], copied; of several for one token all count */
    size_t n_biases;
    float typical_p;       /* 0 to 1 */
    float top_n_sigma;     /* standard deviations of the logits there are */
    float xtc_probability; /* 0 to 1 */
    float xtc_threshold;   /* 0 to 1 */
    /* A token that would make the last n tokens and itself a repetition of what stands earlier loses dry_multiplier *
     * dry_base ^ (n - dry_allowed_length) of its logit, from n = dry_allowed_length on; n counts at most
     * NLM_DRY_LENGTH_MAX tokens, and none at or before a breaker. */
    float dry_multiplier;
    float dry_base;                  /* 1 or more; 0: 1.75 */
    uint32_t dry_allowed_length;     /* 0: 2 */
    uint32_t dry_last_n;             /* how many of the last tokens are looked at; 0: all */
    const char *const *dry_breakers; /* [n_dry_breakers], copied: a token in whose text one of these is, or that
                                        completes one which tokens before it began, is a breaker; NULL: newline,
                                        colon, quotation mark, asterisk */
    size_t n_dry_breakers;
    /* > 0: the temperature is temperature - temperature_range (0 at the least) where one token is certain,
     * temperature + temperature_range where all are as likely, and in between goes with the entropy's part of the
     * greatest it can be, to the power of temperature_exponent (0: 1). */
    float temperature_range;
    float temperature_exponent;
    /* > 0: mirostat 2 (Basu et al. 2021). Tokens of more surprise, in bits, than mu are cut; mu begins as 2 *
     * mirostat_tau, and after each choice mirostat_eta (0: 0.1) times the difference of its surprise, before the cut,
     * to mirostat_tau is taken from it. mu belongs to the session, goes with it into forks and files, and ends with
     * nlm_session_reset; one sampler may serve many sessions still. */
    float mirostat_tau;
    float mirostat_eta;
    const char *const *order; /* [n_order] names of stages, each at most once, copied; a stage that is on has to be
                                 there. NULL: as above */
    size_t n_order;
} nlm_sampler_options;

#define NLM_DRY_LENGTH_MAX 64

/* The random number of a draw is Philox4x32-10 of (seed, position in the session): the same seed gives the
 * same text on every run, for any number of threads, and after a session was saved and restored. A
 * sampler may serve several sessions of one model.
 * Errors   INVALID_ARGUMENT (a value out of its range: which, and what the range is; an id that is outside of the
 *          vocabulary; a name that is no stage's, or that is there twice; a stage that is on and not in the order),
 *          NOT_FOUND (breakers are given, and the file has no tokenizer), OUT_OF_MEMORY. */
NLM_API nlm_status nlm_sampler_create(const nlm_model *model, const nlm_sampler_options *options,
                                      nlm_sampler **out_sampler, nlm_error *error);
NLM_API void nlm_sampler_destroy(nlm_sampler *sampler);

/* The token after history[0..n_history), from logits of the caller's own, [n_vocab] f32: those of a session that were
 * changed, say. What a session that holds `history` would choose from the same logits. history NULL with n_history 0.
 * Errors   INVALID_ARGUMENT (n_logits is not the vocabulary's size), NUMERIC (a logit is NaN, or none is finite:
 * -INFINITY rules a token out). */
NLM_API nlm_status nlm_sampler_pick(nlm_sampler *sampler, const float *logits, size_t n_logits,
                                    const int32_t *history, size_t n_history, int32_t *out_id, nlm_error *error);

/* What rules tokens out while text is generated: a grammar, say. It follows one text, and stands where the tokens
 * lead that it accepted. Its functions are given `user`, and run on the calling thread as callbacks do.
 *
 * A token is first chosen as if there were none. If `allows` has it, it is the one; else `mask` is asked once for all
 * that may come, and another is chosen among these alone, with a random number of its own (of the same seed and
 * position). So a token costs one call of `allows` where the model goes the right way by itself, and still comes as
 * often as it would if the others' logits were -INFINITY: exactly, where the sampler cuts nothing; a cut (top-k, ...)
 * is made of all tokens the first time, of those that may come the second. Greedy it is the first of the greatest
 * logits that may come. */
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
    double *mirostat_mu; /* of the text, for a sampler with mirostat to read and write; 0: it begins. NULL:
                            each choice begins */
} nlm_pick_options;

/* As nlm_sampler_pick. Errors   also INVALID_ARGUMENT (a function of the constraint is NULL, mu is no number),
 * NOT_FOUND (the constraint rules every token out), NUMERIC (no logit of a token that may come is finite), and those
 * of `mask`. */
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
