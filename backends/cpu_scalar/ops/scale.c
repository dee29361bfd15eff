/* A factor and an offset for every element, the reference. */
#include "scalar.h"

/* y = factor * x + offset; slices elements. */
nlm_status nlm_scalar_scale(const nlm_exec_v1 *x, const nlm_scale_args *args) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->x), args->x->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = args->factor * from[c] + args->offset;
    }
    return NLM_OK;
}
