/* The gradients of the gate of a feed-forward block, the reference. */
#include "scalar.h"
#include "silu.h"

/* dgate = dy up silu'(gate); dup = dy silu(gate); slices elements. */
nlm_status nlm_scalar_silu_mul_bwd(const nlm_exec_v1 *x, const nlm_silu_mul_bwd_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->gate);
    while (nlm_kit_cells_next(&cells)) {
        const float *gates = nlm_kit_at(args->gate, cells.row), *ups = nlm_kit_at(args->up, cells.row);
        const float *dy = nlm_kit_at(args->dy, cells.row);
        float *dgate = nlm_kit_at(args->dgate, cells.row), *dup = nlm_kit_at(args->dup, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) {
            const float gate = gates[c], up = ups[c];
            dgate[c] = dy[c] * up * nlm_scalar_silu_slope(gate);
            dup[c] = dy[c] * nlm_scalar_silu(gate);
        }
    }
    return NLM_OK;
}
