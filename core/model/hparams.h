/* Hyper-parameters, named as GGUF and Hugging Face name them. */
#ifndef NLM_MODEL_HPARAMS_H
#define NLM_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One that may differ from layer to layer. */
typedef struct nlm_by_layer {
    int32_t most;          /* the greatest of all layers */
    const int32_t *values; /* [n_layer], borrowed; NULL: `most` in each */
} nlm_by_layer;

static inline int32_t nlm_at_layer(nlm_by_layer value, int32_t layer) {
    return value.values ? value.values[layer] : value.most;
}

typedef struct nlm_hparams {
    int32_t n_vocab;
    int32_t n_layer;
    int32_t n_embd;
    int32_t n_input; /* of a row, where rows of numbers come in and not tokens; else 0 */
    int32_t n_ctx_train;
    float rms_norm_eps;
    /* attention; 0 in Mamba */
    nlm_by_layer n_head, n_head_kv, n_ff;
    int32_t head_dim, n_rot;
    float attention_scale; /* what q k is multiplied with */
    float rope_freq_base, rope_freq_scale;
    bool is_rope_half_split;
    nlm_by_layer sliding_window; /* tokens, 0: none */
    /* Granite: what embeddings and each block's result are multiplied with, logits divided by; else unused */
    float embedding_scale, residual_scale, logit_scale;
    /* state space; 0 in Llama */
    int32_t d_inner, d_state, d_conv, dt_rank;
    bool ssm_dt_b_c_rms; /* dt, B and C are RMS-normed without weights (Falcon Mamba) */
} nlm_hparams;

#endif
