/* Rows of weights that add up to one. */
#include "launch.h"

nlm_status nlm_cuda_softmax(const nlm_exec_v1 *x, const nlm_softmax_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_softmax,
        .args = args,
        .kernel = {"softmax", "softmax", {{"ACT", nlm_cuda_type_name(args->x), 0}}},
        .grid = {nlm_live_rows(x, args->x)},
        .threads = 256,
    };
    return nlm_cuda_launch(x, &work);
}
