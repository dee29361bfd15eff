/* Choosing the next token from logits. What each option does, and in which order: nlm/sampler.h. */
#ifndef NLM_SESSION_SAMPLER_H
#define NLM_SESSION_SAMPLER_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "session/breakers.h"

/* Which of the random numbers of a position is drawn with. */
enum { NLM_DRAW_OF_ALL = 0, NLM_DRAW_OF_ALLOWED = 1, NLM_DRAW_XTC = 2 };

/* For logits of n_vocab; options may be NULL (greedy). Errors as nlm_sampler_create. */
nlm_status nlm_sampler_new(int32_t n_vocab, const nlm_sampler_options *options, nlm_sampler **out, nlm_error *err);
int32_t nlm_sampler_n_vocab(const nlm_sampler *sampler);
/* Room for a mask of its vocabulary. */
uint32_t *nlm_sampler_mask(nlm_sampler *sampler);
/* Whether it looks at which tokens end repetitions, and takes a mask of them (constraint.h), [n_vocab] bits from
 * malloc, and what several of them spell; either may be NULL. */
int32_t nlm_sampler_wants_breakers(const nlm_sampler *sampler);
void nlm_sampler_take_breakers(nlm_sampler *sampler, uint32_t *mask, nlm_breakers *spelled);

/* Choices that need nothing but logits, a seed and a position: temperature, top_k, top_p and min_p, in this order; at
 * temperature 0 the first of the greatest. */
typedef struct nlm_sampler_way {
    float temperature, top_p, min_p;
    int32_t top_k;
    uint64_t seed;
} nlm_sampler_way;
/* Does the sampler choose in such a way? */
bool nlm_sampler_way_of(const nlm_sampler *sampler, nlm_sampler_way *out);

/* What a token is chosen of. */
typedef struct nlm_choice {
    const float *logits;    /* [n_vocab], each finite or -INFINITY */
    const int32_t *history; /* [n_history]: the draw is that at position n_history */
    size_t n_history;
    const uint32_t *allowed; /* a mask (constraint.h) of the tokens it is chosen among, with the second random number
                                of the position; NULL: all */
    double *mu;              /* mirostat's, which it reads and writes; 0: the text begins. NULL: it begins */
} nlm_choice;

/* The token; -1: none that may come has a finite logit. Equal logits are ordered by id. Never allocates. */
int32_t nlm_sampler_choose(nlm_sampler *sampler, const nlm_choice *choice);

/* The tokens that could be drawn, in the order they are gone through in, and how likely each is: out_ids and
 * out_probabilities have room for n_vocab. Returns how many; greedy it is the one. For tests. */
int32_t nlm_sampler_distribution(nlm_sampler *sampler, const nlm_choice *choice, int32_t *out_ids,
                                 double *out_probabilities);

/* The first index of the greatest of logits[0..n). */
int32_t nlm_sampler_greedy(const float *logits, int32_t n);
/* The same among the tokens of a mask; -1: none of them has a finite logit. */
int32_t nlm_sampler_greedy_allowed(const float *logits, const uint32_t *allowed, int32_t n);

#endif
