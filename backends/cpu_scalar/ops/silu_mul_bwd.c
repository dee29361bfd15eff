/* The gradients of the gate of a feed-forward block, the reference. */
#include <math.h>

#include "scalar.h"

/* With s = 1 / (1 + exp(-gate)): dgate = dy up s (1 + gate (1 - s)); dup = dy gate s. 1 - s is computed as the s of
 * -gate: the difference would lose what is left of it where s is near 1. Slices elements. */
nlm_status nlm_scalar_silu_mul_bwd(const nlm_exec_v1 *x, const nlm_silu_mul_bwd_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->gate);
    while (nlm_kit_cells_next(&cells)) {
        const float *gates = nlm_kit_at(args->gate, cells.row), *ups = nlm_kit_at(args->up, cells.row);
        const float *dy = nlm_kit_at(args->dy, cells.row);
        float *dgate = nlm_kit_at(args->dgate, cells.row), *dup = nlm_kit_at(args->dup, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) {
            const float gate = gates[c], up = ups[c], s = 1 / (1 + expf(-gate)), rest = 1 / (1 + expf(gate));
            dgate[c] = dy[c] * up * s * (1 + gate * rest);
            dup[c] = dy[c] * gate * s;
        }
    }
    return NLM_OK;
}
