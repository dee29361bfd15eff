/* The head and the loss, with their gradients, the logits of some rows at a time. */
#include "columns.h"
#include "gemm.h"

#define LOGITS_BYTES (INT64_C(64) << 20) /* at once, unless UNIT rows take more */
#define UNIT         128

/* Rows whose logits are in memory at once, and from row to row of these. */
static int64_t rows_at_once(int64_t rows, int64_t classes) {
    const int64_t fit = LOGITS_BYTES / (int64_t)sizeof(float) / (classes > 0 ? classes : 1) / UNIT * UNIT;
    const int64_t most = fit > UNIT ? fit : UNIT;
    return rows < most ? rows : most;
}
static int64_t pitch_of(int64_t classes) {
    return nlm_cuda_div_up(classes, 4) * 4;
}

/* The parts of db, and behind them the logits. */
void nlm_cuda_cross_entropy_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t classes = nlm_dim(dims, 'N'), rows = rows_at_once(nlm_dim(dims, 'R'), classes);
    out->workspace_bytes =
        nlm_cuda_columns_bytes(rows, classes) + nlm_cuda_between_bytes(NLM_F32, rows, pitch_of(classes));
}

static nlm_status product(const nlm_exec_v1 *x, const nlm_cuda_work *chunk, const char *kernel, int64_t rows,
                          int64_t columns) {
    nlm_cuda_work work = *chunk;
    work.kernel.name = kernel;
    nlm_cuda_gemm(&work, x->device, rows, columns);
    return nlm_cuda_launch(x, &work);
}

/* Of the rows of a chunk: logits, loss and what becomes of the logits, dw and db, and at last dx, which may be x. */
static nlm_status add_chunk(const nlm_exec_v1 *x, const nlm_cuda_work *chunk, bool has_rows) {
    const nlm_cross_entropy_args *args = chunk->args;
    const int64_t rows = chunk->n_rows, classes = args->w->shape[0], columns = args->w->shape[1];
    nlm_cuda_work by_row = *chunk;
    by_row.kernel = (nlm_cuda_kernel){"cross_entropy", "cross_entropy_rows", {chunk->kernel.defines[0]}};
    by_row.grid[0] = rows;
    by_row.threads = 256;
    if (has_rows) {
        NLM_KIT_TRY(product(x, chunk, "cross_entropy_logits", rows, classes));
        NLM_KIT_TRY(nlm_cuda_launch(x, &by_row));
    }
    if (args->dw) NLM_KIT_TRY(product(x, chunk, "cross_entropy_weight", classes, columns));
    if (args->db) {
        NLM_KIT_TRY(nlm_cuda_sum_columns(x, by_row, "cross_entropy_bias", "cross_entropy_join", rows, classes));
    }
    return args->dx && has_rows ? product(x, chunk, "cross_entropy_input", rows, columns) : NLM_OK;
}

/* Without rows dw and db are still replaced. */
nlm_status nlm_cuda_cross_entropy(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const int64_t rows = nlm_live_rows(x, args->x);
    nlm_cross_entropy_args of_chunk = *args;
    nlm_cuda_work chunk = {
        .op = NLM_OP_cross_entropy,
        .args = &of_chunk,
        .kernel = {"cross_entropy",
                   NULL,
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"W", nlm_cuda_type_name(args->w), 0},
                    {"PACKED", NULL, args->w->layout != NLM_LAYOUT_ROW_MAJOR}}},
        .n_rows = rows_at_once(args->x->shape[0], args->w->shape[0]),
    };
    of_chunk.struct_size = sizeof of_chunk;
    do {
        NLM_KIT_TRY(add_chunk(x, &chunk, rows > 0));
        chunk.first_row += chunk.n_rows;
        of_chunk.flags |= NLM_GRADIENT_ADD;
    } while (chunk.first_row < rows);
    return NLM_OK;
}
