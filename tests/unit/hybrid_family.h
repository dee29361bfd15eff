/* A family that is nobody's: state space layers and attention layers in turn, each with a feed-forward net. To
 * show that what runs models needs to know of no family. */
#ifndef NLM_TESTS_HYBRID_FAMILY_H
#define NLM_TESTS_HYBRID_FAMILY_H

#include "model/transformer.h"

#include <stdio.h>

/* Layers without key/value heads are state space layers. */
static const nlm_key hybrid_keys[] = {
    NLM_INT("context_length", NULL, n_ctx_train, 1, 1 << 28, NLM_REQUIRED),
    NLM_INT("embedding_length", NULL, n_embd, 1, 1 << 20, NLM_REQUIRED),
    NLM_INT("block_count", NULL, n_layer, 1, 1 << 12, NLM_REQUIRED),
    NLM_INT("feed_forward_length", NULL, n_ff.most, 1, 1 << 22, NLM_REQUIRED),
    NLM_INT_BY_LAYER("attention.head_count", NULL, n_head, 0, 1 << 14, NLM_REQUIRED),
    NLM_INT_BY_LAYER("attention.head_count_kv", NULL, n_head_kv, 0, 1 << 14, NLM_REQUIRED),
    NLM_INT("attention.key_length", NULL, head_dim, 1, 1 << 14, NLM_REQUIRED),
    NLM_INT("ssm.conv_kernel", NULL, d_conv, 2, 8, NLM_REQUIRED),
    NLM_INT("ssm.inner_size", NULL, d_inner, 1, 1 << 21, NLM_REQUIRED),
    NLM_INT("ssm.state_size", NULL, d_state, 1, 256, NLM_REQUIRED),
    NLM_FLOAT("attention.layer_norm_rms_epsilon", NULL, rms_norm_eps, 0, 1, NLM_REQUIRED),
    NLM_FLOAT("attention.scale", NULL, attention_scale, 0, 1, NLM_REQUIRED),
    {0}};

static const nlm_key_refused hybrid_refused[] = {{0}};

static int64_t hybrid_inner(const nlm_hparams *h, int32_t layer) {
    return nlm_at_layer(h->n_head_kv, layer) > 0 ? 0 : h->d_inner;
}
static int64_t hybrid_x_and_z(const nlm_hparams *h, int32_t layer) {
    return 2 * hybrid_inner(h, layer);
}
static int64_t hybrid_dt_b_c(const nlm_hparams *h, int32_t layer) {
    return hybrid_inner(h, layer) + 2 * (int64_t)h->d_state;
}
static int64_t hybrid_state(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->d_state;
}
static int64_t hybrid_kernel(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->d_conv;
}

#define HYBRID_WEIGHTS(X)                                                                  \
    X(SSM_IN, "blk.%d.ssm_in.weight", NULL, hybrid_x_and_z, nlm_size_embd, 0)              \
    X(SSM_CONV, "blk.%d.ssm_conv1d.weight", NULL, hybrid_inner, hybrid_kernel, NLM_VECTOR) \
    X(SSM_X, "blk.%d.ssm_x.weight", NULL, hybrid_dt_b_c, hybrid_inner, 0)                  \
    X(SSM_A, "blk.%d.ssm_a", NULL, hybrid_inner, hybrid_state, NLM_VECTOR)                 \
    X(SSM_D, "blk.%d.ssm_d", NULL, NULL, hybrid_inner, NLM_VECTOR)                         \
    X(SSM_OUT, "blk.%d.ssm_out.weight", NULL, nlm_size_embd, hybrid_inner, 0)

enum { W_HYBRID = NLM_TRANSFORMER_N_WEIGHTS - 1, HYBRID_WEIGHTS(NLM_WEIGHT_ID) };

static const nlm_weight_spec hybrid_weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE)
                                                     HYBRID_WEIGHTS(NLM_WEIGHT_LINE){0}};

static int hybrid_conv_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    out[0] = h->d_conv - 1;
    out[1] = hybrid_inner(h, layer);
    return out[1] > 0 ? 2 : 0;
}

static int hybrid_ssm_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    out[0] = (hybrid_inner(h, layer) + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    out[1] = h->d_state;
    out[2] = NLM_SSM_TILE;
    return out[0] > 0 ? 3 : 0;
}

enum { HYBRID_S_CONV = NLM_S_V + 1, HYBRID_S_SSM };

static const nlm_state_spec hybrid_states[] = {
    NLM_TRANSFORMER_STATES,
    [HYBRID_S_CONV] = {"conv_state", NLM_STATE_PER_SLOT, NLM_F32, hybrid_conv_shape},
    [HYBRID_S_SSM] = {"ssm_state", NLM_STATE_PER_SLOT, NLM_F32, hybrid_ssm_shape},
    {0}};

static nlm_value hybrid_ssm_block(const nlm_builder *b, nlm_value residual) {
    nlm_graph *g = b->graph;
    const int64_t inner = b->h->d_inner, state = b->h->d_state;
    const nlm_value xz =
        nlm_build_linear(b, nlm_build_norm(b, residual, W_ATTN_NORM), W_SSM_IN, NLM_NO_WEIGHT, NLM_NO_VALUE);
    const nlm_value x =
        nlm_graph_conv1d_causal(g, nlm_graph_columns(g, xz, 0, inner), nlm_build_weight(b, W_SSM_CONV), NLM_NO_VALUE,
                                nlm_build_state(b, HYBRID_S_CONV), NULL, &b->io->batch, NLM_CONV_SILU);
    const nlm_value dt_b_c = nlm_build_linear(b, x, W_SSM_X, NLM_NO_WEIGHT, NLM_NO_VALUE);
    const nlm_value y = nlm_graph_ssm_scan(g, x, nlm_graph_columns(g, dt_b_c, 0, inner), nlm_build_weight(b, W_SSM_A),
                                           nlm_graph_columns(g, dt_b_c, inner, state),
                                           nlm_graph_columns(g, dt_b_c, inner + state, state),
                                           nlm_build_weight(b, W_SSM_D), nlm_graph_columns(g, xz, inner, inner),
                                           nlm_build_state(b, HYBRID_S_SSM), NULL, &b->io->batch);
    return nlm_build_linear(b, y, W_SSM_OUT, NLM_NO_WEIGHT, residual);
}

static nlm_value hybrid_attention_block(const nlm_builder *b, nlm_value x) {
    const nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    return nlm_build_linear(b, nlm_build_attention(b, &qkv), W_ATTN_OUTPUT, NLM_NO_WEIGHT, x);
}

static nlm_value hybrid_build(nlm_builder *b) {
    nlm_value x = nlm_build_embed(b, W_TOKEN_EMBD);
    for (int32_t i = 0; i < b->h->n_layer; i++) {
        nlm_build_layer(b, i);
        x = nlm_at_layer(b->h->n_head_kv, i) > 0 ? hybrid_attention_block(b, x) : hybrid_ssm_block(b, x);
        x = nlm_build_swiglu(b, nlm_build_norm(b, x, W_FFN_NORM), x);
    }
    nlm_build_layer(b, -1);
    return nlm_build_head(b, x, W_OUTPUT_NORM, W_OUTPUT, NLM_NO_WEIGHT, W_TOKEN_EMBD);
}

static const char *const hybrid_architectures[] = {"hybrid", NULL};

static const nlm_model_family hybrid_family = {
    .name = "hybrid",
    .architectures = hybrid_architectures,
    .keys = hybrid_keys,
    .refused = hybrid_refused,
    .weights = hybrid_weights,
    .states = hybrid_states,
    .build = hybrid_build,
};

#endif
