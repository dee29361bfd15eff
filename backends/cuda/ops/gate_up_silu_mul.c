/* The gated feed-forward block. */
#include "dense.h"
#include "products.h"

nlm_status nlm_cuda_gate_up_silu_mul(const nlm_exec_v1 *x, const nlm_gate_up_silu_mul_args *args) {
    nlm_cuda_dense dense;
    bool is_dense = false;
    if (args->w_gate->layout == args->w_up->layout) {
        NLM_KIT_TRY(nlm_cuda_dense_find(x, args->x, args->w_up, 2, &dense, &is_dense));
    }
    if (is_dense) {
        NLM_KIT_TRY(nlm_cuda_dense_rows(x, &dense, args->x, NULL, 0));
        return nlm_cuda_dense_gate(x, &dense, args);
    }
    const nlm_cuda_product_of product = {
        .op = NLM_OP_gate_up_silu_mul,
        .args = args,
        .x = args->x,
        .w = args->w_up,
        .n = 2 * args->w_up->shape[0],
        .source = "gate_up_silu_mul",
        .few = "gate_up_silu_mul_few",
        .many = "gate_up_silu_mul_many",
    };
    const nlm_cuda_work work = nlm_cuda_product(x, &product);
    return nlm_cuda_launch(x, &work);
}
