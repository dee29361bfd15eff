/* How the work of a product is cut: for matmul and the ops that begin with one. */
#ifndef NLM_CUDA_PRODUCTS_H
#define NLM_CUDA_PRODUCTS_H

#include "launch.h"

/* The work of an op that is y = x w^T and more, the defines of its kernel aside from those named here being the
 * op's own: ACT, W, and for few rows ROWS and SPLIT. `few` and `many` name the kernels; `n` is the rows of w. */
nlm_cuda_work nlm_cuda_product(const nlm_exec_v1 *x, nlm_op op, const void *args, const nlm_tensor *in,
                               const nlm_tensor *w, const char *source, const char *few, const char *many);

#endif
