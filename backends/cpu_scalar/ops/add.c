/* Sums of two tensors, the reference. */
#include "scalar.h"

/* y = a + b, b a matrix or a row for all; slices elements. */
nlm_status nlm_scalar_add(const nlm_exec_v1 *x, const nlm_add_args *args) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->a), args->a->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *a = nlm_kit_at(args->a, cells.row);
        const float *b = nlm_kit_at(args->b, args->b->rank == 2 ? cells.row : 0);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = a[c] + b[c];
    }
    return NLM_OK;
}
