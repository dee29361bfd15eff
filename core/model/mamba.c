/* Mamba-1, and Falcon Mamba, which norms dt, B and C ("mamba"); and its parts for rows of numbers (mamba.h).
 * Source: Gu & Dao 2023; names of keys and tensors: the GGUF specification. */
#include "model/mamba.h"
#include "base/status.h"
#include "model/family.h"
#include "model/hf.h"

/* ---- hyper-parameters --------------------------------------------------------------------- */

static const nlm_key keys[] = {
    NLM_INT("context_length", NULL, n_ctx_train, 1, 1 << 28, NLM_REQUIRED),
    NLM_INT("embedding_length", "hidden_size", n_embd, 1, 1 << 20, NLM_REQUIRED),
    NLM_INT("block_count", "num_hidden_layers", n_layer, 1, 1 << 12, NLM_REQUIRED),
    NLM_INT("ssm.conv_kernel", "conv_kernel", d_conv, 1, 1 << 12, NLM_REQUIRED),
    NLM_INT("ssm.inner_size", "intermediate_size", d_inner, 1, 1 << 21, NLM_REQUIRED),
    NLM_INT("ssm.state_size", "state_size", d_state, 1, 256, NLM_REQUIRED),
    NLM_INT("ssm.time_step_rank", "time_step_rank", dt_rank, 1, 1 << 20, NLM_REQUIRED),
    NLM_FLOAT("attention.layer_norm_rms_epsilon", "layer_norm_epsilon", rms_norm_eps, 0, 1, NLM_REQUIRED),
    NLM_BOOL("ssm.dt_b_c_rms", NULL, ssm_dt_b_c_rms, false),
    {0},
};

static const nlm_key_refused refused[] = {
    {"ssm.group_count", 0, "grouped B and C (Mamba-2)"},
    {"expert_count", 0, "a mixture of experts"},
    {"pooling_type", 0, "pooled embeddings instead of logits"},
    {0},
};

/* What conv1d_causal computes. */
static nlm_status derive(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    if (out->d_conv >= 2 && out->d_conv <= 8) return NLM_OK;
    return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, "ssm.conv_kernel",
                         "is %d: convolutions over 2 to 8 tokens are supported", out->d_conv);
}

/* ---- weights ------------------------------------------------------------------------------ */

static int64_t vocab(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_vocab;
}
static int64_t embd(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_embd;
}
static int64_t input(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->n_input;
}
static int64_t inner(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->d_inner;
}
static int64_t x_and_z(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return 2 * (int64_t)h->d_inner;
}
static int64_t dt_b_c(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->dt_rank + 2 * (int64_t)h->d_state;
}
static int64_t state(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->d_state;
}
static int64_t rank(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->dt_rank;
}
static int64_t kernel(const nlm_hparams *h, int32_t layer) {
    (void)layer;
    return h->d_conv;
}

enum {
    F32 = NLM_WEIGHT_F32_ONLY,
    OPTIONAL = NLM_WEIGHT_OPTIONAL,
    KERNEL = NLM_WEIGHT_HF_KERNEL,
    LOG = NLM_WEIGHT_HF_LOG
};

/* X(id, name, hf_name, rows, cols, flags). ssm_a is -exp(A_log) already. */
#define EMBED_WEIGHTS(X) X(TOKEN_EMBD, "token_embd.weight", "backbone.embeddings.weight", vocab, embd, 0)
#define INPUT_WEIGHTS(X)                                                        \
    X(INPUT, "input_proj.weight", "backbone.input_proj.weight", embd, input, 0) \
    X(INPUT_BIAS, "input_proj.bias", "backbone.input_proj.bias", NULL, embd, F32)
#define END_WEIGHTS(X) X(OUTPUT_NORM, "output_norm.weight", "backbone.norm_f.weight", NULL, embd, F32)
#define HEAD_WEIGHTS(X)                                                 \
    X(OUTPUT, "output.weight", "lm_head.weight", vocab, embd, OPTIONAL) \
    X(OUTPUT_BIAS, "output.bias", NULL, NULL, vocab, F32 | OPTIONAL)
#define BLOCK_WEIGHTS(X) X(ATTN_NORM, "blk.%d.attn_norm.weight", "backbone.layers.%d.norm.weight", NULL, embd, F32)
#define MIXER_WEIGHTS(X)                                                                                             \
    X(SSM_IN, "blk.%d.ssm_in.weight", "backbone.layers.%d.mixer.in_proj.weight", x_and_z, embd, 0)                   \
    X(SSM_IN_BIAS, "blk.%d.ssm_in.bias", "backbone.layers.%d.mixer.in_proj.bias", NULL, x_and_z, F32 | OPTIONAL)     \
    X(SSM_CONV1D, "blk.%d.ssm_conv1d.weight", "backbone.layers.%d.mixer.conv1d.weight", inner, kernel, F32 | KERNEL) \
    X(SSM_CONV1D_BIAS, "blk.%d.ssm_conv1d.bias", "backbone.layers.%d.mixer.conv1d.bias", NULL, inner,                \
      F32 | OPTIONAL)                                                                                                \
    X(SSM_X, "blk.%d.ssm_x.weight", "backbone.layers.%d.mixer.x_proj.weight", dt_b_c, inner, 0)                      \
    X(SSM_DT, "blk.%d.ssm_dt.weight", "backbone.layers.%d.mixer.dt_proj.weight", inner, rank, 0)                     \
    X(SSM_DT_BIAS, "blk.%d.ssm_dt.bias", "backbone.layers.%d.mixer.dt_proj.bias", NULL, inner, F32)                  \
    X(SSM_A, "blk.%d.ssm_a", "backbone.layers.%d.mixer.A_log", inner, state, F32 | LOG)                              \
    X(SSM_D, "blk.%d.ssm_d", "backbone.layers.%d.mixer.D", NULL, inner, F32)                                         \
    X(SSM_OUT, "blk.%d.ssm_out.weight", "backbone.layers.%d.mixer.out_proj.weight", embd, inner, 0)                  \
    X(SSM_OUT_BIAS, "blk.%d.ssm_out.bias", "backbone.layers.%d.mixer.out_proj.bias", NULL, embd, F32 | OPTIONAL)

#define LAYER_WEIGHTS(X) BLOCK_WEIGHTS(X) MIXER_WEIGHTS(X)
#define ALL_WEIGHTS(X)   EMBED_WEIGHTS(X) INPUT_WEIGHTS(X) END_WEIGHTS(X) HEAD_WEIGHTS(X) LAYER_WEIGHTS(X)
#define LINES(list)      list(NLM_WEIGHT_LINE)

enum { ALL_WEIGHTS(NLM_WEIGHT_ID) };

static const nlm_weight_spec weights[] = {LINES(EMBED_WEIGHTS) LINES(END_WEIGHTS) LINES(HEAD_WEIGHTS)
                                              LINES(LAYER_WEIGHTS){0}};

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

static const nlm_state_spec states[] = {
    [S_CONV] = {"conv_state", NLM_STATE_PER_SLOT, NLM_F32, conv_shape},
    [S_SSM] = {"ssm_state", NLM_STATE_PER_SLOT, NLM_F32, ssm_shape},
    {0},
};

/* ---- graph -------------------------------------------------------------------------------- */

/* Columns of ssm_x's result: dt, B or C. */
static nlm_value part(const nlm_builder *b, nlm_value dt_b_c, int64_t from, int64_t count) {
    const nlm_value columns = nlm_graph_columns(b->graph, dt_b_c, from, count);
    return b->h->ssm_dt_b_c_rms ? nlm_build_norm(b, columns, NLM_NO_WEIGHT) : columns;
}

/* residual: NLM_NO_VALUE, or added to the result. */
static nlm_value mixer(const nlm_builder *b, nlm_value u, nlm_value residual) {
    nlm_graph *g = b->graph;
    const nlm_hparams *h = b->h;
    const nlm_batch_values *batch = &b->io->batch;
    const nlm_value xz = nlm_build_linear(b, u, W_SSM_IN, W_SSM_IN_BIAS, NLM_NO_VALUE);
    const nlm_value z = nlm_graph_columns(g, xz, h->d_inner, h->d_inner);
    const nlm_value x =
        nlm_graph_conv1d_causal(g, nlm_graph_columns(g, xz, 0, h->d_inner), nlm_build_weight(b, W_SSM_CONV1D),
                                nlm_build_weight(b, W_SSM_CONV1D_BIAS), nlm_build_state(b, S_CONV),
                                nlm_build_state_after(b, S_CONV), batch, NLM_CONV_SILU);
    const nlm_value dt_b_c = nlm_build_linear(b, x, W_SSM_X, NLM_NO_WEIGHT, NLM_NO_VALUE);
    const nlm_value dt_low = part(b, dt_b_c, 0, h->dt_rank);
    const nlm_value b_in = part(b, dt_b_c, h->dt_rank, h->d_state);
    const nlm_value c_out = part(b, dt_b_c, h->dt_rank + h->d_state, h->d_state);
    const nlm_value dt = nlm_build_linear(b, dt_low, W_SSM_DT, W_SSM_DT_BIAS, NLM_NO_VALUE);
    const nlm_value y =
        nlm_graph_ssm_scan(g, x, dt, nlm_build_decay(b, W_SSM_A), b_in, c_out, nlm_build_weight(b, W_SSM_D), z,
                           nlm_build_state(b, S_SSM), nlm_build_state_after(b, S_SSM), batch);
    return nlm_build_linear(b, y, W_SSM_OUT, W_SSM_OUT_BIAS, residual);
}

static nlm_value block(const nlm_builder *b, nlm_value x) {
    return mixer(b, nlm_build_norm(b, x, W_ATTN_NORM), x);
}

static nlm_value blocks(nlm_builder *b, nlm_value x) {
    for (int32_t i = 0; i < b->h->n_layer; i++) {
        nlm_build_layer(b, i);
        x = block(b, x);
    }
    nlm_build_layer(b, -1);
    return x;
}

static nlm_value build(nlm_builder *b) {
    const nlm_value x = blocks(b, nlm_build_embed(b, W_TOKEN_EMBD));
    return nlm_build_head(b, x, W_OUTPUT_NORM, W_OUTPUT, W_OUTPUT_BIAS, W_TOKEN_EMBD);
}

/* ---- config.json -------------------------------------------------------------------------- */

enum { CONTEXT = 1 << 20 }; /* transformers' Mambas have none; what converters to GGUF write */

static nlm_status import(nlm_hf_config *config, nlm_error *err) {
    (void)err;
    nlm_hf_write_u32(config, "context_length", CONTEXT);
    return NLM_OK;
}

static nlm_status no_place(const nlm_model *model, const char *what, nlm_error *err) {
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(nlm_model_gguf(model)),
                    "a Mamba's config.json has no place for %s", what);
}

/* transformers takes the inner size for `expand` times the hidden one, and has one switch for two biases. */
static nlm_status export(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err) {
    (void)kind;
    const nlm_hparams *h = nlm_model_hparams(model);
    const int32_t in = nlm_hf_layers_with(model, "ssm_in.bias"), conv = nlm_hf_layers_with(model, "ssm_conv1d.bias");
    if (h->d_inner % h->n_embd != 0)
        return no_place(model, "an inner size that is no multiple of the hidden one", err);
    if (h->ssm_dt_b_c_rms) return no_place(model, "norms of dt, B and C", err);
    if (in % h->n_layer != 0 || conv % h->n_layer != 0 || in != nlm_hf_layers_with(model, "ssm_out.bias")) {
        return no_place(model, "biases of some weights of a kind", err);
    }
    nlm_hf_put(out, "expand", "%d", (int)(h->d_inner / h->n_embd));
    nlm_hf_put(out, "use_bias", in > 0 ? "true" : "false");
    nlm_hf_put(out, "use_conv_bias", conv > 0 ? "true" : "false");
    return NLM_OK;
}

static const nlm_hf_class hf_classes[] = {
    {"MambaForCausalLM", "mamba", "mamba", false},
    {0},
};

static const nlm_key_refused hf_refused[] = {{0}};

static const nlm_hf hf = {hf_classes, hf_refused, import, export};

static const char *const architectures[] = {"mamba", NULL};

const nlm_model_family nlm_family_mamba = {
    .name = "mamba",
    .architectures = architectures,
    .hf = &hf,
    .keys = keys,
    .refused = refused,
    .weights = weights,
    .states = states,
    .derive = derive,
    .build = build,
    .is_trained = true,
};

/* ---- parts, on rows of numbers -------------------------------------------------------------- */

static const nlm_key part_keys[] = {
    NLM_INT("embedding_length", NULL, n_embd, 1, 1 << 20, NLM_REQUIRED),
    NLM_INT("input_length", NULL, n_input, 1, 1 << 20, NLM_REQUIRED),
    NLM_INT("block_count", NULL, n_layer, 1, 1 << 12, NLM_REQUIRED),
    NLM_INT("ssm.conv_kernel", NULL, d_conv, 1, 1 << 12, NLM_REQUIRED),
    NLM_INT("ssm.inner_size", NULL, d_inner, 1, 1 << 21, NLM_REQUIRED),
    NLM_INT("ssm.state_size", NULL, d_state, 1, 256, NLM_REQUIRED),
    NLM_INT("ssm.time_step_rank", NULL, dt_rank, 1, 1 << 20, NLM_REQUIRED),
    NLM_FLOAT("attention.layer_norm_rms_epsilon", NULL, rms_norm_eps, 0, 1, NLM_REQUIRED),
    {0},
};

static const nlm_key_refused nothing_refused[] = {{0}};

static const nlm_weight_spec mixer_weights[] = {LINES(MIXER_WEIGHTS){0}};
static const nlm_weight_spec block_weights[] = {LINES(LAYER_WEIGHTS){0}};
static const nlm_weight_spec backbone_weights[] = {LINES(INPUT_WEIGHTS) LINES(LAYER_WEIGHTS) LINES(END_WEIGHTS){0}};

static nlm_value build_mixer(nlm_builder *b) {
    nlm_build_layer(b, 0);
    return mixer(b, b->io->rows, NLM_NO_VALUE);
}

static nlm_value build_block(nlm_builder *b) {
    nlm_build_layer(b, 0);
    return block(b, b->io->rows);
}

static nlm_value build_backbone(nlm_builder *b) {
    const nlm_value x = nlm_build_linear(b, b->io->rows, W_INPUT, W_INPUT_BIAS, NLM_NO_VALUE);
    return nlm_build_norm(b, blocks(b, x), W_OUTPUT_NORM);
}

#define PART(part_name)                                                                                             \
    {                                                                                                               \
        .name = "mamba " #part_name, .architectures = architectures, .keys = part_keys, .refused = nothing_refused, \
        .weights = part_name##_weights, .states = states, .derive = derive, .build = build_##part_name,             \
        .is_trained = true, .takes_rows = true                                                                      \
    }

const nlm_model_family nlm_family_mamba_mixer = PART(mixer);
const nlm_model_family nlm_family_mamba_block = PART(block);
const nlm_model_family nlm_family_mamba_backbone = PART(backbone);

const nlm_mamba_states nlm_mamba_state_groups = {S_CONV, S_SSM};
