/* The gated feed-forward block put together from the plain ops. */
#include "scalar.h"

void nlm_scalar_gate_up_silu_mul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    nlm_scalar_matmul_needs(self, dims, nth, out);
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'M') * nlm_dim(dims, 'N'));
}

/* The gate into the workspace, the other half into y, then their product. */
nlm_status nlm_scalar_gate_up_silu_mul(const nlm_exec_v1 *x, const nlm_gate_up_silu_mul_args *args) {
    nlm_tensor gate = *args->y;
    gate.data = x->workspace;
    gate.stride_bytes[0] = gate.shape[1] * (int64_t)sizeof(float);
    const nlm_matmul_args gate_args = {sizeof gate_args, 0, args->x, args->w_gate, NULL, NULL, &gate};
    const nlm_matmul_args up_args = {sizeof up_args, 0, args->x, args->w_up, NULL, NULL, args->y};
    const nlm_silu_mul_args mul_args = {sizeof mul_args, 0, &gate, args->y, args->y};
    NLM_KIT_TRY(nlm_scalar_matmul(x, &gate_args));
    NLM_KIT_TRY(nlm_scalar_matmul(x, &up_args));
    NLM_KIT_TRY(x->barrier(x));
    return nlm_scalar_silu_mul(x, &mul_args);
}
