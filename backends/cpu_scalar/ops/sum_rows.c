/* The gradient by a row that stands for all, the reference. */
#include "scalar.h"

/* y[n] = sum_r a[r,n] (b[r,n]), in the order of r; slices columns. */
nlm_status nlm_scalar_sum_rows(const nlm_exec_v1 *x, const nlm_sum_rows_args *args) {
    const int64_t rows = nlm_live_rows(x, args->a);
    const nlm_kit_range columns = nlm_kit_slice(x, args->a->shape[1], 16);
    float *y = args->y->data;
    for (int64_t c = columns.from; c < columns.to && !(args->flags & NLM_GRADIENT_ADD); c++) y[c] = 0;
    for (int64_t r = 0; r < rows; r++) {
        const float *a = nlm_kit_at(args->a, r), *b = args->b ? nlm_kit_at(args->b, r) : NULL;
        for (int64_t c = columns.from; c < columns.to; c++) y[c] += b ? a[c] * b[c] : a[c];
    }
    return NLM_OK;
}
