/* A gradient added to what other runs found. */
#include "elementwise.h"

nlm_status nlm_cuda_accumulate(const nlm_exec_v1 *x, const nlm_accumulate_args *args) {
    const nlm_tensor from = nlm_cuda_matrix(args->x), total = nlm_cuda_matrix(args->total);
    const nlm_accumulate_args matrices = {sizeof matrices, args->flags, &from, &total};
    const nlm_tensor *const tensors[] = {&from, &total, NULL};
    return nlm_cuda_elementwise(x, NLM_OP_accumulate, &matrices, "accumulate", "accumulate_unaligned", tensors);
}
