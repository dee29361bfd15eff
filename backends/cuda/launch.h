/* From a slot's arguments to a kernel on its stream: what every file of ops/ stands on. */
#ifndef NLM_CUDA_LAUNCH_H
#define NLM_CUDA_LAUNCH_H

#include "kernels.h"
#include "ops.h"

/* A kernel of one of ops/, to be run for a call of a slot. Kernels have two parameters: nlm_cuda_run, and the op's
 * arguments as a struct of their own: struct_size and flags, then an nlm_cuda_view for each tensor, then the scalars,
 * all in the order of op_args.h. */
typedef struct nlm_cuda_work {
    nlm_op op; /* whose arguments these are */
    const void *args;
    const nlm_cuda_step *parameters; /* what the kernel has in place of the op's arguments, or NULL */
    nlm_cuda_kernel kernel;
    int64_t grid[3];           /* blocks; 0 stands for 1 in the last two. A first of 0 is no work */
    int threads;               /* of a block */
    int shared_bytes;          /* dynamic */
    int cluster;               /* blocks of a cluster, along x; 0: none */
    bool is_early;             /* it calls wait_for_inputs, and may begin while the kernel before it ends */
    int64_t first_row, n_rows; /* of nlm_cuda_run, where the kernel asks */
} nlm_cuda_work;

/* Enqueues it on x->stream. With no stream, in prepare, compiles it and that is all: a slot is called so before it is
 * called to work, with the shapes it will have. */
nlm_status nlm_cuda_launch(const nlm_exec_v1 *x, const nlm_cuda_work *work);

/* A tensor as kernels have it; of none, zeros. */
nlm_cuda_view nlm_cuda_view_of(const nlm_tensor *t);

/* For the macro ACT, which kernels read activations by. */
static inline const char *nlm_cuda_type_name(const nlm_tensor *t) {
    return nlm_dtype_find(t->dtype)->name;
}

/* Columns [from, from + count) of a matrix of activations. */
static inline nlm_tensor nlm_cuda_columns(const nlm_tensor *t, int64_t from, int64_t count) {
    nlm_tensor view = *t;
    view.data = (void *)((uintptr_t)t->data + (uintptr_t)(from * t->stride_bytes[1]));
    view.shape[1] = count;
    return view;
}
/* A tensor of rank 1 as a matrix of one row; a matrix as it is. */
static inline nlm_tensor nlm_cuda_matrix(const nlm_tensor *t) {
    nlm_tensor view = *t;
    if (t->rank != 1) return view;
    view.rank = 2;
    view.row_kind = NLM_ROWS_FIXED;
    view.shape[0] = 1;
    view.shape[1] = t->shape[0];
    view.stride_bytes[1] = t->stride_bytes[0];
    view.stride_bytes[0] = t->shape[0] * t->stride_bytes[0];
    return view;
}
/* A matrix without gaps in the workspace, `at` bytes from its beginning, with the rows and the type of `rows`. */
static inline nlm_tensor nlm_cuda_between(const nlm_exec_v1 *x, uint64_t at, const nlm_tensor *rows,
                                          int64_t columns) {
    const int64_t bytes = nlm_dtype_find(rows->dtype)->block_bytes;
    nlm_tensor view = *rows;
    view.data = (void *)((uintptr_t)x->workspace + at);
    view.shape[1] = columns;
    view.stride_bytes[0] = columns * bytes;
    view.stride_bytes[1] = bytes;
    return view;
}
/* Its bytes, up to where the next may begin. */
static inline uint64_t nlm_cuda_between_bytes(nlm_dtype type, int64_t rows, int64_t columns) {
    const uint64_t bytes = (uint64_t)(rows * columns) * nlm_dtype_find(type)->block_bytes;
    return (bytes + 255) / 256 * 256;
}

static inline int64_t nlm_cuda_div_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

#endif
