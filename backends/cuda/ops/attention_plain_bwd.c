/* The gradients of attention over the keys and values of the batch itself. */
#include "attention.h"

#define THREADS 128

/* dy . y of every row and head. */
void nlm_cuda_attention_plain_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'T') * nlm_dim(dims, 'H'));
}

/* Rows of a sequence that a block has: as in attention_plain_bwd.cu. */
static int64_t tile_of(int64_t head_size) {
    int64_t padded = 64;
    while (padded < head_size) padded *= 2;
    return 2048 / padded;
}

nlm_status nlm_cuda_attention_plain_bwd(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args) {
    const int64_t heads = args->q->shape[1], groups = args->k->shape[1], rows = nlm_live_rows(x, args->q);
    nlm_cuda_work work = {
        .op = NLM_OP_attention_plain_bwd,
        .args = args,
        .kernel = {"attention_plain_bwd",
                   "attention_plain_bwd_products",
                   {{"ACT", nlm_cuda_type_name(args->q), 0},
                    {"HEAD_SIZE", NULL, (int)args->q->shape[2]},
                    {"SHARED", NULL, groups > 0 ? (int)(heads / groups) : 0}}},
        .grid = {nlm_cuda_div_up(rows * heads, THREADS / 32)},
        .threads = THREADS,
    };
    if (heads == 0 || groups == 0 || rows == 0) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.grid[0] = rows / tile_of(args->q->shape[2]) + args->seq_start->shape[0] - 1;
    work.grid[1] = heads;
    work.kernel.name = "attention_plain_bwd_queries";
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.grid[1] = groups;
    work.kernel.name = "attention_plain_bwd_keys";
    return nlm_cuda_launch(x, &work);
}
