/* The gate of a feed-forward block, the reference. */
#include "scalar.h"
#include "silu.h"

/* y = silu(gate) * up; slices elements. */
nlm_status nlm_scalar_silu_mul(const nlm_exec_v1 *x, const nlm_silu_mul_args *args) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->gate), args->gate->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *gate = nlm_kit_at(args->gate, cells.row), *up = nlm_kit_at(args->up, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = nlm_scalar_silu(gate[c]) * up[c];
    }
    return NLM_OK;
}
