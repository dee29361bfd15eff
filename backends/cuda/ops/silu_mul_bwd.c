/* The gradients of the gate of a feed-forward block. */
#include "elementwise.h"

nlm_status nlm_cuda_silu_mul_bwd(const nlm_exec_v1 *x, const nlm_silu_mul_bwd_args *args) {
    const nlm_tensor *const tensors[] = {args->gate, args->up, args->dy, args->dgate, args->dup, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_silu_mul_bwd, args, "silu_mul_bwd", "silu_mul_bwd_unaligned", tensors);
}
