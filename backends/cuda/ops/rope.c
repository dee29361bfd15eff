/* Rotary positions, in pairs of neighbours or of halves. */
#include "launch.h"

#define THREADS 256 /* these of rope.cu */
#define TOKENS  4
#define HEADS   8

nlm_status nlm_cuda_rope(const nlm_exec_v1 *x, const nlm_rope_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_rope,
        .args = args,
        .kernel = {"rope", "rope", {{"ACT", nlm_cuda_type_name(args->x), 0}}},
        .grid = {nlm_cuda_div_up(nlm_live_rows(x, args->x), TOKENS), nlm_cuda_div_up(args->x->shape[1], HEADS),
                 nlm_cuda_div_up(args->n_rot / 2, THREADS)},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}
