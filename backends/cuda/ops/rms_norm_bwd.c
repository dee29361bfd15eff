/* The gradients of a norm by its input and its weight. */
#include "columns.h"

#define THREADS 256

static int64_t heads_of(const nlm_tensor *x) {
    return x->rank == 3 ? x->shape[1] : 1;
}

/* The parts of dw, and behind them what every row is multiplied by. */
void nlm_cuda_rms_norm_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t heads = nlm_dim(dims, 'H') < 0 ? 1 : nlm_dim(dims, 'H'), rows = nlm_dim(dims, 'R') * heads;
    out->workspace_bytes = nlm_cuda_columns_bytes(rows, nlm_dim(dims, 'N')) + sizeof(float) * (uint64_t)rows;
}

/* dw is found before dx is written, which may be dy. */
nlm_status nlm_cuda_rms_norm_bwd(const nlm_exec_v1 *x, const nlm_rms_norm_bwd_args *args) {
    const int64_t heads = heads_of(args->x), rows = args->x->shape[0] * heads, n = args->x->shape[args->x->rank - 1];
    nlm_cuda_work work = {
        .op = NLM_OP_rms_norm_bwd,
        .args = args,
        .kernel = {"rms_norm_bwd", "rms_norm_bwd_factors", {{"ACT", nlm_cuda_type_name(args->x), 0}}},
        .grid = {nlm_live_rows(x, args->x), heads},
        .threads = THREADS,
    };
    if (args->dw) {
        NLM_KIT_TRY(nlm_cuda_launch(x, &work));
        NLM_KIT_TRY(nlm_cuda_sum_columns(x, work, "rms_norm_bwd_weight", "rms_norm_bwd_join", rows, n));
    }
    work.kernel.name = "rms_norm_bwd";
    return nlm_cuda_launch(x, &work);
}
