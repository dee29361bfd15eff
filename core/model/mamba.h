/* The parts of Mamba that take rows of numbers: families of their own, for programs that embed them. The layers of a
 * mixer and a block are one. No file's architecture names them; a preset does. */
#ifndef NLM_MODEL_MAMBA_H
#define NLM_MODEL_MAMBA_H

#include "model/family.h"

extern const nlm_model_family nlm_family_mamba_mixer;    /* in_proj to out_proj */
extern const nlm_model_family nlm_family_mamba_block;    /* norm, mixer, residual */
extern const nlm_model_family nlm_family_mamba_backbone; /* input projection, blocks, norm */

/* The numbers of their groups of states: [slots, d_conv - 1, d_inner], and as nlm_ssm_scan_args has it. */
typedef struct nlm_mamba_states {
    int32_t conv, ssm;
} nlm_mamba_states;
extern const nlm_mamba_states nlm_mamba_state_groups;

/* A graph over rows. Set by the caller: parameters and states_after of `training`, the latter memory for as many
 * values as the cache has states, or NULL for a graph that updates the states in place and has no backward pass.
 * gradients: memory for as many values, or NULL where those by the states that sequences begin with are not wanted.
 * The builder sets the rest; what there is of it are outputs, but for the inputs x and dy. */
typedef struct nlm_rows_graph {
    nlm_graph_io io;
    nlm_training_io training;
    nlm_value *gradients;
    nlm_value y;      /* [n_tokens, n_embd] */
    nlm_value dy, dx; /* NLM_NO_VALUE without a backward pass */
} nlm_rows_graph;

/* Builds it for a model of a family that takes rows; a run of it can pause before the backward pass. n_outputs of
 * dims is not used. */
nlm_status nlm_model_build_rows(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                                nlm_rows_graph *rows, nlm_error *err);

#endif
