/* Llama 1 to 3, Mistral, SmolLM2, TinyLlama ("llama"); Qwen2 ("qwen2").
 * Source: Touvron et al. 2023; names of keys and tensors: the GGUF specification. */
#include <stdio.h>
#include <string.h>
#include "base/status.h"
#include "model/hf.h"
#include "model/transformer.h"

static const nlm_key keys[] = {NLM_TRANSFORMER_KEYS, {0}};

static const nlm_key_refused refused[] = {NLM_TRANSFORMER_REFUSED, NLM_TRANSFORMER_NO_SCALES, {0}};

/* Qwen2's queries, keys and values have biases, which a Llama may have: without them it would compute another
 * model. */
static nlm_status check_biases(const nlm_keys *read, int32_t n_layer, nlm_error *err) {
    for (int32_t i = 0; i < n_layer; i++) {
        for (const char *which = "qkv"; *which; which++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.attn_%c.bias", i, *which);
            if (nlm_gguf_find_tensor(read->gguf, name)) continue;
            return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(read->gguf), "tensor '%s' is missing", name);
        }
    }
    return NLM_OK;
}

static nlm_status derive(const nlm_keys *read, nlm_hparams *out, nlm_error *err) {
    out->is_rope_half_split = strcmp(read->architecture, "qwen2") == 0;
    if (out->is_rope_half_split) NLM_TRY(check_biases(read, out->n_layer, err));
    return nlm_transformer_derive(read, out, err);
}

static const nlm_weight_spec weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE){0}};

static const nlm_state_spec states[] = {NLM_TRANSFORMER_STATES, {0}};

static nlm_value attention_block(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    qkv.q = nlm_build_rope(b, qkv.q);
    qkv.k = nlm_build_rope(b, qkv.k);
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
    {"LlamaForCausalLM", "llama", "llama", false},
    {"MistralForCausalLM", "mistral", "llama", true},
    {"Qwen2ForCausalLM", "qwen2", "qwen2", false},
    {0},
};

static const nlm_key_refused hf_refused[] = {NLM_TRANSFORMER_HF_REFUSED, {0}};

static const nlm_hf hf = {hf_classes, hf_refused, nlm_transformer_import, nlm_transformer_export};

static const char *const architectures[] = {"llama", "qwen2", NULL};

const nlm_model_family nlm_family_llama = {
    .name = "llama",
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
