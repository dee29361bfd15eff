/* A gradient added to what other runs found, the reference. */
#include "scalar.h"

/* total += x; slices elements. */
nlm_status nlm_scalar_accumulate(const nlm_exec_v1 *x, const nlm_accumulate_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->x);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *total = nlm_kit_at(args->total, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) total[c] += from[c];
    }
    return NLM_OK;
}
