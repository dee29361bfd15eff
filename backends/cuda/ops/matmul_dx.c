/* The gradient of a product by what was multiplied. */
#include "gemm.h"

nlm_status nlm_cuda_matmul_dx(const nlm_exec_v1 *x, const nlm_matmul_dx_args *args) {
    nlm_cuda_work work = {
        .op = NLM_OP_matmul_dx,
        .args = args,
        .kernel = {"matmul_dx",
                   "matmul_dx",
                   {{"ACT", nlm_cuda_type_name(args->dx), 0},
                    {"W", nlm_cuda_type_name(args->w), 0},
                    {"PACKED", NULL, args->w->layout != NLM_LAYOUT_ROW_MAJOR}}},
    };
    if (nlm_live_rows(x, args->dx) == 0) return NLM_OK;
    nlm_cuda_gemm(&work, x->device, args->dx->shape[0], args->dx->shape[1]);
    return nlm_cuda_launch(x, &work);
}
