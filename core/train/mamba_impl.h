/* What an nlm_mamba is inside. */
#ifndef NLM_TRAIN_MAMBA_IMPL_H
#define NLM_TRAIN_MAMBA_IMPL_H

#include <nlm/mamba.h>

#include "base/arena.h"
#include "model/mamba.h"
#include "session/engine.h"
#include "train/optimizer.h"

/* A parameter as users see it. */
typedef struct nlm_mamba_name {
    const char *name;
    int32_t rank;
    int64_t shape[4];
} nlm_mamba_name;

/* A program over rows and the values of its graph. */
typedef struct nlm_mamba_program {
    nlm_program *program;
    nlm_rows_graph rows;
} nlm_mamba_program;

struct nlm_mamba {
    nlm_engine *engine;
    nlm_mamba_options options; /* without zeros that stand for others */
    nlm_model *model;
    nlm_parameters *parameters;
    nlm_mamba_name *names; /* [parameters] */
    nlm_optimizer *optimizer;
    nlm_cache *now;    /* what slots hold */
    nlm_cache *before; /* what the sequences of the last forward began with: the backward pass reads it */
    bool *is_zero;     /* [max_seqs] of before's slots: there is nothing in them */
    uint32_t n_states;
    nlm_value *after, *gradients; /* [n_states] of the program that trains */
    nlm_value *outputs;           /* [1 + n_states] those that a run picks */
    nlm_mamba_program train, step;
    float *room; /* [of the longest state of a slot, or the longest parameter] */
    uint64_t state_size;
    uint64_t bytes; /* of the engine's memory limit */
    uint64_t steps;
    bool is_paused;           /* a forward whose backward may follow */
    int32_t n_tokens, n_seqs; /* of it */
    nlm_arena arena;          /* names and arrays */
    nlm_ending ending;
};

#define NLM_MAMBA_WHERE "nlm_mamba"

/* The graph of m->train, or of m->step; sets what their rows are. */
nlm_status nlm_mamba_build(nlm_mamba *m, bool is_trained, nlm_graph *graph, nlm_rows_graph *rows, nlm_error *err);

/* ---- mamba_state.c ---- */

/* State number `index` of a cache, in the order of nlm_rows_graph.gradients; how many numbers a slot of it has. */
nlm_state *nlm_mamba_state(const nlm_cache *cache, uint32_t index);
uint64_t nlm_mamba_slot_elements(const nlm_mamba *m, uint32_t index);
/* A slot of it, from and to its place in what nlm_mamba_get_state gives. Lanes past d_inner become zero. */
void nlm_mamba_state_show(const nlm_mamba *m, uint32_t index, const float *slot, float *out_state);
void nlm_mamba_state_take(const nlm_mamba *m, uint32_t index, const float *state, float *out_slot);

#endif
