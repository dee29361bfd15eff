/* Sums over rows, column by column. */
#include "columns.h"

enum { THREADS = 256, ROWS_PART = 256, COLUMNS = 32 }; /* of device/columns.cuh */

static int64_t parts_of(int64_t rows) {
    return rows > ROWS_PART ? nlm_cuda_div_up(rows, ROWS_PART) : 1;
}

uint64_t nlm_cuda_columns_bytes(int64_t rows, int64_t columns) {
    const int64_t parts = parts_of(rows);
    return parts > 1 ? nlm_cuda_between_bytes(NLM_F32, parts, columns) : 0;
}

nlm_status nlm_cuda_sum_columns(const nlm_exec_v1 *x, nlm_cuda_work work, const char *kernel, const char *join,
                                int64_t rows, int64_t columns) {
    const int64_t parts = parts_of(rows);
    work.kernel.name = kernel;
    work.grid[0] = nlm_cuda_div_up(columns, COLUMNS);
    work.grid[1] = parts;
    work.threads = THREADS;
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    if (parts == 1) return NLM_OK;
    work.kernel.name = join;
    work.grid[0] = nlm_cuda_div_up(columns, THREADS);
    work.grid[1] = 1;
    return nlm_cuda_launch(x, &work);
}
