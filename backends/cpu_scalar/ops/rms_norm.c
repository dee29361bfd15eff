/* Rows divided by the root of their mean square, the reference. */
#include <math.h>

#include "scalar.h"

/* s = x (+ residual); y = s * w / sqrt(mean(s^2) + eps). `sum` may be x or residual and y may be x: s is
 * read back from `sum` once that is written. */
static void norm_row(const float *x, const float *residual, const float *w, float eps, int64_t n, float *y,
                     float *sum) {
    double squares = 0;
    for (int64_t c = 0; c < n; c++) {
        const float s = residual ? x[c] + residual[c] : x[c];
        if (sum) sum[c] = s;
        squares += (double)s * s;
    }
    const float factor = (float)(1 / sqrt(squares / (double)n + (double)eps));
    for (int64_t c = 0; c < n; c++) {
        const float s = sum ? sum[c] : residual ? x[c] + residual[c] : x[c];
        y[c] = s * factor * (w ? w[c] : 1);
    }
}

/* Slices rows, and the heads of a row if there are any. */
nlm_status nlm_scalar_rms_norm(const nlm_exec_v1 *x, const nlm_rms_norm_args *args) {
    const float *w = args->w ? args->w->data : NULL;
    const int64_t heads = args->x->rank == 3 ? args->x->shape[1] : 1;
    const int64_t n = args->x->shape[args->x->rank - 1];
    const nlm_kit_range parts = nlm_kit_slice(x, nlm_live_rows(x, args->x) * heads, 1);
    for (int64_t i = parts.from; i < parts.to; i++) {
        const int64_t r = i / heads, h = i % heads;
        norm_row(nlm_kit_at2(args->x, r, h), args->residual ? nlm_kit_at2(args->residual, r, h) : NULL, w, args->eps,
                 n, nlm_kit_at2(args->y, r, h), args->sum ? nlm_kit_at2(args->sum, r, h) : NULL);
    }
    return NLM_OK;
}
