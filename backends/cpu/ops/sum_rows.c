/* The gradient by a row that stands for all, in vectors. */
#include "cpu/vector/vector.h"

/* y[n] = sum_r a[r,n] (b[r,n]), in the order of r; slices columns. */
nlm_status nlm_vector_sum_rows(const nlm_exec_v1 *x, const nlm_sum_rows_args *args) {
    const int64_t rows = nlm_live_rows(x, args->a);
    const nlm_kit_range columns = nlm_kit_slice(x, args->a->shape[1], 16);
    float *y = args->y->data;
    if (!(args->flags & NLM_GRADIENT_ADD))
        memset(y + columns.from, 0, (size_t)(columns.to - columns.from) * sizeof *y);
    for (int64_t r = 0; r < rows; r++) {
        const float *a = nlm_kit_at(args->a, r), *b = args->b ? nlm_kit_at(args->b, r) : NULL;
        for (int64_t c = columns.from; c < columns.to; c += V_LANES) {
            const int n = (int)(columns.to - c < V_LANES ? columns.to - c : V_LANES);
            const vf sum = vf_load_n(y + c, n), value = vf_load_n(a + c, n);
            vf_store_n(y + c, b ? vf_fma(value, vf_load_n(b + c, n), sum) : vf_add(value, sum), n);
        }
    }
    return NLM_OK;
}
