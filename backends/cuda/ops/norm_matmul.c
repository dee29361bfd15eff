/* The product of normed rows. */
#include "dense.h"
#include "products.h"

nlm_status nlm_cuda_norm_matmul(const nlm_exec_v1 *x, const nlm_norm_matmul_args *args) {
    nlm_cuda_dense dense;
    bool is_dense;
    NLM_KIT_TRY(nlm_cuda_dense_find(x, args->x, args->w, 1, &dense, &is_dense));
    if (is_dense) {
        const nlm_matmul_args rest = {sizeof rest, 0, args->x, args->w, args->bias, NULL, args->y};
        NLM_KIT_TRY(nlm_cuda_dense_rows(x, &dense, args->x, args->norm_w, args->eps));
        return nlm_cuda_dense_matmul(x, &dense, &rest);
    }
    const nlm_cuda_product_of product = {
        .op = NLM_OP_norm_matmul,
        .args = args,
        .x = args->x,
        .w = args->w,
        .n = args->w->shape[0],
        .source = "norm_matmul",
        .few = "norm_matmul_few",
        .many = "norm_matmul_many",
    };
    const nlm_cuda_work work = nlm_cuda_product(x, &product);
    return nlm_cuda_launch(x, &work);
}
