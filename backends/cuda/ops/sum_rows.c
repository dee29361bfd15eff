/* The gradient by a row that stands for all. */
#include "columns.h"

void nlm_cuda_sum_rows_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = nlm_cuda_columns_bytes(nlm_dim(dims, 'R'), nlm_dim(dims, 'N'));
}

nlm_status nlm_cuda_sum_rows(const nlm_exec_v1 *x, const nlm_sum_rows_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_sum_rows,
        .args = args,
        .kernel = {"sum_rows", NULL, {{"ACT", nlm_cuda_type_name(args->a), 0}}},
    };
    return nlm_cuda_sum_columns(x, work, "sum_rows", "sum_rows_join", args->a->shape[0], args->a->shape[1]);
}
