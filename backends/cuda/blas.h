/* cuBLASLt: products of matrices of 16 bits, with sums and results in f32. What a product needs is found out once, in
 * prepare; afterwards nothing is allocated or chosen. */
#ifndef NLM_CUDA_BLAS_H
#define NLM_CUDA_BLAS_H

#include "device.h"

/* Results [rows, n] of x [rows, depth] and w [n, depth], all row-major. `type` is CUDA_R_16F or CUDA_R_16BF, of both
 * operands; `depth` a multiple of 32, without gaps; results are `pitch` floats from row to row. */
typedef struct nlm_cuda_blas_shape {
    int64_t rows, n, depth, pitch;
    uint64_t workspace_bytes; /* there may be */
    int type;
} nlm_cuda_blas_shape;

typedef struct nlm_cuda_blas_product nlm_cuda_blas_product;

/* The library and a handle of this device, unless the options say that no product uses it. Without the library the
 * host's log is told, at level info; of one that does not start (no memory, another version) with a warning. Errors:
 * the options ask for the library, and it is not there or does not start. */
nlm_status nlm_cuda_blas_open(nlm_cuda_device *d, nlm_error *error);
void nlm_cuda_blas_close(nlm_cuda_device *d);

/* The product of that shape, or NULL in *out where the library has no algorithm for it whose sums have one order. The
 * first call for a shape, in prepare, asks the library (may_search); what it says is kept. Thread-safe.
 * Errors   INTERNAL (not prepared), those of the library. */
nlm_status nlm_cuda_blas_find(nlm_cuda_device *d, const nlm_cuda_blas_shape *shape, bool may_search,
                              const nlm_cuda_blas_product **out, nlm_error *error);

/* Device addresses: w and x multiples of 16, results and workspace of 128. */
typedef struct nlm_cuda_blas_places {
    uintptr_t w, x, results, workspace;
} nlm_cuda_blas_places;

/* Enqueues it. */
nlm_status nlm_cuda_blas_multiply(nlm_cuda_device *d, nlm_cuda_stream *s, const nlm_cuda_blas_product *product,
                                  const nlm_cuda_blas_places *at, nlm_error *error);

#endif
