/* SmolLM3 ("smollm3"): a Llama without positions in every fourth layer.
 * Source: Bakouch et al. 2025, "SmolLM3: smol, multilingual, long-context reasoner"; Yang et al. 2025 (NoPE
 * beside RoPE); names of keys and tensors: the GGUF specification. */
#include <cJSON.h>

#include "base/status.h"
#include "model/hf.h"
#include "model/transformer.h"

/* No key says so: files of this architecture have it. */
enum { NO_ROPE_STEP = 4 };

static const nlm_key keys[] = {NLM_TRANSFORMER_KEYS, {0}};

static const nlm_key_refused refused[] = {NLM_TRANSFORMER_REFUSED, NLM_TRANSFORMER_NO_SCALES, {0}};

static const nlm_weight_spec weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE){0}};

static const nlm_state_spec states[] = {NLM_TRANSFORMER_STATES, {0}};

static bool has_positions(int32_t layer) {
    return (layer + 1) % NO_ROPE_STEP != 0;
}

static nlm_value attention_block(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    if (has_positions(b->layer)) {
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

/* ---- config.json -------------------------------------------------------------------------- */

/* Which layers have positions: a list of 1 and 0, or the step by which they are made. */
static nlm_status import(nlm_hf_config *config, nlm_error *err) {
    const cJSON *list, *step;
    NLM_TRY(nlm_hf_member(config, "no_rope_layers", &list, err));
    NLM_TRY(nlm_hf_member(config, "no_rope_layer_interval", &step, err));
    int32_t layer = 0;
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (cJSON_IsNumber(item) && (item->valuedouble != 0) == has_positions(layer++)) continue;
        return nlm_hf_fail(config, err, NLM_UNSUPPORTED, "no_rope_layers",
                           "is not 0 for every layer of %d and 1 for the others", NO_ROPE_STEP);
    }
    if (!list && step && !(cJSON_IsNumber(step) && step->valuedouble == NO_ROPE_STEP)) {
        return nlm_hf_fail(config, err, NLM_UNSUPPORTED, "no_rope_layer_interval", "is not %d", NO_ROPE_STEP);
    }
    return nlm_transformer_import(config, err);
}

static nlm_status export(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err) {
    nlm_hf_put(out, "no_rope_layer_interval", "%d", NO_ROPE_STEP);
    nlm_hf_put(out, "use_sliding_window", "false");
    return nlm_transformer_export(model, kind, out, err);
}

static const nlm_hf_class hf_classes[] = {
    {"SmolLM3ForCausalLM", "smollm3", "smollm3", false},
    {0},
};

static const nlm_key_refused hf_refused[] = {NLM_TRANSFORMER_HF_REFUSED, {0}};

static const nlm_hf hf = {hf_classes, hf_refused, import, export};

static const char *const architectures[] = {"smollm3", NULL};

const nlm_model_family nlm_family_smollm3 = {
    .name = "smollm3",
    .architectures = architectures,
    .hf = &hf,
    .keys = keys,
    .refused = refused,
    .weights = weights,
    .states = states,
    .derive = nlm_transformer_derive,
    .build = build,
    .is_trained = true,
};
