/* Qwen3 ("qwen3"): a Llama whose queries and keys are RMS-normed head by head before RoPE.
 * Source: Yang et al. 2025, "Qwen3 Technical Report"; names of keys and tensors: the GGUF specification. */
#include "model/hf.h"
#include "model/transformer.h"

static const nlm_key keys[] = {NLM_TRANSFORMER_KEYS, {0}};

static const nlm_key_refused refused[] = {NLM_TRANSFORMER_REFUSED, NLM_TRANSFORMER_NO_SCALES, {0}};

static nlm_status derive(const nlm_keys *read, nlm_hparams *out, nlm_error *err) {
    out->is_rope_half_split = true;
    return nlm_transformer_derive(read, out, err);
}

/* X(id, name, hf_name, rows, cols, flags) */
#define WEIGHTS(X)                                                                                              \
    X(ATTN_Q_NORM, "blk.%d.attn_q_norm.weight", "model.layers.%d.self_attn.q_norm.weight", NULL, nlm_size_head, \
      NLM_VECTOR)                                                                                               \
    X(ATTN_K_NORM, "blk.%d.attn_k_norm.weight", "model.layers.%d.self_attn.k_norm.weight", NULL, nlm_size_head, \
      NLM_VECTOR)

enum { W_LAST_SHARED = NLM_TRANSFORMER_N_WEIGHTS - 1, WEIGHTS(NLM_WEIGHT_ID) };

static const nlm_weight_spec weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE) WEIGHTS(NLM_WEIGHT_LINE){0}};

static const nlm_state_spec states[] = {NLM_TRANSFORMER_STATES, {0}};

static nlm_value attention_block(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    qkv.q = nlm_build_rope(b, nlm_build_norm(b, qkv.q, W_ATTN_Q_NORM));
    qkv.k = nlm_build_rope(b, nlm_build_norm(b, qkv.k, W_ATTN_K_NORM));
    return nlm_build_linear(b, nlm_build_attention(b, &qkv), W_ATTN_OUTPUT, W_ATTN_OUTPUT_BIAS, x);
}

static nlm_value build(nlm_builder *b) {
    nlm_value x = nlm_build_embed(b, W_TOKEN_EMBD);
    for (int32_t i = 0; i < b->h->n_layer; i++) {
        nlm_build_layer(b, i);
        x = attention_block(b, x);
        x = nlm_build_swiglu(b, nlm_build_norm(b, x, W_FFN_NORM), x);
    }
    nlm_build_layer(b, -1);
    return nlm_build_head(b, x, W_OUTPUT_NORM, W_OUTPUT, NLM_NO_WEIGHT, W_TOKEN_EMBD);
}

static const nlm_hf_class hf_classes[] = {
    {"Qwen3ForCausalLM", "qwen3", "qwen3", false},
    {0},
};

static const nlm_key_refused hf_refused[] = {NLM_TRANSFORMER_HF_REFUSED, {0}};

static const nlm_hf hf = {hf_classes, hf_refused, nlm_transformer_import, nlm_transformer_export};

static const char *const architectures[] = {"qwen3", NULL};

const nlm_model_family nlm_family_qwen3 = {
    .name = "qwen3",
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
