/* What Llama and its kin have in common: keys, weights and states, and the parts of a layer. A family's file
 * lists what it adds, and puts the parts together. */
#ifndef NLM_MODEL_TRANSFORMER_H
#define NLM_MODEL_TRANSFORMER_H

#include "model/family.h"

/* ---- hyper-parameters --------------------------------------------------------------------- */

/* clang-format off */
#define NLM_TRANSFORMER_KEYS                                                                           \
    NLM_INT("context_length", "max_position_embeddings", n_ctx_train, 1, 1 << 28, NLM_REQUIRED),       \
    NLM_INT("embedding_length", "hidden_size", n_embd, 1, 1 << 20, NLM_REQUIRED),                      \
    NLM_INT("block_count", "num_hidden_layers", n_layer, 1, 1 << 12, NLM_REQUIRED),                    \
    NLM_INT_BY_LAYER("feed_forward_length", "intermediate_size", n_ff, 1, 1 << 22, NLM_REQUIRED),      \
    NLM_INT_BY_LAYER("attention.head_count", "num_attention_heads", n_head, 1, 1 << 14, NLM_REQUIRED), \
    NLM_INT_BY_LAYER("attention.head_count_kv", "num_key_value_heads", n_head_kv, 1, 1 << 14, 0),      \
    NLM_INT("attention.key_length", "head_dim", head_dim, 1, 1 << 14, 0),                              \
    NLM_INT_BY_LAYER("attention.sliding_window", NULL, sliding_window, 0, 1 << 28, 0),                 \
    NLM_INT("rope.dimension_count", NULL, n_rot, 2, 1 << 14, 0),                                       \
    NLM_FLOAT("attention.layer_norm_rms_epsilon", "rms_norm_eps", rms_norm_eps, 0, 1, NLM_REQUIRED),   \
    NLM_FLOAT("rope.freq_base", "rope_theta", rope_freq_base, 0, 1e15, 10000)

#define NLM_TRANSFORMER_REFUSED                                        \
    {"expert_count", 0, "a mixture of experts"},                       \
    {"expert_used_count", 0, "a mixture of experts"},                  \
    {"attn_logit_softcapping", 0, "soft-capped attention scores"},     \
    {"final_logit_softcapping", 0, "soft-capped logits"},              \
    {"attention.causal", 1, "attention to later tokens"},              \
    {"attention.max_alibi_bias", 0, "ALiBi positions"},                \
    {"attention.clamp_kqv", 0, "clamped queries, keys and values"},    \
    {"rope.scaling.attn_factor", 1, "attention scaled by position"},   \
    {"rope.scaling.yarn_log_multiplier", 0, "YaRN positions"},         \
    {"use_parallel_residual", 0, "attention and feed-forward side by side"}, \
    {"pooling_type", 0, "pooled embeddings instead of logits"}

/* Those of Granite, refused by the others. */
#define NLM_TRANSFORMER_NO_SCALES                               \
    {"attention.scale", 0, "another attention scale"},          \
    {"embedding_scale", 1, "scaled embeddings"},                \
    {"residual_scale", 1, "scaled residuals"},                  \
    {"logit_scale", 1, "scaled logits"}
/* clang-format on */

/* Heads and their sizes, the windows of layers, the scaling of positions; after the keys above. */
nlm_status nlm_transformer_derive(const nlm_keys *keys, nlm_hparams *out, nlm_error *err);

/* ---- weights ------------------------------------------------------------------------------ */

int64_t nlm_size_vocab(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_embd(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_q(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_kv(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_head(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_ff(const nlm_hparams *h, int32_t layer);
int64_t nlm_size_rope_pairs(const nlm_hparams *h, int32_t layer);

enum {
    NLM_VECTOR = NLM_WEIGHT_F32_ONLY,
    NLM_BIAS = NLM_WEIGHT_F32_ONLY | NLM_WEIGHT_OPTIONAL,
    NLM_CONSTANT = NLM_BIAS | NLM_WEIGHT_CONSTANT,
};

/* X(id, name, hf_name, rows, cols, flags); a family's own table goes on from NLM_TRANSFORMER_N_WEIGHTS. */
#define NLM_TRANSFORMER_WEIGHTS(X)                                                                                \
    X(TOKEN_EMBD, "token_embd.weight", "model.embed_tokens.weight", nlm_size_vocab, nlm_size_embd, 0)             \
    X(OUTPUT_NORM, "output_norm.weight", "model.norm.weight", NULL, nlm_size_embd, NLM_VECTOR)                    \
    X(OUTPUT, "output.weight", "lm_head.weight", nlm_size_vocab, nlm_size_embd, NLM_WEIGHT_OPTIONAL)              \
    X(ROPE_FREQS, "rope_freqs.weight", NULL, NULL, nlm_size_rope_pairs, NLM_CONSTANT)                             \
    X(ATTN_NORM, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, nlm_size_embd,        \
      NLM_VECTOR)                                                                                                 \
    X(ATTN_Q, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", nlm_size_q, nlm_size_embd,       \
      NLM_WEIGHT_HF_ROPE)                                                                                         \
    X(ATTN_K, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", nlm_size_kv, nlm_size_embd,      \
      NLM_WEIGHT_HF_ROPE)                                                                                         \
    X(ATTN_V, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", nlm_size_kv, nlm_size_embd, 0)   \
    X(ATTN_OUTPUT, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", nlm_size_embd,         \
      nlm_size_q, 0)                                                                                              \
    X(FFN_NORM, "blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NULL, nlm_size_embd, \
      NLM_VECTOR)                                                                                                 \
    X(FFN_GATE, "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", nlm_size_ff, nlm_size_embd, 0)  \
    X(FFN_UP, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", nlm_size_ff, nlm_size_embd, 0)        \
    X(FFN_DOWN, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", nlm_size_embd, nlm_size_ff, 0)  \
    X(ATTN_Q_BIAS, "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", NULL, nlm_size_q,               \
      NLM_BIAS | NLM_WEIGHT_HF_ROPE)                                                                              \
    X(ATTN_K_BIAS, "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", NULL, nlm_size_kv,              \
      NLM_BIAS | NLM_WEIGHT_HF_ROPE)                                                                              \
    X(ATTN_V_BIAS, "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", NULL, nlm_size_kv, NLM_BIAS)    \
    X(ATTN_OUTPUT_BIAS, "blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias", NULL, nlm_size_embd,  \
      NLM_BIAS)                                                                                                   \
    X(FFN_GATE_BIAS, "blk.%d.ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias", NULL, nlm_size_ff, NLM_BIAS)   \
    X(FFN_UP_BIAS, "blk.%d.ffn_up.bias", "model.layers.%d.mlp.up_proj.bias", NULL, nlm_size_ff, NLM_BIAS)         \
    X(FFN_DOWN_BIAS, "blk.%d.ffn_down.bias", "model.layers.%d.mlp.down_proj.bias", NULL, nlm_size_embd, NLM_BIAS)

enum { NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_ID) NLM_TRANSFORMER_N_WEIGHTS };

/* ---- states ------------------------------------------------------------------------------- */

enum { NLM_S_K, NLM_S_V };

/* [heads, head_dim] of a layer's keys or values; a layer without heads has none. */
int nlm_kv_shape(const nlm_hparams *h, int32_t layer, int64_t out[3]);

#define NLM_TRANSFORMER_STATES                                                                                   \
    [NLM_S_K] = {"k_cache", NLM_STATE_PAGED, NLM_STATE_KV_DTYPE, nlm_kv_shape}, [NLM_S_V] = {"v_cache",          \
                                                                                             NLM_STATE_PAGED,    \
                                                                                             NLM_STATE_KV_DTYPE, \
                                                                                             nlm_kv_shape}

/* ---- graph -------------------------------------------------------------------------------- */

/* The layer's queries, keys and values of x, [n_tokens, heads, head_dim]. */
typedef struct nlm_qkv {
    nlm_value q, k, v;
} nlm_qkv;

nlm_qkv nlm_build_qkv(const nlm_builder *b, nlm_value x);
/* Turns [n_tokens, heads, head_dim] by the tokens' positions. */
nlm_value nlm_build_rope(const nlm_builder *b, nlm_value x);
/* Appends k and v to the layer's cache; what q finds there, [n_tokens, heads * head_dim]. */
nlm_value nlm_build_attention(const nlm_builder *b, const nlm_qkv *qkv);
/* The layer's feed-forward net of x, which is normed, plus the residual. */
nlm_value nlm_build_swiglu(const nlm_builder *b, nlm_value x, nlm_value residual);

#endif
