/* The gradients of a product by weight and bias. */
#include "columns.h"
#include "gemm.h"

/* The parts of db. */
void nlm_cuda_matmul_dw_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = nlm_cuda_columns_bytes(nlm_dim(dims, 'M'), nlm_dim(dims, 'N'));
}

nlm_status nlm_cuda_matmul_dw(const nlm_exec_v1 *x, const nlm_matmul_dw_args *args) {
    const nlm_cuda_define act = {"ACT", nlm_cuda_type_name(args->x), 0};
    nlm_cuda_work work = {.op = NLM_OP_matmul_dw, .args = args, .kernel = {"matmul_dw", "matmul_dw", {act}}};
    const nlm_cuda_work of_bias = work;
    nlm_cuda_gemm(&work, x->device, args->dw->shape[0], args->dw->shape[1]);
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    if (!args->db) return NLM_OK;
    return nlm_cuda_sum_columns(x, of_bias, "matmul_dw_bias", "matmul_dw_join", args->dy->shape[0],
                                args->dy->shape[1]);
}
