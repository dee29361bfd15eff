/* Making a run's batch the next one's. */
#include "launch.h"

nlm_status nlm_cuda_advance(const nlm_exec_v1 *x, const nlm_advance_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_advance,
        .args = args,
        .kernel = {"advance", "advance", {{NULL, NULL, 0}}},
        .grid = {nlm_live_rows(x, args->next) > 0},
        .threads = 256,
        .is_early = true,
    };
    return nlm_cuda_launch(x, &work);
}
