/* The product with a weight of any type. */
#include "dense.h"
#include "products.h"

nlm_status nlm_cuda_matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    nlm_cuda_dense dense;
    bool is_dense;
    NLM_KIT_TRY(nlm_cuda_dense_find(x, args->x, args->w, 1, &dense, &is_dense));
    if (is_dense) {
        NLM_KIT_TRY(nlm_cuda_dense_rows(x, &dense, args->x, NULL, 0));
        return nlm_cuda_dense_matmul(x, &dense, args);
    }
    const nlm_cuda_work work = nlm_cuda_product(x, &(nlm_cuda_product_of){
                                                       .op = NLM_OP_matmul,
                                                       .args = args,
                                                       .x = args->x,
                                                       .w = args->w,
                                                       .n = args->w->shape[0],
                                                       .source = "matmul",
                                                       .few = "matmul_few",
                                                       .many = "matmul_many",
                                                   });
    return nlm_cuda_launch(x, &work);
}
