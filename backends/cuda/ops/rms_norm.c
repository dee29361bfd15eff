/* Rows divided by the root of their mean square. */
#include "launch.h"

nlm_status nlm_cuda_rms_norm(const nlm_exec_v1 *x, const nlm_rms_norm_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_rms_norm,
        .args = args,
        .kernel = {"rms_norm", "rms_norm", {{"ACT", nlm_cuda_type_name(args->x), 0}}},
        .grid = {nlm_live_rows(x, args->x), args->x->rank == 3 ? args->x->shape[1] : 1},
        .threads = 256,
        .is_early = true,
    };
    return nlm_cuda_launch(x, &work);
}
