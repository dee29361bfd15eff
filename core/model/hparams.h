/* Hyper-parameters, named as GGUF and Hugging Face name them. */
#ifndef NLM_MODEL_HPARAMS_H
#define NLM_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nlm_hparams {
    int32_t n_vocab;
    int32_t n_layer;
    int32_t n_embd;
    int32_t n_ctx_train;
    float rms_norm_eps;
    /* attention; 0 in Mamba */
    int32_t n_head, n_head_kv, head_dim, n_ff;
    int32_t n_rot;
    float rope_freq_base, rope_freq_scale;
    bool is_rope_half_split;
    int32_t sliding_window; /* tokens, 0: none */
    /* state space; 0 in Llama */
    int32_t d_inner, d_state, d_conv, dt_rank;
    bool ssm_dt_b_c_rms; /* dt, B and C are RMS-normed without weights (Falcon Mamba) */
} nlm_hparams;

#endif
