/* Llama and its kin: Llama 1 to 3, Mistral, SmolLM2, TinyLlama ("llama"); Qwen2 ("qwen2").
 * Source: Touvron et al. 2023; names of keys and tensors: the GGUF specification. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/status.h"
#include "model/family.h"
#include "model/keys.h"
#include "tensor/dtype.h"

/* ---- hyper-parameters --------------------------------------------------------------------- */

#define FIELD(field) offsetof(nlm_hparams, field)

static const nlm_key_i32 int_keys[] = {
    {"context_length", FIELD(n_ctx_train), 1, 1 << 28, NLM_KEY_REQUIRED},
    {"embedding_length", FIELD(n_embd), 1, 1 << 20, NLM_KEY_REQUIRED},
    {"block_count", FIELD(n_layer), 1, 1 << 12, NLM_KEY_REQUIRED},
    {"feed_forward_length", FIELD(n_ff), 1, 1 << 22, NLM_KEY_REQUIRED},
    {"attention.head_count", FIELD(n_head), 1, 1 << 14, NLM_KEY_REQUIRED},
    {"attention.head_count_kv", FIELD(n_head_kv), 1, 1 << 14, 0},
    {"attention.key_length", FIELD(head_dim), 1, 1 << 14, 0},
    {"attention.sliding_window", FIELD(sliding_window), 0, 1 << 28, 0},
    {"rope.dimension_count", FIELD(n_rot), 2, 1 << 14, 0},
};

static const nlm_key_refused refused_keys[] = {
    {"expert_count", 0, "a mixture of experts"},
    {"expert_used_count", 0, "a mixture of experts"},
    {"attn_logit_softcapping", 0, "soft-capped attention scores"},
    {"final_logit_softcapping", 0, "soft-capped logits"},
    {"attention.causal", 1, "attention to later tokens"},
    {"attention.max_alibi_bias", 0, "ALiBi positions"},
    {"attention.clamp_kqv", 0, "clamped queries, keys and values"},
    {"attention.scale", 0, "another attention scale"},
    {"attention.sliding_window_pattern", 1, "a window in some layers alone"},
    {"rope.scaling.attn_factor", 1, "attention scaled by position"},
    {"rope.scaling.yarn_log_multiplier", 0, "YaRN positions"},
    {"use_parallel_residual", 0, "attention and feed-forward side by side"},
    {"embedding_scale", 1, "scaled embeddings"},
    {"residual_scale", 1, "scaled residuals"},
    {"logit_scale", 1, "scaled logits"},
    {"pooling_type", 0, "pooled embeddings instead of logits"},
};

static bool is_text(nlm_gguf_string string, const char *text) {
    return string.length == strlen(text) && memcmp(string.data, text, string.length) == 0;
}

/* Positions are multiplied by 1/factor. rope.scale_linear is the older name of the factor. */
static nlm_status read_rope_scaling(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    nlm_gguf_string type;
    out->rope_freq_scale = 1;
    NLM_TRY(nlm_keys_read_string(keys, "rope.scaling.type", &type, err));
    if (type.data && is_text(type, "none")) return NLM_OK;
    if (type.data && !is_text(type, "linear")) {
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, "rope.scaling.type",
                             "is '%.*s'; 'none' and 'linear' are supported", type.length < 64 ? (int)type.length : 64,
                             type.data);
    }
    const bool is_new = nlm_keys_has(keys, "rope.scaling.factor");
    float factor;
    NLM_TRY(nlm_keys_read_f32(keys, is_new ? "rope.scaling.factor" : "rope.scale_linear", -1, 1e6f, 1, &factor, err));
    if (factor < 0) return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "rope.scaling.factor", "is negative");
    if (factor > 0) out->rope_freq_scale = 1 / factor; /* writers put 0 for no scaling */
    return NLM_OK;
}

/* What follows from other keys when it is not given, and what must fit together. */
static nlm_status derive_heads(const nlm_keys *keys, nlm_hparams *out, nlm_error *err) {
    if (out->n_head_kv == 0) out->n_head_kv = out->n_head;
    if (out->n_head % out->n_head_kv != 0) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "attention.head_count",
                             "is %d, no multiple of the %d of attention.head_count_kv", out->n_head, out->n_head_kv);
    }
    if (out->head_dim == 0) {
        if (out->n_embd % out->n_head != 0) {
            return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "embedding_length",
                                 "is %d, no multiple of the %d heads of attention.head_count", out->n_embd,
                                 out->n_head);
        }
        out->head_dim = out->n_embd / out->n_head;
    }
    nlm_hparams value = {0};
    const nlm_key_i32 value_key = {"attention.value_length", FIELD(head_dim), 1, 1 << 14, out->head_dim};
    NLM_TRY(nlm_keys_read_i32(keys, &value_key, 1, &value, err));
    if (value.head_dim != out->head_dim) {
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, "attention.value_length",
                             "is %d and keys have %d elements a head; only equal ones are supported", value.head_dim,
                             out->head_dim);
    }
    if (out->n_rot == 0) out->n_rot = out->head_dim;
    if (out->n_rot % 2 != 0 || out->n_rot > out->head_dim) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, "rope.dimension_count",
                             "is %d; expected an even number, at most the %d of a head", out->n_rot, out->head_dim);
    }
    return NLM_OK;
}

static nlm_status read_hparams(const nlm_gguf *gguf, nlm_hparams *out, nlm_error *err) {
    nlm_keys keys;
    NLM_TRY(nlm_keys_init(&keys, gguf, err));
    NLM_TRY(nlm_keys_refuse(&keys, refused_keys, sizeof refused_keys / sizeof *refused_keys, err));
    NLM_TRY(nlm_keys_read_i32(&keys, int_keys, sizeof int_keys / sizeof *int_keys, out, err));
    NLM_TRY(nlm_keys_read_f32(&keys, "attention.layer_norm_rms_epsilon", 0, 1, NAN, &out->rms_norm_eps, err));
    NLM_TRY(nlm_keys_read_f32(&keys, "rope.freq_base", 0, 1e15f, 10000, &out->rope_freq_base, err));
    NLM_TRY(read_rope_scaling(&keys, out, err));
    out->is_rope_half_split = strcmp(keys.architecture, "qwen2") == 0;
    return derive_heads(&keys, out, err);
}

/* ---- weights ------------------------------------------------------------------------------ */

static int64_t vocab(const nlm_hparams *h) {
    return h->n_vocab;
}
static int64_t embd(const nlm_hparams *h) {
    return h->n_embd;
}
static int64_t q_dim(const nlm_hparams *h) {
    return (int64_t)h->n_head * h->head_dim;
}
static int64_t kv_dim(const nlm_hparams *h) {
    return (int64_t)h->n_head_kv * h->head_dim;
}
static int64_t ff(const nlm_hparams *h) {
    return h->n_ff;
}
static int64_t rope_pairs(const nlm_hparams *h) {
    return h->n_rot / 2;
}

enum { VECTOR = NLM_WEIGHT_F32_ONLY, BIAS = NLM_WEIGHT_F32_ONLY | NLM_WEIGHT_OPTIONAL };

/* X(id, name, rows, cols, flags) */
#define WEIGHTS(X)                                                   \
    X(TOKEN_EMBD, "token_embd.weight", vocab, embd, 0)               \
    X(OUTPUT_NORM, "output_norm.weight", NULL, embd, VECTOR)         \
    X(OUTPUT, "output.weight", vocab, embd, NLM_WEIGHT_OPTIONAL)     \
    X(ROPE_FREQS, "rope_freqs.weight", NULL, rope_pairs, BIAS)       \
    X(ATTN_NORM, "blk.%d.attn_norm.weight", NULL, embd, VECTOR)      \
    X(ATTN_Q, "blk.%d.attn_q.weight", q_dim, embd, 0)                \
    X(ATTN_K, "blk.%d.attn_k.weight", kv_dim, embd, 0)               \
    X(ATTN_V, "blk.%d.attn_v.weight", kv_dim, embd, 0)               \
    X(ATTN_OUTPUT, "blk.%d.attn_output.weight", embd, q_dim, 0)      \
    X(FFN_NORM, "blk.%d.ffn_norm.weight", NULL, embd, VECTOR)        \
    X(FFN_GATE, "blk.%d.ffn_gate.weight", ff, embd, 0)               \
    X(FFN_UP, "blk.%d.ffn_up.weight", ff, embd, 0)                   \
    X(FFN_DOWN, "blk.%d.ffn_down.weight", embd, ff, 0)               \
    X(ATTN_Q_BIAS, "blk.%d.attn_q.bias", NULL, q_dim, BIAS)          \
    X(ATTN_K_BIAS, "blk.%d.attn_k.bias", NULL, kv_dim, BIAS)         \
    X(ATTN_V_BIAS, "blk.%d.attn_v.bias", NULL, kv_dim, BIAS)         \
    X(ATTN_OUTPUT_BIAS, "blk.%d.attn_output.bias", NULL, embd, BIAS) \
    X(FFN_GATE_BIAS, "blk.%d.ffn_gate.bias", NULL, ff, BIAS)         \
    X(FFN_UP_BIAS, "blk.%d.ffn_up.bias", NULL, ff, BIAS)             \
    X(FFN_DOWN_BIAS, "blk.%d.ffn_down.bias", NULL, embd, BIAS)

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

static int kv_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]) {
    (void)layer;
    out[0] = h->n_head_kv;
    out[1] = h->head_dim;
    return 2;
}

enum { S_K, S_V };

static const nlm_state_spec state_specs[] = {
    [S_K] = {"k_cache", NLM_STATE_PAGED, NLM_STATE_KV_DTYPE, kv_shape},
    [S_V] = {"v_cache", NLM_STATE_PAGED, NLM_STATE_KV_DTYPE, kv_shape},
    {0},
};

/* ---- graph -------------------------------------------------------------------------------- */

typedef struct llama_builder {
    nlm_graph *graph;
    nlm_weights *weights;
    const nlm_hparams *h;
    nlm_cache *cache;
    const nlm_graph_io *io;
    nlm_rope_params rope;
    int64_t n_tokens;
    int32_t layer;
} llama_builder;

static nlm_value weight(const llama_builder *b, int32_t id) {
    nlm_weight *found = nlm_weights_get(b->weights, id, b->layer);
    return found ? nlm_graph_weight(b->graph, found) : NLM_NO_VALUE;
}

static nlm_value linear(const llama_builder *b, nlm_value x, int32_t w, int32_t bias, nlm_value residual) {
    return nlm_graph_matmul(b->graph, x, weight(b, w), weight(b, bias), residual);
}

/* [T, heads * head_dim] as [T, heads, head_dim] */
static nlm_value heads(const llama_builder *b, nlm_value x, int32_t n_head) {
    const int64_t shape[3] = {b->n_tokens, n_head, b->h->head_dim};
    return nlm_graph_reshape(b->graph, x, 3, shape);
}

static nlm_value attention_block(const llama_builder *b, nlm_value x) {
    nlm_graph *g = b->graph;
    const nlm_hparams *h = b->h;
    const nlm_batch_values *batch = &b->io->batch;
    const nlm_value k_cache = nlm_graph_state(g, nlm_cache_state(b->cache, S_K, b->layer));
    const nlm_value v_cache = nlm_graph_state(g, nlm_cache_state(b->cache, S_V, b->layer));
    const nlm_value normed = nlm_graph_rms_norm(g, x, weight(b, W_ATTN_NORM), h->rms_norm_eps);
    nlm_value q = heads(b, linear(b, normed, W_ATTN_Q, W_ATTN_Q_BIAS, NLM_NO_VALUE), h->n_head);
    nlm_value k = heads(b, linear(b, normed, W_ATTN_K, W_ATTN_K_BIAS, NLM_NO_VALUE), h->n_head_kv);
    const nlm_value v = heads(b, linear(b, normed, W_ATTN_V, W_ATTN_V_BIAS, NLM_NO_VALUE), h->n_head_kv);
    q = nlm_graph_rope(g, q, batch->pos, &b->rope);
    k = nlm_graph_rope(g, k, batch->pos, &b->rope);
    nlm_graph_kv_append(g, k, v, k_cache, v_cache, batch);
    const float scale = 1 / sqrtf((float)h->head_dim);
    const nlm_value y = nlm_graph_attention(g, q, k_cache, v_cache, batch, scale, h->sliding_window);
    const int64_t flat[2] = {b->n_tokens, q_dim(h)};
    return linear(b, nlm_graph_reshape(g, y, 2, flat), W_ATTN_OUTPUT, W_ATTN_OUTPUT_BIAS, x);
}

static nlm_value feed_forward_block(const llama_builder *b, nlm_value x) {
    nlm_graph *g = b->graph;
    const nlm_value normed = nlm_graph_rms_norm(g, x, weight(b, W_FFN_NORM), b->h->rms_norm_eps);
    const nlm_value gate = linear(b, normed, W_FFN_GATE, W_FFN_GATE_BIAS, NLM_NO_VALUE);
    const nlm_value up = linear(b, normed, W_FFN_UP, W_FFN_UP_BIAS, NLM_NO_VALUE);
    return linear(b, nlm_graph_silu_mul(g, gate, up), W_FFN_DOWN, W_FFN_DOWN_BIAS, x);
}

static void build(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                  nlm_graph_io *io) {
    const nlm_hparams *h = nlm_model_hparams(model);
    llama_builder b = {.graph = graph,
                       .weights = nlm_model_weights(model),
                       .h = h,
                       .cache = cache,
                       .io = io,
                       .n_tokens = dims->n_tokens};
    b.rope = (nlm_rope_params){.freq_base = h->rope_freq_base,
                               .freq_scale = h->rope_freq_scale,
                               .n_rot = h->n_rot,
                               .flags = h->is_rope_half_split ? NLM_ROPE_HALF_SPLIT : 0,
                               .freq_factors = weight(&b, W_ROPE_FREQS)};
    const nlm_value embedding = weight(&b, W_TOKEN_EMBD);
    nlm_value x = nlm_graph_embed(graph, io->ids, embedding);
    for (b.layer = 0; b.layer < h->n_layer; b.layer++) {
        nlm_graph_set_layer(graph, b.layer);
        x = attention_block(&b, x);
        x = feed_forward_block(&b, x);
    }
    nlm_graph_set_layer(graph, -1);
    const nlm_value rows = nlm_graph_embed(graph, io->outputs, x);
    const nlm_value normed = nlm_graph_rms_norm(graph, rows, weight(&b, W_OUTPUT_NORM), h->rms_norm_eps);
    const nlm_value head = weight(&b, W_OUTPUT);
    io->logits = nlm_graph_matmul(graph, normed, head == NLM_NO_VALUE ? embedding : head, NLM_NO_VALUE, NLM_NO_VALUE);
}

static const char *const architectures[] = {"llama", "qwen2", NULL};

const nlm_model_family nlm_family_llama = {
    .name = "llama",
    .architectures = architectures,
    .read_hparams = read_hparams,
    .weights = weight_specs,
    .states = state_specs,
    .build = build,
};
