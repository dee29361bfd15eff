/* What the files of the scalar backend share. */
#ifndef NLM_SCALAR_H
#define NLM_SCALAR_H

#include "cpu/view.h"

/* The ops of this backend: X(op, the flags it knows, what it needs besides its tensors). The slot of each is
 * nlm_scalar_<op>, in ops/<op>.c. */
#define SCALAR_OPS(X)                                                                            \
    X(embed, 0, NULL)                                                                            \
    X(matmul, 0, nlm_scalar_matmul_needs)                                                        \
    X(rms_norm, 0, NULL)                                                                         \
    X(rope, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, nlm_scalar_rope_needs)                       \
    X(kv_append, 0, NULL)                                                                        \
    X(attention, 0, nlm_scalar_attention_needs)                                                  \
    X(silu_mul, 0, NULL)                                                                         \
    X(add, 0, NULL)                                                                              \
    X(mul, 0, NULL)                                                                              \
    X(scale, 0, NULL)                                                                            \
    X(softmax, 0, NULL)                                                                          \
    X(conv1d_causal, NLM_CONV_SILU, NULL)                                                        \
    X(ssm_scan, 0, NULL)                                                                         \
    X(copy, 0, NULL)                                                                             \
    X(argmax, NLM_ARGMAX_FINITE, NULL)                                                           \
    X(gate_up_silu_mul, 0, nlm_scalar_gate_up_silu_mul_needs)                                    \
    X(qkv_rope_append, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, nlm_scalar_qkv_rope_append_needs) \
    X(norm_matmul, 0, nlm_scalar_norm_matmul_needs)                                              \
    X(norm_xz_conv, NLM_CONV_SILU, nlm_scalar_norm_xz_conv_needs)                                \
    X(dt_bc_scan, 0, nlm_scalar_dt_bc_scan_needs)                                                \
    X(attention_plain, 0, NULL)                                                                  \
    X(matmul_dx, 0, nlm_scalar_matmul_dx_needs)                                                  \
    X(matmul_dw, NLM_GRADIENT_ADD, NULL)                                                         \
    X(rms_norm_bwd, NLM_GRADIENT_ADD, nlm_scalar_rms_norm_bwd_needs)                             \
    X(silu_mul_bwd, 0, NULL)                                                                     \
    X(attention_plain_bwd, 0, nlm_scalar_attention_plain_bwd_needs)                              \
    X(conv1d_causal_bwd, NLM_CONV_SILU | NLM_GRADIENT_ADD, NULL)                                 \
    X(ssm_scan_bwd, NLM_GRADIENT_ADD, nlm_scalar_ssm_scan_bwd_needs)                             \
    X(embed_bwd, 0, NULL)                                                                        \
    X(cross_entropy, NLM_GRADIENT_ADD, nlm_scalar_cross_entropy_needs)                           \
    X(sum_sq, NLM_GRADIENT_ADD, nlm_scalar_sum_sq_needs)                                         \
    X(adamw, 0, NULL)                                                                            \
    X(exp, 0, NULL)                                                                              \
    X(accumulate, 0, NULL)                                                                       \
    X(sum_rows, NLM_GRADIENT_ADD, NULL)                                                          \
    X(sample, 0, nlm_scalar_sample_needs)                                                        \
    X(advance, 0, NULL)

#define SCALAR_DECLARE(op, flags, needs)                                           \
    nlm_status nlm_scalar_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args); \
    void nlm_scalar_##op##_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out);
SCALAR_OPS(SCALAR_DECLARE)
#undef SCALAR_DECLARE

/* Scratch bytes of a matmul over rows of so many columns. */
uint64_t nlm_scalar_matmul_scratch(int64_t columns);

#endif
