/* How the work of a product is cut: for matmul and the ops that begin with one. */
#ifndef NLM_CUDA_PRODUCTS_H
#define NLM_CUDA_PRODUCTS_H

#include "launch.h"

/* Up to so many rows are few. */
#define NLM_CUDA_FEW_ROWS 16

/* An op that is y = x w^T and more, and the kernels that do it for few rows of x (device/few.cuh) and for many
 * (device/many.cuh). Where it has several weights they are of one type and layout. */
typedef struct nlm_cuda_product_of {
    nlm_op op;
    const void *args;
    const nlm_tensor *x, *w;
    int64_t n; /* rows of all weights */
    const char *source, *few, *many;
} nlm_cuda_product_of;

/* Rows of x that a block of the kernel for few has, within 66 KiB of shared memory: 1, 2, 4 or 8; 0: they are many.
 */
int nlm_cuda_rows_at_once(const nlm_cuda_device *d, const nlm_cuda_product_of *of);

/* The work of it, all but the launch. */
nlm_cuda_work nlm_cuda_product(const nlm_exec_v1 *x, const nlm_cuda_product_of *of);

#endif
