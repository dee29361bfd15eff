/* Products of two tensors, element by element. */
#include "cpu/vector/vector.h"

/* y = a * b; b may be one row for all. Slices elements. */
nlm_status nlm_vector_mul(const nlm_exec_v1 *x, const nlm_mul_args *args) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, args->a), args->a->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *a = nlm_kit_at(args->a, cells.row);
        const float *b = args->b->rank == 1 ? args->b->data : nlm_kit_at(args->b, cells.row);
        float *y = nlm_kit_at(args->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c += V_LANES) {
            const int n = (int)(cells.to - c < V_LANES ? cells.to - c : V_LANES);
            vf_store_n(y + c, vf_mul(vf_load_n(a + c, n), vf_load_n(b + c, n)), n);
        }
    }
    return NLM_OK;
}
