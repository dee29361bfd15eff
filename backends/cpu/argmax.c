/* The greatest element of each row, the same code for every CPU backend. */
#include "cpu/plain.h"

#include <stdbool.h>
#include <string.h>

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

/* An exponent of all ones is an infinity or a NaN. */
static bool is_finite_row(const float *x, int64_t n) {
    uint32_t has_other = 0;
    for (int64_t c = 0; c < n; c++) {
        uint32_t bits;
        memcpy(&bits, &x[c], sizeof bits);
        has_other |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return has_other == 0;
}

/* Slices rows. */
nlm_status nlm_cpu_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args) {
    int32_t *y = args->y->data;
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    const int64_t n = args->x->shape[1];
    for (int64_t r = rows.from; r < rows.to; r++) {
        const float *row = nlm_kit_at(args->x, r);
        const bool has_greatest = !(args->flags & NLM_ARGMAX_FINITE) || is_finite_row(row, n);
        y[r] = has_greatest ? argmax_row(row, n) : -1;
    }
    return NLM_OK;
}
