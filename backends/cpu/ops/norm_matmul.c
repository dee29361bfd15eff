#include "cpu/vector/vector.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)

static uint64_t normed_bytes(int64_t tokens, int64_t columns) {
    return ROUND_UP((uint64_t)(tokens * columns) * sizeof(float));
}

/* Few rows are normalised by every worker for itself, into its scratch; many in slices, into the workspace.
 * What the product needs follows. */
void nlm_vector_norm_matmul_needs(const nlm_vector_device *device, const nlm_cpu_dims *dims, uint32_t nth,
                                  nlm_caps_v1 *out) {
    const int64_t tokens = nlm_cpu_dim(dims, 'M'), columns = nlm_cpu_dim(dims, 'K');
    nlm_vector_matmul_needs(device, dims, nth, out);
    out->scratch_bytes += normed_bytes(MATMUL_GEMM_TOKENS - 1, columns);
    out->workspace_bytes += normed_bytes(tokens, columns);
}

nlm_status nlm_vector_norm_matmul(const nlm_exec_v1 *x, const nlm_norm_matmul_args *args) {
    const int64_t tokens = nlm_live_rows(x, args->x), columns = args->x->shape[1];
    const float *norm_w = args->norm_w->data;
    const int is_few = tokens < MATMUL_GEMM_TOKENS;
    const uint64_t bytes = normed_bytes(is_few ? MATMUL_GEMM_TOKENS - 1 : args->x->shape[0], columns);
    float *normed = is_few ? x->scratch : x->workspace;
    const nlm_cpu_range rows = is_few ? (nlm_cpu_range){0, tokens} : nlm_cpu_slice(x, tokens, 1);
    for (int64_t r = rows.from; r < rows.to; r++)
        nlm_vector_norm_row(nlm_cpu_at(args->x, r), norm_w, args->eps, columns, normed + r * columns);
    nlm_exec_v1 rest = *x;
    if (is_few) {
        rest.scratch = (char *)x->scratch + bytes;
    } else {
        rest.workspace = (char *)x->workspace + bytes;
        NLM_CPU_TRY(x->barrier(x));
    }
    nlm_tensor view = *args->x;
    view.data = normed;
    view.stride_bytes[0] = columns * (int64_t)sizeof(float);
    const nlm_matmul_args matmul = {sizeof matmul, 0, &view, args->w, args->bias, NULL, args->y};
    return nlm_vector_matmul(&rest, &matmul);
}
