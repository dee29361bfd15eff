/* Mamba-1, and Falcon Mamba, which norms dt, B and C ("mamba").
 * Source: Gu & Dao 2023; names of keys and tensors: the GGUF specification. */
#include <math.h>
#include <stdlib.h>
#include "base/status.h"
#include "model/family.h"
#include "model/keys.h"

/* ---- hyper-parameters --------------------------------------------------------------------- */

#define FIELD(field) offsetof(nlm_hparams, field)

static const nlm_key_i32 int_keys[] = {
    {"context_length", FIELD(n_ctx_train), 1, 1 << 28, NLM_KEY_REQUIRED},
    {"embedding_length", FIELD(n_embd), 1, 1 << 20, NLM_KEY_REQUIRED},
    {"block_count", FIELD(n_layer), 1, 1 << 12, NLM_KEY_REQUIRED},
    {"ssm.conv_kernel", FIELD(d_conv), 2, 8, NLM_KEY_REQUIRED},
    {"ssm.inner_size", FIELD(d_inner), 1, 1 << 21, NLM_KEY_REQUIRED},
    {"ssm.state_size", FIELD(d_state), 1, 256, NLM_KEY_REQUIRED},
    {"ssm.time_step_rank", FIELD(dt_rank), 1, 1 << 20, NLM_KEY_REQUIRED},
};

static const nlm_key_refused refused_keys[] = {
    {"ssm.group_count", 0, "grouped B and C (Mamba-2)"},
    {"expert_count", 0, "a mixture of experts"},
    {"pooling_type", 0, "pooled embeddings instead of logits"},
};

static nlm_status read_hparams(const nlm_gguf *gguf, nlm_hparams *out, nlm_error *err) {
    nlm_keys keys;
    NLM_TRY(nlm_keys_init(&keys, gguf, err));
    NLM_TRY(nlm_keys_refuse(&keys, refused_keys, sizeof refused_keys / sizeof *refused_keys, err));
    NLM_TRY(nlm_keys_read_i32(&keys, int_keys, sizeof int_keys / sizeof *int_keys, out, err));
    NLM_TRY(nlm_keys_read_f32(&keys, "attention.layer_norm_rms_epsilon", 0, 1, NAN, &out->rms_norm_eps, err));
    return nlm_keys_read_bool(&keys, "ssm.dt_b_c_rms", false, &out->ssm_dt_b_c_rms, err);
}

/* ---- weights ------------------------------------------------------------------------------ */

static int64_t vocab(const nlm_hparams *h) {
    return h->n_vocab;
}
static int64_t embd(const nlm_hparams *h) {
    return h->n_embd;
}
static int64_t inner(const nlm_hparams *h) {
    return h->d_inner;
}
static int64_t x_and_z(const nlm_hparams *h) {
    return 2 * (int64_t)h->d_inner;
}
static int64_t dt_b_c(const nlm_hparams *h) {
    return h->dt_rank + 2 * (int64_t)h->d_state;
}
static int64_t state(const nlm_hparams *h) {
    return h->d_state;
}
static int64_t rank(const nlm_hparams *h) {
    return h->dt_rank;
}
static int64_t kernel(const nlm_hparams *h) {
    return h->d_conv;
}

enum { F32 = NLM_WEIGHT_F32_ONLY, OPTIONAL = NLM_WEIGHT_OPTIONAL };

/* X(id, name, rows, cols, flags). ssm_a is -exp(A_log) already. */
#define WEIGHTS(X)                                                 \
    X(TOKEN_EMBD, "token_embd.weight", vocab, embd, 0)             \
    X(OUTPUT_NORM, "output_norm.weight", NULL, embd, F32)          \
    X(OUTPUT, "output.weight", vocab, embd, OPTIONAL)              \
    X(OUTPUT_BIAS, "output.bias", NULL, vocab, F32 | OPTIONAL)     \
    X(ATTN_NORM, "blk.%d.attn_norm.weight", NULL, embd, F32)       \
    X(SSM_IN, "blk.%d.ssm_in.weight", x_and_z, embd, 0)            \
    X(SSM_CONV1D, "blk.%d.ssm_conv1d.weight", inner, kernel, F32)  \
    X(SSM_CONV1D_BIAS, "blk.%d.ssm_conv1d.bias", NULL, inner, F32) \
    X(SSM_X, "blk.%d.ssm_x.weight", dt_b_c, inner, 0)              \
    X(SSM_DT, "blk.%d.ssm_dt.weight", inner, rank, 0)              \
    X(SSM_DT_BIAS, "blk.%d.ssm_dt.bias", NULL, inner, F32)         \
    X(SSM_A, "blk.%d.ssm_a", inner, state, F32)                    \
    X(SSM_D, "blk.%d.ssm_d", NULL, inner, F32)                     \
    X(SSM_OUT, "blk.%d.ssm_out.weight", embd, inner, 0)

enum {
#define WEIGHT_ENUM(id, name, rows, cols, flags) W_##id,
    WEIGHTS(WEIGHT_ENUM)
#undef WEIGHT_ENUM
};

static const nlm_weight_spec weight_specs[] = {
#define WEIGHT_SPEC(id, name, rows, cols, flags) {W_##id, name, rows, cols, flags},
    WEIGHTS(WEIGHT_SPEC)
#undef WEIGHT_SPEC
        {0}};

/* ---- states ------------------------------------------------------------------------------- */

static int conv_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    (void)layer;
    out[0] = h->d_conv - 1;
    out[1] = h->d_inner;
    return 2;
}

static int ssm_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    (void)layer;
    out[0] = ((int64_t)h->d_inner + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    out[1] = h->d_state;
    out[2] = NLM_SSM_TILE;
    return 3;
}

enum { S_CONV, S_SSM };

static const nlm_state_spec state_specs[] = {
    [S_CONV] = {"conv_state", NLM_STATE_PER_SLOT, NLM_F32, conv_shape},
    [S_SSM] = {"ssm_state", NLM_STATE_PER_SLOT, NLM_F32, ssm_shape},
    {0},
};

/* ---- graph -------------------------------------------------------------------------------- */

typedef struct mamba_builder {
    nlm_graph *graph;
    nlm_weights *weights;
    const nlm_hparams *h;
    nlm_cache *cache;
    const nlm_graph_io *io;
    int32_t layer;
} mamba_builder;

static nlm_value weight(const mamba_builder *b, int32_t id) {
    nlm_weight *found = nlm_weights_get(b->weights, id, b->layer);
    return found ? nlm_graph_weight(b->graph, found) : NLM_NO_VALUE;
}

static nlm_value linear(const mamba_builder *b, nlm_value x, int32_t w, nlm_value bias, nlm_value residual) {
    return nlm_graph_matmul(b->graph, x, weight(b, w), bias, residual);
}

/* Columns of ssm_x's result: dt, B or C. */
static nlm_value part(const mamba_builder *b, nlm_value dt_b_c, int64_t from, int64_t count) {
    const nlm_value columns = nlm_graph_columns(b->graph, dt_b_c, from, count);
    if (!b->h->ssm_dt_b_c_rms) return columns;
    return nlm_graph_rms_norm(b->graph, columns, NLM_NO_VALUE, b->h->rms_norm_eps);
}

static nlm_value mamba_block(const mamba_builder *b, nlm_value residual) {
    nlm_graph *g = b->graph;
    const nlm_hparams *h = b->h;
    const nlm_batch_values *batch = &b->io->batch;
    const nlm_value normed = nlm_graph_rms_norm(g, residual, weight(b, W_ATTN_NORM), h->rms_norm_eps);
    const nlm_value xz = linear(b, normed, W_SSM_IN, NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value z = nlm_graph_columns(g, xz, h->d_inner, h->d_inner);
    const nlm_value x = nlm_graph_conv1d_causal(
        g, nlm_graph_columns(g, xz, 0, h->d_inner), weight(b, W_SSM_CONV1D), weight(b, W_SSM_CONV1D_BIAS),
        nlm_graph_state(g, nlm_cache_state(b->cache, S_CONV, b->layer)), batch, NLM_CONV_SILU);
    const nlm_value dt_b_c = linear(b, x, W_SSM_X, NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value dt_low = part(b, dt_b_c, 0, h->dt_rank);
    const nlm_value b_in = part(b, dt_b_c, h->dt_rank, h->d_state);
    const nlm_value c_out = part(b, dt_b_c, h->dt_rank + h->d_state, h->d_state);
    const nlm_value dt = linear(b, dt_low, W_SSM_DT, weight(b, W_SSM_DT_BIAS), NLM_NO_VALUE);
    const nlm_value y = nlm_graph_ssm_scan(g, x, dt, weight(b, W_SSM_A), b_in, c_out, weight(b, W_SSM_D), z,
                                           nlm_graph_state(g, nlm_cache_state(b->cache, S_SSM, b->layer)), batch);
    return linear(b, y, W_SSM_OUT, NLM_NO_VALUE, residual);
}

static void build(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                  nlm_graph_io *io) {
    (void)dims; /* the shapes follow from the inputs */
    const nlm_hparams *h = nlm_model_hparams(model);
    mamba_builder b = {.graph = graph, .weights = nlm_model_weights(model), .h = h, .cache = cache, .io = io};
    const nlm_value embedding = weight(&b, W_TOKEN_EMBD);
    nlm_value x = nlm_graph_embed(graph, io->ids, embedding);
    for (b.layer = 0; b.layer < h->n_layer; b.layer++) {
        nlm_graph_set_layer(graph, b.layer);
        x = mamba_block(&b, x);
    }
    nlm_graph_set_layer(graph, -1);
    const nlm_value rows = nlm_graph_embed(graph, io->outputs, x);
    const nlm_value normed = nlm_graph_rms_norm(graph, rows, weight(&b, W_OUTPUT_NORM), h->rms_norm_eps);
    const nlm_value head = weight(&b, W_OUTPUT);
    io->logits = nlm_graph_matmul(graph, normed, head == NLM_NO_VALUE ? embedding : head, weight(&b, W_OUTPUT_BIAS),
                                  NLM_NO_VALUE);
}

static const char *const architectures[] = {"mamba", NULL};

const nlm_model_family nlm_family_mamba = {
    .name = "mamba",
    .architectures = architectures,
    .read_hparams = read_hparams,
    .weights = weight_specs,
    .states = state_specs,
    .build = build,
};
