/* The gate of a feed-forward block, element by element. */
#include "elementwise.h"

nlm_status nlm_cuda_silu_mul(const nlm_exec_v1 *x, const nlm_silu_mul_args *args) {
    const nlm_tensor *const tensors[] = {args->gate, args->up, args->y, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_silu_mul, args, "silu_mul", "silu_mul_unaligned", tensors);
}
