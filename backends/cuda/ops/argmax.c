/* The greatest element of each row. */
#include "launch.h"

#define PART 8192 /* columns that a block looks at */

static int64_t parts_of(int64_t columns) {
    return columns > PART ? nlm_cuda_div_up(columns, PART) : 1;
}

/* The greatest of each part of a row. */
void nlm_cuda_argmax_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t parts = parts_of(nlm_dim(dims, 'N'));
    out->workspace_bytes = parts > 1 ? sizeof(int32_t[2]) * (uint64_t)(nlm_dim(dims, 'R') * parts) : 0;
}

nlm_status nlm_cuda_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args) {
    const int64_t rows = nlm_live_rows(x, args->x), parts = parts_of(args->x->shape[1]);
    nlm_cuda_work work = {
        .op = NLM_OP_argmax,
        .args = args,
        .kernel = {"argmax", "argmax_parts", {{"ACT", nlm_cuda_type_name(args->x), 0}, {"PART", NULL, PART}}},
        .grid = {rows, parts},
        .threads = 256,
        .is_early = true,
    };
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    if (parts == 1) return NLM_OK;
    work.kernel.name = "argmax_join";
    work.grid[0] = nlm_cuda_div_up(rows, 256 / 32);
    work.grid[1] = 1;
    return nlm_cuda_launch(x, &work);
}
