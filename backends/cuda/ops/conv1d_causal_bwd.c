/* The gradients of the short causal convolution. */
#include "launch.h"

#define THREADS 128
#define CHUNK   32 /* tokens of a sequence that a block takes */

/* What each chunk adds to dw and db. */
void nlm_cuda_conv1d_causal_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t chunks = nlm_dim(dims, 'T') / CHUNK + nlm_dim(dims, 'S');
    out->workspace_bytes = sizeof(float) * (uint64_t)(chunks * (nlm_dim(dims, 'K') + 1) * nlm_dim(dims, 'C'));
}

nlm_status nlm_cuda_conv1d_causal_bwd(const nlm_exec_v1 *x, const nlm_conv1d_causal_bwd_args *args) {
    const int64_t sequences = nlm_live_rows(x, args->slot), channels = args->x->shape[1];
    nlm_cuda_work work = {
        .op = NLM_OP_conv1d_causal_bwd,
        .args = args,
        .kernel = {"conv1d_causal_bwd",
                   "conv1d_causal_bwd",
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"WIDTH", NULL, (int)args->w->shape[1]},
                    {"BLOCK", NULL, THREADS},
                    {"CHUNK", NULL, CHUNK}}},
        .grid = {sequences > 0 ? nlm_live_rows(x, args->x) / CHUNK + sequences : 0,
                 nlm_cuda_div_up(channels, THREADS)},
        .threads = THREADS,
    };
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel.name = "conv1d_causal_bwd_join";
    work.grid[0] = nlm_cuda_div_up(channels, THREADS);
    work.grid[1] = args->w->shape[1] + 1;
    return nlm_cuda_launch(x, &work);
}
