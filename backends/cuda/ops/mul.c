/* Products of two tensors, element by element. */
#include "elementwise.h"

nlm_status nlm_cuda_mul(const nlm_exec_v1 *x, const nlm_mul_args *args) {
    const nlm_tensor *const tensors[] = {args->a, args->b, args->y, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_mul, args, "mul", "mul_unaligned", tensors);
}
