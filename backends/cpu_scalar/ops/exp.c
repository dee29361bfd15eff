/* The exponential, the reference. */
#include <math.h>

#include "scalar.h"

/* y = factor exp(x); slices elements. */
nlm_status nlm_scalar_exp(const nlm_exec_v1 *x, const nlm_exp_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->x);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = args->factor * expf(from[c]);
    }
    return NLM_OK;
}
