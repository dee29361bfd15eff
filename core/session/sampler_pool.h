/* What is inside a sampler: the tokens that are left while stages work on them, and the stages. */
#ifndef NLM_SESSION_SAMPLER_POOL_H
#define NLM_SESSION_SAMPLER_POOL_H

#include <stdbool.h>
#include "session/sampler.h"

typedef struct nlm_candidate {
    float logit;
    int32_t id;
} nlm_candidate;

typedef struct nlm_ranked {
    double key; /* the smallest comes first */
    int32_t at; /* in the pool; of equals the first */
} nlm_ranked;

struct nlm_stage;

#define NLM_STAGES_MAX 16

struct nlm_sampler {
    nlm_sampler_options options; /* with the defaults in place; what it points to is the caller's, and gone */
    const struct nlm_stage *stages[NLM_STAGES_MAX]; /* those that are on, in order */
    size_t n_stages;
    nlm_logit_bias *biases; /* [options.n_biases] */
    uint32_t *breakers;     /* a mask of the tokens that end repetitions; NULL: none */
    nlm_breakers *spelled;  /* the same of several tokens together; NULL: none */
    int32_t n_vocab;
    nlm_candidate *memory[2]; /* [n_vocab] each: the pool, and what it is sorted into */
    double *weights;          /* [n_vocab] */
    nlm_ranked *ranked;       /* [n_vocab], with `typical` alone */
    uint32_t *seen;           /* [n_vocab], all 0 between uses */
    uint32_t *mask;           /* [nlm_mask_words(n_vocab)], for nlm_sampler_mask */

    /* Of the choice under way. */
    const nlm_choice *choice;
    nlm_candidate *pool, *spare; /* one of `memory` each */
    int32_t n;                   /* candidates in the pool */
    bool is_whole;               /* the pool is all tokens, by id */
    bool is_sorted;              /* likeliest first; else by id, or by what it was sorted by */
    bool wants_order;            /* the draw goes through them likeliest first */
    bool has_weights;            /* those of the pool's candidates are there */
    float greatest;              /* of the pool's logits; what weights are relative to */
    double temperature;          /* that weights are at; logits are as they are before it */
};

/* A stage of the pipeline; what it is called in nlm_sampler_options.order. */
typedef struct nlm_stage {
    const char *name;
    bool (*is_on)(const nlm_sampler_options *options);
    void (*run)(nlm_sampler *s);
    bool only_cuts; /* greedy choices do without it */
} nlm_stage;

/* In the default order. */
extern const nlm_stage nlm_sampler_stages[];
extern const size_t nlm_sampler_stage_count;

/* ---- the pool (sampler_pool.c) -------------------------------------------------------------- */

/* All tokens with their logits, those that the choice's mask rules out at -INFINITY. */
void nlm_pool_fill(nlm_sampler *s, const nlm_choice *choice);
/* The candidate of a token, or NULL. */
nlm_candidate *nlm_pool_find(nlm_sampler *s, int32_t id);
/* Before logits change: they are brought to the temperature there is, and what was known of them is not. */
void nlm_pool_change_logits(nlm_sampler *s);
/* The index of the likeliest; of equals the lowest id. */
int32_t nlm_pool_best(const nlm_sampler *s);
/* How likely each is beside the one of the greatest logit: exp of the difference, at the temperature. Returns their
 * sum, in the pool's order. */
double nlm_pool_weigh(nlm_sampler *s);
/* Keeps the likeliest alone, likeliest first, until there are `count` or their weights reach `mass`. */
void nlm_pool_take_likeliest(nlm_sampler *s, int32_t count, double mass);
/* Keeps those that `keeps` has, in their order. */
void nlm_pool_keep(nlm_sampler *s, bool (*keeps)(const nlm_sampler *s, int32_t at, double bound), double bound);
/* How many of the first n weights it takes to reach `mass`. */
int32_t nlm_count_to_mass(const double *weights, int32_t n, double mass);

/* ---- stages that change logits (sampler_penalties.c), and that cut (sampler_cuts.c) --------- */

void nlm_sampler_add_biases(nlm_sampler *s);
void nlm_stage_penalties(nlm_sampler *s);
void nlm_stage_dry(nlm_sampler *s);
void nlm_stage_temperature(nlm_sampler *s);
void nlm_stage_top_n_sigma(nlm_sampler *s);
void nlm_stage_top_k(nlm_sampler *s);
void nlm_stage_typical(nlm_sampler *s);
void nlm_stage_top_p(nlm_sampler *s);
void nlm_stage_min_p(nlm_sampler *s);
void nlm_stage_xtc(nlm_sampler *s);
/* Cuts what is more surprising than mu. */
void nlm_sampler_cut_surprise(nlm_sampler *s, double mu);

#endif
