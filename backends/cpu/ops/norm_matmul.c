/* A product of normed rows, which are computed once into the workspace. */
#include "cpu/vector/vector.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)

static uint64_t normed_bytes(int64_t tokens, int64_t columns) {
    return ROUND_UP((uint64_t)(tokens * columns) * sizeof(float));
}

void nlm_vector_norm_rows_needs(int64_t tokens, int64_t columns, nlm_caps_v1 *out) {
    out->scratch_bytes += normed_bytes(MATMUL_GEMM_TOKENS - 1, columns);
    out->workspace_bytes += normed_bytes(tokens, columns);
}

/* Few rows are normalised by every worker for itself, into its scratch; many in slices, into the workspace.
 * What the product needs follows. */
nlm_status nlm_vector_norm_rows(const nlm_exec_v1 *x, const nlm_tensor *rows, const float *w, float eps,
                                nlm_exec_v1 *out_rest, nlm_tensor *out_normed) {
    const int64_t tokens = nlm_live_rows(x, rows), columns = rows->shape[1];
    const int is_few = tokens < MATMUL_GEMM_TOKENS;
    const uint64_t bytes = normed_bytes(is_few ? MATMUL_GEMM_TOKENS - 1 : rows->shape[0], columns);
    float *normed = is_few ? x->scratch : x->workspace;
    const nlm_kit_range mine = is_few ? (nlm_kit_range){0, tokens} : nlm_kit_slice(x, tokens, 1);
    for (int64_t r = mine.from; r < mine.to; r++)
        nlm_vector_norm_row(nlm_kit_at(rows, r), w, eps, columns, normed + r * columns);
    *out_normed = nlm_cpu_matrix(rows, normed, columns);
    *out_rest = nlm_kit_exec(x);
    if (is_few) {
        out_rest->scratch = (char *)x->scratch + bytes;
        return NLM_OK;
    }
    out_rest->workspace = (char *)x->workspace + bytes;
    return x->barrier(x);
}

void nlm_vector_norm_matmul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    nlm_vector_matmul_needs(self, dims, nth, out);
    nlm_vector_norm_rows_needs(nlm_dim(dims, 'M'), nlm_dim(dims, 'K'), out);
}

nlm_status nlm_vector_norm_matmul(const nlm_exec_v1 *x, const nlm_norm_matmul_args *args) {
    nlm_exec_v1 rest;
    nlm_tensor normed;
    NLM_KIT_TRY(nlm_vector_norm_rows(x, args->x, args->norm_w->data, args->eps, &rest, &normed));
    const nlm_matmul_args matmul = {sizeof matmul, 0, &normed, args->w, args->bias, NULL, args->y};
    return nlm_vector_matmul(&rest, &matmul);
}
