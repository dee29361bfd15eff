/* Element types: their table, sizes, and conversion of rows to and from f32. */
#ifndef NLM_TENSOR_DTYPE_H
#define NLM_TENSOR_DTYPE_H

#include <nlm/status.h>
#include <nlm/tensor.h>
#include <stdbool.h>

typedef struct nlm_dtype_info {
    nlm_dtype dtype;
    const char *name;        /* "q4_k" */
    uint32_t block_elements; /* 1 for plain types */
    uint32_t block_bytes;
} nlm_dtype_info;

/* NULL for a number that is not in NLM_DTYPE_LIST. */
const nlm_dtype_info *nlm_dtype_find(nlm_dtype dtype);
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

/* out[0..elements) = the row's values as f32, exactly (q types: d * (q - offset) + m in f32).
 * elements: a multiple of the type's block. Not for i32. */
void nlm_dequantize_row(nlm_dtype dtype, const void *row, float *out, int64_t elements);
/* The reference quantisers. All of NLM_DTYPE_LIST but i32; non-finite input gives NUMERIC. */
nlm_status nlm_quantize_row(nlm_dtype dtype, const float *values, void *out_row, int64_t elements, nlm_error *err);

float nlm_f16_to_f32(uint16_t half);
uint16_t nlm_f16_from_f32(float value); /* nearest even, overflow to inf */
float nlm_bf16_to_f32(uint16_t bits);
uint16_t nlm_bf16_from_f32(float value); /* nearest even, NaN stays NaN */

#endif
