/* The gradient of a product by what was multiplied. */
#include "cpu/vector/product.h"
#include "cpu/vector/vector.h"

void nlm_vector_matmul_dx_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const nlm_product_size size = {nlm_dim(dims, 'M'), nlm_dim(dims, 'K'), nlm_dim(dims, 'N'),
                                   nlm_vector_product_shares_b(nlm_dim(dims, 'M'), nlm_dim(dims, 'K'))};
    out->workspace_bytes = nlm_vector_product_workspace(&size);
    out->scratch_bytes = nlm_vector_product_scratch(&size);
}

/* dx = dy w (+ residual), in the order of w's rows; slices the wider side. */
nlm_status nlm_vector_matmul_dx(const nlm_exec_v1 *x, const nlm_matmul_dx_args *args) {
    nlm_product p = {.exec = x,
                     .size = {nlm_live_rows(x, args->dy), args->w->shape[1], args->w->shape[0],
                              nlm_vector_product_shares_b(args->dy->shape[0], args->w->shape[1])},
                     .a = {*args->dy, 0},
                     .b = {*args->w, 1},
                     .workspace = x->workspace};
    nlm_vector_product_into(&p, args->dx, NULL, args->residual);
    return nlm_vector_product(&p);
}
