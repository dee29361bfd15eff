/* The exponential of every element. */
#include "elementwise.h"

nlm_status nlm_cuda_exp(const nlm_exec_v1 *x, const nlm_exp_args *args) {
    const nlm_tensor *const tensors[] = {args->x, args->y, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_exp, args, "exp_aligned", "exp_unaligned", tensors);
}
