/* The selective scan of Mamba. */
#include "launch.h"

nlm_status nlm_cuda_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_ssm_scan,
        .args = args,
        .kernel = {"ssm_scan",
                   "ssm_scan",
                   {{"ACT", nlm_cuda_type_name(args->x), 0}, {"STATES", NULL, (int)args->a->shape[1]}}},
        .grid = {nlm_live_rows(x, args->slot), args->state->shape[1]},
        .threads = 128,
    };
    return nlm_cuda_launch(x, &work);
}
