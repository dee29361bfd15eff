/* Sums over rows, column by column (device/columns.cuh). */
#ifndef NLM_CUDA_COLUMNS_H
#define NLM_CUDA_COLUMNS_H

#include "launch.h"

/* Bytes of the workspace that the parts of such sums take, from its beginning up to where something else may begin.
 */
uint64_t nlm_cuda_columns_bytes(int64_t rows, int64_t columns);

/* Runs a kernel that calls sum_columns for so many rows, which are those planned, and columns, and `join`, which
 * calls join_columns, where they have several parts. `work` has op, args, and the kernel's source and defines. */
nlm_status nlm_cuda_sum_columns(const nlm_exec_v1 *x, nlm_cuda_work work, const char *kernel, const char *join,
                                int64_t rows, int64_t columns);

#endif
