/* What the files of the scalar backend share. */
#ifndef NLM_SCALAR_H
#define NLM_SCALAR_H

#include <nlm/plugin.h>
#include "cpu/check.h"
#include "cpu/fail.h"
#include "cpu/view.h"

/* Every op's slot: nlm_scalar_<op>, in ops/<op>.c. */
#define NLM_OP(number, name) nlm_status nlm_scalar_##name(const nlm_exec_v1 *x, const nlm_##name##_args *args);
#include <nlm/ops.def>
#undef NLM_OP

/* What an op needs besides its tensors, told from sizes nlm_cpu_check found. Fills workspace_bytes and
 * scratch_bytes. Ops not listed need nothing. */
void nlm_scalar_matmul_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_rope_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_attention_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_gate_up_silu_mul_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_qkv_rope_append_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_norm_matmul_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_norm_xz_conv_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);
void nlm_scalar_dt_bc_scan_needs(const nlm_cpu_dims *dims, uint32_t nth, nlm_caps_v1 *out);

/* Scratch bytes of a matmul over rows of so many columns. */
uint64_t nlm_scalar_matmul_scratch(int64_t columns);

#endif
