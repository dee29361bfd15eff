/* The gradients of a product by its weight and its bias. */
#include "cpu/vector/product.h"
#include "cpu/vector/vector.h"

void nlm_vector_matmul_dw_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const nlm_product_size size = {nlm_dim(dims, 'N'), nlm_dim(dims, 'K'), nlm_dim(dims, 'M'),
                                   nlm_vector_product_shares_b(nlm_dim(dims, 'N'), nlm_dim(dims, 'K'))};
    out->workspace_bytes = nlm_vector_product_workspace(&size);
    out->scratch_bytes = nlm_vector_product_scratch(&size);
}

/* dw (+)= dy^T x and db (+)= the sum of dy's rows, in the order of rows; slices the wider side. */
nlm_status nlm_vector_matmul_dw(const nlm_exec_v1 *x, const nlm_matmul_dw_args *args) {
    const int32_t adds = (args->flags & NLM_GRADIENT_ADD) != 0;
    nlm_product p = {.exec = x,
                     .size = {args->dw->shape[0], args->dw->shape[1], nlm_live_rows(x, args->dy),
                              nlm_vector_product_shares_b(args->dw->shape[0], args->dw->shape[1])},
                     .a = {*args->dy, 1},
                     .b = {*args->x, 1},
                     .sums = args->db ? args->db->data : NULL,
                     .adds_sums = adds,
                     .workspace = x->workspace};
    nlm_vector_product_into(&p, args->dw, NULL, adds ? args->dw : NULL);
    return nlm_vector_product(&p);
}
