/* A factor and an offset for every element. */
#include "elementwise.h"

nlm_status nlm_cuda_scale(const nlm_exec_v1 *x, const nlm_scale_args *args) {
    const nlm_tensor *const tensors[] = {args->x, args->y, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_scale, args, "scale", "scale_unaligned", tensors);
}
