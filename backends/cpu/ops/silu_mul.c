/* The gate of a feed-forward block, element by element. */
#include "cpu/vector/vector.h"

/* y = silu(gate) * up. Slices elements. */
nlm_status nlm_vector_silu_mul(const nlm_exec_v1 *x, const nlm_silu_mul_args *args) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->gate), args->gate->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *gate = nlm_kit_at(args->gate, cells.row), *up = nlm_kit_at(args->up, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            vf_store_n(y + c, vf_mul(vf_silu(vf_load_n(gate + c, n)), vf_load_n(up + c, n)), n);
        }
    }
    return NLM_OK;
}
