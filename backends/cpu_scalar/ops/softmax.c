/* Rows of weights that add up to one, the reference. */
#include <math.h>

#include "scalar.h"

static void softmax_row(const float *x, float factor, int64_t n, float *y) {
    float greatest = -INFINITY;
    for (int64_t c = 0; c < n; c++) greatest = fmaxf(greatest, factor * x[c]);
    double total = 0;
    for (int64_t c = 0; c < n; c++) {
        y[c] = greatest == -INFINITY ? 0 : expf(factor * x[c] - greatest);
        total += (double)y[c];
    }
    const float inverse = total > 0 ? (float)(1 / total) : 0;
    for (int64_t c = 0; c < n; c++) y[c] *= inverse;
}

/* Slices rows. */
nlm_status nlm_scalar_softmax(const nlm_exec_v1 *x, const nlm_softmax_args *args) {
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    for (int64_t r = rows.from; r < rows.to; r++) {
        softmax_row(nlm_kit_at(args->x, r), args->factor, args->x->shape[1], nlm_kit_at(args->y, r));
    }
    return NLM_OK;
}
