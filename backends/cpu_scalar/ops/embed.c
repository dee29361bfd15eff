/* Rows of the embedding by token, the reference. */
#include "cpu/decode.h"
#include "scalar.h"

/* y[r,:] = w[ids[r],:]; slices rows. */
nlm_status nlm_scalar_embed(const nlm_exec_v1 *x, const nlm_embed_args *args) {
    const int32_t *ids = nlm_cpu_i32(args->ids);
    const int64_t vocabulary = args->w->shape[0];
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->ids), 1);
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (ids[r] < 0 || ids[r] >= vocabulary) {
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "embed", "ids[%lld] is %d, expected 0 to %lld",
                                (long long)r, ids[r], (long long)vocabulary - 1);
        }
        nlm_cpu_decode(args->w->dtype, nlm_kit_at(args->w, ids[r]), nlm_kit_at(args->y, r), args->y->shape[1]);
    }
    return NLM_OK;
}
