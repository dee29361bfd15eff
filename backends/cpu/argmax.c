#include "cpu/plain.h"

#include "cpu/view.h"

/* NaN is greater than nothing; -1 if there is no number at all. */
static int32_t argmax_row(const float *x, int64_t n) {
    int64_t best = -1;
    for (int64_t c = 0; c < n; c++) {
        if (x[c] != x[c]) continue;
        if (best < 0 || x[c] > x[best]) best = c;
    }
    return (int32_t)best;
}

/* Slices rows. */
nlm_status nlm_cpu_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args) {
    int32_t *y = args->y->data;
    const nlm_cpu_range rows = nlm_cpu_slice(x, nlm_live_rows(x, args->x), 1);
    for (int64_t r = rows.from; r < rows.to; r++) y[r] = argmax_row(nlm_cpu_at(args->x, r), args->x->shape[1]);
    return NLM_OK;
}
