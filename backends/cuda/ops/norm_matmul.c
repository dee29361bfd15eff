/* The product of normed rows. */
#include "products.h"

nlm_status nlm_cuda_norm_matmul(const nlm_exec_v1 *x, const nlm_norm_matmul_args *args) {
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
