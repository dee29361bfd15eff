/* The gradient of an embedding. */
#include "launch.h"

#define THREADS 128 /* as in embed_bwd.cu */
#define OWN     4

nlm_status nlm_cuda_embed_bwd(const nlm_exec_v1 *x, const nlm_embed_bwd_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_embed_bwd,
        .args = args,
        .kernel = {"embed_bwd", "embed_bwd", {{"ACT", nlm_cuda_type_name(args->dy), 0}}},
        .grid = {nlm_live_rows(x, args->ids), nlm_cuda_div_up(args->dw->shape[1], THREADS * OWN)},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}
