/* SmolLM3 ("smollm3"): a Llama without positions in every fourth layer.
 * Source: Bakouch et al. 2025, "SmolLM3: smol, multilingual, long-context reasoner"; Yang et al. 2025 (NoPE
 * beside RoPE); names of keys and tensors: the GGUF specification. */
#include "model/transformer.h"

/* No key says so: files of this architecture have it. */
enum { NO_ROPE_STEP = 4 };

static const nlm_key keys[] = {NLM_TRANSFORMER_KEYS, {0}};

static const nlm_key_refused refused[] = {NLM_TRANSFORMER_REFUSED, NLM_TRANSFORMER_NO_SCALES, {0}};

static const nlm_weight_spec weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE){0}};

static const nlm_state_spec states[] = {NLM_TRANSFORMER_STATES, {0}};

static nlm_value attention_block(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    if ((b->layer + 1) % NO_ROPE_STEP != 0) {
        qkv.q = nlm_build_rope(b, qkv.q);
        qkv.k = nlm_build_rope(b, qkv.k);
    }
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

static const char *const architectures[] = {"smollm3", NULL};

const nlm_model_family nlm_family_smollm3 = {
    .name = "smollm3",
    .architectures = architectures,
    .keys = keys,
    .refused = refused,
    .weights = weights,
    .states = states,
    .derive = nlm_transformer_derive,
    .build = build,
    .is_trained = true,
};
