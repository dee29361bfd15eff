/* A gradient added to what other runs found, in vectors. */
#include "cpu/vector/vector.h"

/* total += x; slices elements. */
nlm_status nlm_vector_accumulate(const nlm_exec_v1 *x, const nlm_accumulate_args *args) {
    nlm_kit_cells cells = nlm_cpu_cells(x, args->x);
    while (nlm_kit_cells_next(&cells)) {
        const float *from = nlm_kit_at(args->x, cells.row);
        float *total = nlm_kit_at(args->total, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            vf_store_n(total + c, vf_add(vf_load_n(total + c, n), vf_load_n(from + c, n)), n);
        }
    }
    return NLM_OK;
}
