/* The sum of squares. */
#include "launch.h"

#define THREADS 256
#define PART    8192 /* elements that a block adds up */

/* The sum of each part. */
void nlm_cuda_sum_sq_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t rows = nlm_dim(dims, 'R') < 0 ? 1 : nlm_dim(dims, 'R');
    out->workspace_bytes = sizeof(double) * (uint64_t)nlm_cuda_div_up(rows * nlm_dim(dims, 'N'), PART);
}

nlm_status nlm_cuda_sum_sq(const nlm_exec_v1 *x, const nlm_sum_sq_args *args) {
    const nlm_tensor from = nlm_cuda_matrix(args->x);
    const nlm_sum_sq_args matrices = {sizeof matrices, args->flags, &from, args->total};
    nlm_cuda_work work = {
        .op = NLM_OP_sum_sq,
        .args = &matrices,
        .kernel = {"sum_sq", "sum_sq_parts", {{"PART", NULL, PART}}},
        .grid = {nlm_cuda_div_up(nlm_live_rows(x, &from) * from.shape[1], PART)},
        .threads = THREADS,
    };
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel.name = "sum_sq_join";
    work.grid[0] = 1;
    return nlm_cuda_launch(x, &work);
}
