/* A factor and an offset for every element. */
#include "cpu/vector/vector.h"

/* y = factor * x + offset. Slices elements. */
nlm_status nlm_vector_scale(const nlm_exec_v1 *x, const nlm_scale_args *args) {
    const vf factor = vf_set1(args->factor), offset = vf_set1(args->offset);
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->x), args->x->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            vf_store_n(y + c, vf_fma(vf_load_n(from + c, n), factor, offset), n);
        }
    }
    return NLM_OK;
}
