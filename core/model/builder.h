/* What the graph builders of all families share: a layer's weights and states as values, and the parts that
 * every decoder has. */
#ifndef NLM_MODEL_BUILDER_H
#define NLM_MODEL_BUILDER_H

#include "graph/graph.h"
#include "model/cache.h"
#include "model/hparams.h"
#include "model/weights.h"

typedef struct nlm_graph_io {
    nlm_value ids;          /* [n_tokens] i32 */
    nlm_batch_values batch; /* block_table is NLM_NO_VALUE without pages */
    nlm_value outputs;      /* [n_outputs] i32: the rows whose logits are wanted */
    nlm_value logits;       /* [n_outputs, n_vocab] f32, row kind OUTPUTS */
} nlm_graph_io;

typedef struct nlm_builder {
    nlm_graph *graph;
    const nlm_hparams *h;
    nlm_weights *weights;
    const nlm_cache *cache;
    const nlm_graph_io *io;
    int64_t n_tokens;
    int32_t layer; /* -1: none */
} nlm_builder;

/* What follows belongs to this layer, -1: to none. */
void nlm_build_layer(nlm_builder *b, int32_t layer);

/* By the family's ids; NLM_NO_VALUE if the layer has none, or for NLM_NO_WEIGHT. */
nlm_value nlm_build_weight(const nlm_builder *b, int32_t weight);
nlm_value nlm_build_state(const nlm_builder *b, int32_t group);
#define NLM_NO_WEIGHT (-1)

/* x w^T + bias + residual; bias and residual may be NLM_NO_*. */
nlm_value nlm_build_linear(const nlm_builder *b, nlm_value x, int32_t w, int32_t bias, nlm_value residual);
nlm_value nlm_build_norm(const nlm_builder *b, nlm_value x, int32_t w);
/* Rows of the embedding: the first hidden states. */
nlm_value nlm_build_embed(const nlm_builder *b, int32_t embedding);
/* The logits of the rows that are wanted: norm, then the head, which is the embedding if there is none. */
nlm_value nlm_build_head(const nlm_builder *b, nlm_value x, int32_t norm, int32_t head, int32_t bias,
                         int32_t embedding);

#endif
