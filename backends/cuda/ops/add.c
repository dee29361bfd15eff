/* Sums of two tensors, element by element. */
#include "elementwise.h"

nlm_status nlm_cuda_add(const nlm_exec_v1 *x, const nlm_add_args *args) {
    const nlm_tensor *const tensors[] = {args->a, args->b, args->y, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_add, args, "add", "add_unaligned", tensors);
}
