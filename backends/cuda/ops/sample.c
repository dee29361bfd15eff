/* Drawing tokens from logits. */
#include "launch.h"

#define PART         2048 /* columns that a block weighs */
#define BINS         2048
#define MEMORY_BYTES (INT64_C(64) << 20) /* of the rows that are worked off at once, unless one takes more */

static int64_t parts_of(int64_t columns) {
    return nlm_cuda_div_up(columns, PART);
}

/* What sample.cu keeps of a row. */
static int64_t row_bytes(int64_t columns) {
    return 8 * columns + 16 * parts_of(columns) + 12 * BINS + 8;
}

static int64_t rows_at_once(int64_t rows, int64_t columns) {
    const int64_t fit = MEMORY_BYTES / row_bytes(columns), most = fit > 1 ? fit : 1;
    return rows < most ? rows : most;
}

void nlm_cuda_sample_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t columns = nlm_dim(dims, 'N');
    out->workspace_bytes = (uint64_t)(rows_at_once(nlm_dim(dims, 'R'), columns) * row_bytes(columns));
}

static nlm_status run_rows(const nlm_exec_v1 *x, nlm_cuda_work *work, int64_t parts) {
    static const char *const kernels[] = {"sample_greatest", "sample_weigh", "sample_choose"};
    for (int i = 0; i < 3; i++) {
        work->kernel.name = kernels[i];
        work->grid[1] = i < 2 ? parts : 1;
        work->threads = i < 2 ? 256 : 512;
        NLM_KIT_TRY(nlm_cuda_launch(x, work));
    }
    return NLM_OK;
}

nlm_status nlm_cuda_sample(const nlm_exec_v1 *x, const nlm_sample_args *args) {
    const int64_t rows = nlm_live_rows(x, args->x), columns = args->x->shape[1];
    const int64_t at_once = rows_at_once(args->x->shape[0], columns);
    nlm_cuda_work work = {
        .op = NLM_OP_sample,
        .args = args,
        .kernel = {"sample",
                   NULL,
                   {{"ACT", nlm_cuda_type_name(args->x), 0}, {"PART", NULL, PART}, {"BINS", NULL, BINS}}},
        .is_early = true,
        .n_rows = at_once,
    };
    for (; work.first_row < rows; work.first_row += at_once) {
        const int64_t left = rows - work.first_row;
        work.grid[0] = left < at_once ? left : at_once;
        NLM_KIT_TRY(run_rows(x, &work, parts_of(columns)));
    }
    return NLM_OK;
}
