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

/* Slices rows. */
nlm_status nlm_scalar_rms_norm(const nlm_exec_v1 *x, const nlm_rms_norm_args *args) {
    const float *w = args->w ? args->w->data : NULL;
    const nlm_cpu_range rows = nlm_cpu_slice(x, nlm_live_rows(x, args->x), 1);
    for (int64_t r = rows.from; r < rows.to; r++) {
        norm_row(nlm_cpu_at(args->x, r), args->residual ? nlm_cpu_at(args->residual, r) : NULL, w, args->eps,
                 args->x->shape[1], nlm_cpu_at(args->y, r), args->sum ? nlm_cpu_at(args->sum, r) : NULL);
    }
    return NLM_OK;
}
