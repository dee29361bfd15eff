/* The ops of this backend: X(op, the flags it knows, what it needs besides its tensors or NULL). The slot of each is
 * nlm_cuda_<op>, in ops/<op>.c; its kernels are in ops/<op>.cu. */
#ifndef NLM_CUDA_OPS_H
#define NLM_CUDA_OPS_H

#include <nlm/plugin_kit.h>

#define NLM_CUDA_OPS(X)                                                                        \
    X(embed, 0, NULL)                                                                          \
    X(matmul, 0, NULL)                                                                         \
    X(gate_up_silu_mul, 0, NULL)                                                               \
    X(norm_matmul, 0, NULL)                                                                    \
    X(qkv_rope_append, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, nlm_cuda_qkv_rope_append_needs) \
    X(rms_norm, 0, NULL)                                                                       \
    X(softmax, 0, NULL)                                                                        \
    X(copy, 0, NULL)                                                                           \
    X(argmax, NLM_ARGMAX_FINITE, nlm_cuda_argmax_needs)                                        \
    X(silu_mul, 0, NULL)                                                                       \
    X(add, 0, NULL)                                                                            \
    X(mul, 0, NULL)                                                                            \
    X(scale, 0, NULL)                                                                          \
    X(conv1d_causal, NLM_CONV_SILU, NULL)                                                      \
    X(rope, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, NULL)                                      \
    X(kv_append, 0, NULL)                                                                      \
    X(ssm_scan, 0, nlm_cuda_ssm_scan_needs)                                                    \
    X(norm_xz_conv, NLM_CONV_SILU, nlm_cuda_norm_xz_conv_needs)                                \
    X(dt_bc_scan, 0, nlm_cuda_dt_bc_scan_needs)                                                \
    X(attention, 0, nlm_cuda_attention_needs)                                                  \
    X(attention_plain, 0, NULL)                                                                \
    X(matmul_dx, 0, NULL)                                                                      \
    X(matmul_dw, NLM_GRADIENT_ADD, nlm_cuda_matmul_dw_needs)                                   \
    X(rms_norm_bwd, NLM_GRADIENT_ADD, nlm_cuda_rms_norm_bwd_needs)                             \
    X(silu_mul_bwd, 0, NULL)                                                                   \
    X(attention_plain_bwd, 0, nlm_cuda_attention_plain_bwd_needs)                              \
    X(conv1d_causal_bwd, NLM_CONV_SILU | NLM_GRADIENT_ADD, nlm_cuda_conv1d_causal_bwd_needs)   \
    X(ssm_scan_bwd, NLM_GRADIENT_ADD, nlm_cuda_ssm_scan_bwd_needs)                             \
    X(embed_bwd, 0, NULL)                                                                      \
    X(cross_entropy, NLM_GRADIENT_ADD, nlm_cuda_cross_entropy_needs)                           \
    X(sum_sq, NLM_GRADIENT_ADD, nlm_cuda_sum_sq_needs)                                         \
    X(adamw, 0, NULL)                                                                          \
    X(exp, 0, NULL)                                                                            \
    X(accumulate, 0, NULL)                                                                     \
    X(sum_rows, NLM_GRADIENT_ADD, nlm_cuda_sum_rows_needs)                                     \
    X(sample, 0, nlm_cuda_sample_needs)                                                        \
    X(advance, 0, NULL)

#define NLM_CUDA_DECLARE(op, flags, needs)                                       \
    nlm_status nlm_cuda_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args); \
    void nlm_cuda_##op##_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out);
NLM_CUDA_OPS(NLM_CUDA_DECLARE)
#undef NLM_CUDA_DECLARE

#endif
