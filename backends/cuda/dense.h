/* Products of many rows by cuBLASLt, which knows no blocks: operands become dense matrices of 16 bits in the
 * workspace before it (device/dense_rows.cu, dense_weight.cu), and what an op has beside its product is done behind
 * it (dense_results.cu). */
#ifndef NLM_CUDA_DENSE_H
#define NLM_CUDA_DENSE_H

#include "blas.h"
#include "launch.h"

/* How a product of one weight, or of two of one type and shape, is done: filled by nlm_cuda_dense_find. The rows of a
 * weight are taken `tile` at a time. Offsets count from `base`. */
typedef struct nlm_cuda_dense {
    int64_t rows, depth, n, tile; /* depth: with padding; n: rows of a weight */
    int parts;                    /* weights */
    bool is_bf16;
    bool is_direct; /* w is multiplied as it is packed */
    uintptr_t base;
    uint64_t at_x, at_w, at_results, at_workspace, bytes;
    const nlm_cuda_blas_product *whole, *last; /* of a tile; of the last one */
} nlm_cuda_dense;

/* The workspace that a product of `rows` with `parts` such weights, packed, may need. */
uint64_t nlm_cuda_dense_bytes(const nlm_cuda_device *d, int64_t rows, const nlm_tensor *w, int parts);

/* Whether products of x with w go by cuBLASLt, and then *out, in the workspace of this call. */
nlm_status nlm_cuda_dense_find(const nlm_exec_v1 *x, const nlm_tensor *rows, const nlm_tensor *w, int parts,
                               nlm_cuda_dense *out, bool *out_is_there);

/* Whether rows that were made dense for `a` are what `b` multiplies. */
bool nlm_cuda_dense_same_rows(const nlm_cuda_dense *a, const nlm_cuda_dense *b);

/* Makes x dense, normed if norm_w is not NULL. */
nlm_status nlm_cuda_dense_rows(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_tensor *rows,
                               const nlm_tensor *norm_w, float eps);

/* What follows, where the rows are dense: args->x tells the live rows alone. */
nlm_status nlm_cuda_dense_matmul(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_matmul_args *args);
nlm_status nlm_cuda_dense_gate(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_gate_up_silu_mul_args *args);

#endif
