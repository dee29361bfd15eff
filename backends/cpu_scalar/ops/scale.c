#include "scalar.h"

/* y = factor * x + offset; slices elements. */
nlm_status nlm_scalar_scale(const nlm_exec_v1 *x, const nlm_scale_args *args) {
    nlm_cpu_cells cells = nlm_cpu_cells_of(x, nlm_live_rows(x, args->x), args->x->shape[1]);
    while (nlm_cpu_cells_next(&cells)) {
        const float *from = nlm_cpu_at(args->x, cells.row);
        float *y = nlm_cpu_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = args->factor * from[c] + args->offset;
    }
    return NLM_OK;
}
