/* Element types beside nlm/dtype.h: names, sizes of tensors, and the reference quantisers. */
#ifndef NLM_TENSOR_DTYPE_H
#define NLM_TENSOR_DTYPE_H

#include <nlm/dtype.h>
#include <nlm/status.h>
#include <stdbool.h>

const nlm_dtype_info *nlm_dtype_from_name(const char *name);
const char *nlm_dtype_name(nlm_dtype dtype); /* "type 99" is "unknown" */

/* Bytes of one row of `elements`. 0 if dtype is unknown, elements no multiple of a block, or it wraps. */
uint64_t nlm_dtype_row_bytes(nlm_dtype dtype, uint64_t elements);

/* Fills a row-major contiguous descriptor; row_kind FIXED, data as given. Errors INVALID_ARGUMENT
 * (rank, a negative dimension, a row that is no multiple of the block, a size that wraps). */
nlm_status nlm_tensor_init(nlm_tensor *out, nlm_dtype dtype, int rank, const int64_t *shape, void *data,
                           nlm_error *err);
uint64_t nlm_tensor_bytes(const nlm_tensor *tensor); /* of a contiguous row-major tensor */
bool nlm_tensor_is_contiguous(const nlm_tensor *tensor);

/* The reference quantisers. All of NLM_DTYPE_LIST but i32; non-finite input gives NUMERIC. */
nlm_status nlm_quantize_row(nlm_dtype dtype, const float *values, void *out_row, int64_t elements, nlm_error *err);
/* As nlm_quantize_row, the scales of blocks being chosen for the least sum of weight times squared error, which no
 * block has more of than the reference gives it. weights: [elements], finite and not negative; scales of q8_0, f16,
 * bf16 and f32 do not depend on them. */
nlm_status nlm_quantize_row_weighted(nlm_dtype dtype, const float *values, const float *weights, void *out_row,
                                     int64_t elements, nlm_error *err);

#endif
