/* Granite 3 ("granite"): a Llama whose embeddings, attention scores, blocks and logits have scales of their own.
 * Source: Granite Team, IBM 2024, "Granite 3.0 Language Models"; names of keys and tensors: the GGUF
 * specification. Of the converter's keys, logit_scale divides. */
#include "model/hf.h"
#include "model/transformer.h"

/* clang-format off */
static const nlm_key keys[] = {
    NLM_TRANSFORMER_KEYS,
    NLM_FLOAT("attention.scale", "attention_multiplier", attention_scale, 0, 1e6, 0), /* else that of other Llamas */
    NLM_FLOAT("embedding_scale", "embedding_multiplier", embedding_scale, 0, 1e6, 1),
    NLM_FLOAT("residual_scale", "residual_multiplier", residual_scale, 0, 1e6, 1),
    NLM_FLOAT("logit_scale", "logits_scaling", logit_scale, 0, 1e6, NLM_REQUIRED),
    {0}};

static const nlm_key_refused refused[] = {
    NLM_TRANSFORMER_REFUSED,
    {"rope.scaling.finetuned", 1, "attention without positions"},
    {0}};
/* clang-format on */

static const nlm_weight_spec weights[] = {NLM_TRANSFORMER_WEIGHTS(NLM_WEIGHT_LINE){0}};

static const nlm_state_spec states[] = {NLM_TRANSFORMER_STATES, {0}};

/* x + residual_scale y */
static nlm_value add_scaled(const nlm_builder *b, nlm_value x, nlm_value y) {
    return nlm_graph_add(b->graph, x, nlm_graph_scale(b->graph, y, b->h->residual_scale, 0));
}

static nlm_value attention_block(const nlm_builder *b, nlm_value x) {
    nlm_qkv qkv = nlm_build_qkv(b, nlm_build_norm(b, x, W_ATTN_NORM));
    qkv.q = nlm_build_rope(b, qkv.q);
    qkv.k = nlm_build_rope(b, qkv.k);
    const nlm_value y = nlm_build_attention(b, &qkv);
    return add_scaled(b, x, nlm_build_linear(b, y, W_ATTN_OUTPUT, W_ATTN_OUTPUT_BIAS, NLM_NO_VALUE));
}

static nlm_value build(nlm_builder *b) {
    const nlm_hparams *h = b->h;
    nlm_value x = nlm_graph_scale(b->graph, nlm_build_embed(b, W_TOKEN_EMBD), h->embedding_scale, 0);
    for (int32_t i = 0; i < h->n_layer; i++) {
        nlm_build_layer(b, i);
        x = attention_block(b, x);
        x = add_scaled(b, x, nlm_build_swiglu(b, nlm_build_norm(b, x, W_FFN_NORM), NLM_NO_VALUE));
    }
    nlm_build_layer(b, -1);
    const nlm_value logits = nlm_build_head(b, x, W_OUTPUT_NORM, W_OUTPUT, NLM_NO_WEIGHT, W_TOKEN_EMBD);
    return b->gives_hidden || b->training ? logits : nlm_graph_scale(b->graph, logits, 1 / h->logit_scale, 0);
}

static const nlm_hf_class hf_classes[] = {
    {"GraniteForCausalLM", "granite", "granite", false},
    {0},
};

static const nlm_key_refused hf_refused[] = {NLM_TRANSFORMER_HF_REFUSED, {0}};

static const nlm_hf hf = {hf_classes, hf_refused, nlm_transformer_import, nlm_transformer_export};

static const char *const architectures[] = {"granite", NULL};

const nlm_model_family nlm_family_granite = {
    .name = "granite",
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
