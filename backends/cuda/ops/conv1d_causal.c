/* The short causal convolution of Mamba and the state it carries. */
#include "launch.h"

#define THREADS 128
#define CHUNK   16 /* tokens of a sequence that a block takes */

nlm_status nlm_cuda_conv1d_causal(const nlm_exec_v1 *x, const nlm_conv1d_causal_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_conv1d_causal,
        .args = args,
        .kernel = {"conv1d_causal",
                   "conv1d_causal",
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"WIDTH", NULL, (int)args->w->shape[1]},
                    {"BLOCK", NULL, THREADS},
                    {"CHUNK", NULL, CHUNK}}},
        .grid = {nlm_live_rows(x, args->x) / CHUNK + nlm_live_rows(x, args->slot),
                 nlm_cuda_div_up(args->x->shape[1], THREADS)},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}
