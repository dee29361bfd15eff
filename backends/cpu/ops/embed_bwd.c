/* The gradient of an embedding, in vectors. */
#include "cpu/vector/vector.h"

/* dw[ids[r],:] += dy[r,:], in the order of r; slices columns, so that rows with one id meet in one worker. */
nlm_status nlm_vector_embed_bwd(const nlm_exec_v1 *x, const nlm_embed_bwd_args *args) {
    const int32_t *ids = nlm_cpu_i32(args->ids);
    const int64_t rows = nlm_live_rows(x, args->ids), vocabulary = args->dw->shape[0];
    const nlm_kit_range columns = nlm_kit_slice(x, args->dw->shape[1], 16);
    for (int64_t r = 0; r < rows; r++) {
        if (ids[r] < 0 || ids[r] >= vocabulary) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "embed_bwd", "ids[%lld] is %d, expected 0 to %lld",
                                (long long)r, ids[r], (long long)vocabulary - 1);
        }
        const float *dy = nlm_kit_at(args->dy, r);
        float *dw = nlm_kit_at(args->dw, ids[r]);
        for (int64_t c = columns.from; c < columns.to; c += V_LANES) {
            const int n = (int)(columns.to - c < V_LANES ? columns.to - c : V_LANES);
            vf_store_n(dw + c, vf_add(vf_load_n(dw + c, n), vf_load_n(dy + c, n)), n);
        }
    }
    return NLM_OK;
}
