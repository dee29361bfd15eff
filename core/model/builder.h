/* What the graph builders of all families share: a layer's weights and states as values, and the parts that
 * every decoder has. */
#ifndef NLM_MODEL_BUILDER_H
#define NLM_MODEL_BUILDER_H

#include <stdbool.h>
#include "graph/graph.h"
#include "model/cache.h"
#include "model/hparams.h"
#include "model/weights.h"

typedef struct nlm_graph_io {
    nlm_value ids;          /* [n_tokens] i32 */
    nlm_value rows;         /* [n_tokens, n_input] f32, of a family that takes them in place of ids */
    nlm_batch_values batch; /* block_table is NLM_NO_VALUE without pages */
    nlm_value outputs;      /* [n_outputs] i32: the rows whose logits are wanted */
    nlm_value logits;       /* [n_outputs, n_vocab] f32, row kind OUTPUTS; of hidden states [n_outputs, n_embd] */
} nlm_graph_io;

/* What a builder needs to train. `parameters` stand in for the weights they are of; sequences begin with their first
 * row, or, with states, where the last window left them. */
typedef struct nlm_training_io {
    struct nlm_parameters *parameters;
    nlm_value labels; /* [n_tokens] i32: the token that follows each, negative: not counted */
    nlm_cross_entropy_params loss;
    bool wants_gradients;
    nlm_value hidden, d_hidden; /* set by the head: what it read, and the gradient of the loss by that */
    nlm_value *states_after; /* [groups * layers], by group: set where there is one, else NLM_NO_VALUE. NULL: states
                                are updated in place, and nothing is differentiated */
} nlm_training_io;

typedef struct nlm_builder {
    nlm_graph *graph;
    const nlm_hparams *h;
    nlm_weights *weights;
    const nlm_cache *cache;
    const nlm_graph_io *io;
    nlm_training_io *training; /* or NULL */
    bool gives_hidden;         /* the head gives what it would read, in place of logits */
    int64_t n_tokens;
    int32_t layer; /* -1: none */
} nlm_builder;

/* What follows belongs to this layer, -1: to none. */
void nlm_build_layer(nlm_builder *b, int32_t layer);

/* By the family's ids; NLM_NO_VALUE if the layer has none, or for NLM_NO_WEIGHT. */
nlm_value nlm_build_weight(const nlm_builder *b, int32_t weight);
nlm_value nlm_build_state(const nlm_builder *b, int32_t group);
/* Where the op that reads the state gives what follows it; NULL: in the state itself. */
nlm_value *nlm_build_state_after(const nlm_builder *b, int32_t group);
/* Mamba's `a`, which is -exp of the parameter. */
nlm_value nlm_build_decay(const nlm_builder *b, int32_t weight);
#define NLM_NO_WEIGHT (-1)

/* x w^T + bias + residual; bias and residual may be NLM_NO_*. */
nlm_value nlm_build_linear(const nlm_builder *b, nlm_value x, int32_t w, int32_t bias, nlm_value residual);
nlm_value nlm_build_norm(const nlm_builder *b, nlm_value x, int32_t w);
/* Rows of the embedding: the first hidden states. */
nlm_value nlm_build_embed(const nlm_builder *b, int32_t embedding);
/* The logits of the rows that are wanted: norm, then the head, which is the embedding if there is none. When training
 * the losses of all rows, whose logits h->logit_scale divides; with gives_hidden the rows behind the norm. */
nlm_value nlm_build_head(const nlm_builder *b, nlm_value x, int32_t norm, int32_t head, int32_t bias,
                         int32_t embedding);

#endif
