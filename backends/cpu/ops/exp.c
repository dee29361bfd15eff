/* The exponential, in vectors. */
#include "cpu/vector/vector.h"

/* exp(x / 2)^2, so that what vf_exp cannot give comes out as infinity, or as the small numbers below the normal ones.
 */
static vf exp_of(vf x) {
    const vf half = vf_mul(vf_min(vf_set1(176.0f), x), vf_set1(0.5f)); /* min is the second where one is NaN */
    const vf root = vf_exp(half);
    return vf_mul(root, root);
}

/* y = factor exp(x); slices elements. */
nlm_status nlm_vector_exp(const nlm_exec_v1 *x, const nlm_exp_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->x);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            vf_store_n(y + c, vf_mul(vf_set1(args->factor), exp_of(vf_load_n(from + c, n))), n);
        }
    }
    return NLM_OK;
}
