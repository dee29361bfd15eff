/* The gradients of the gate of a feed-forward block, in vectors. */
#include "cpu/vector/vector.h"

/* With t = exp(-gate) and s = 1 / (1 + t), silu' = s (1 + gate (1 - s)); 1 - s is t s, which keeps what is left of it
 * where s is near 1. */
static void slopes_of(vf gate, vf *silu, vf *slope) {
    const vf limited = vf_max(vf_min(gate, vf_set1(87.0f)), vf_set1(-87.0f));
    const vf t = vf_exp(vf_neg(limited)), s = vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), t));
    *silu = vf_mul(gate, s);
    *slope = vf_mul(s, vf_fma(gate, vf_mul(t, s), vf_set1(1.0f)));
}

/* dgate = dy up silu'(gate); dup = dy silu(gate); slices elements. */
nlm_status nlm_vector_silu_mul_bwd(const nlm_exec_v1 *x, const nlm_silu_mul_bwd_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->gate);
    while (nlm_kit_cells_next(&cells)) {
        const float *gates = nlm_kit_at(args->gate, cells.row), *ups = nlm_kit_at(args->up, cells.row);
        const float *dys = nlm_kit_at(args->dy, cells.row);
        float *dgate = nlm_kit_at(args->dgate, cells.row), *dup = nlm_kit_at(args->dup, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            const vf dy = vf_load_n(dys + c, n), up = vf_load_n(ups + c, n);
            vf silu, slope;
            slopes_of(vf_load_n(gates + c, n), &silu, &slope);
            vf_store_n(dgate + c, vf_mul(vf_mul(dy, up), slope), n);
            vf_store_n(dup + c, vf_mul(dy, silu), n);
        }
    }
    return NLM_OK;
}
