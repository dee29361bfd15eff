/* Activations as integers, see nlm_quant_row: d = max|x| / (127 << plane_bits) over a group, q = round(x / d). */
#ifndef NLM_CPU_ACTIVATIONS_H
#define NLM_CPU_ACTIVATIONS_H

#include "cpu/vector/gemm.h"

/* Columns and blocks are counted as panels count them: up to a whole number of super-blocks. */
static inline int64_t padded_blocks(int64_t columns) {
    return (columns + 255) / 256 * 8;
}

/* Bytes of one quantised row: q, then d, sum, sum16. */
uint64_t nlm_vector_quant_row_bytes(int64_t columns);
/* Quantises into `memory` and describes it. */
nlm_quant_row nlm_vector_quant_row_make(const float *x, int64_t columns, int32_t plane_bits, void *memory);

/* Bytes of a tile of `tokens`, and its making from rows x[0..count) (the rest zeros). `row` is memory for
 * nlm_vector_quant_row_bytes. */
uint64_t nlm_vector_quant_tile_bytes(int32_t tokens, int64_t columns);
void nlm_vector_quant_tile_make(const nlm_gemm_quant *gemm, const float *x, int64_t x_stride, int32_t count,
                                int64_t columns, int32_t plane_bits, void *row, void *memory);
/* The view of a tile made earlier, from `block` on, the first of a group. */
nlm_quant_tile nlm_vector_quant_tile_view(const nlm_gemm_quant *gemm, int64_t columns, int64_t block,
                                          const void *memory);

#endif
