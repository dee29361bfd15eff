/* Activations as integers, see nlm_quant_row: d = max|x| / (127 << plane_bits) over a group, q = round(x / d). Of one
 * plane plane_bits counts as 0. */
#ifndef NLM_CPU_ACTIVATIONS_H
#define NLM_CPU_ACTIVATIONS_H

#include "cpu/vector/gemm_planes.h"

/* Columns and blocks are counted as panels count them: up to a whole number of super-blocks. */
static inline int64_t padded_blocks(int64_t columns) {
    return (columns + 255) / 256 * 8;
}

/* Blocks of group `group` that a row has. */
static inline int64_t whole_blocks(int64_t columns, int64_t group) {
    const int64_t left = columns / BLOCK - group * GROUP_BLOCKS;
    return left < 0 ? 0 : left < GROUP_BLOCKS ? left : GROUP_BLOCKS;
}

/* What the floats of a group of columns are multiplied with to become integers. */
typedef struct nlm_quant_scale {
    const float *x; /* the floats: those given, or their multiples by a power of two */
    float scale;    /* an integer is x * scale, rounded */
    float d;        /* what an integer of 1 stands for; NaN where one of x is NaN or infinite */
} nlm_quant_scale;

/* Of n floats, a multiple of 32; the integers reach `limit`. `raised` is memory for n floats. */
nlm_quant_scale nlm_vector_quant_scale_of(const float *x, int64_t n, int limit, float *raised);

/* What a block of a token takes: q, sum, sum16 and its part of d; and rows and tiles end where lines do. */
#define BLOCK_BYTES     (PLANES * BLOCK + 4 + 8 + 4 / GROUP_BLOCKS)
#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)

/* Bytes of one quantised row: q, then d, sum, sum16. */
uint64_t nlm_vector_quant_row_bytes(int64_t columns);
/* Quantises into `memory` and describes it. */
nlm_quant_row nlm_vector_quant_row_make(const float *x, int64_t columns, int32_t plane_bits, void *memory);

/* The same integers of one group as words: `blocks` blocks, the rest of its columns zeros; returns d. */
float nlm_vector_words_group(const float *x, int64_t blocks, int32_t plane_bits, int16_t *q, float *sum);

/* The same with bytes, of 8 bits: q is [blocks][32], and sum16 as v_round32_bytes has them. */
nlm_quant_row nlm_vector_bytes_row_make(const float *x, int64_t columns, void *memory);
float nlm_vector_bytes_group(const float *x, int64_t blocks, int8_t *q, float *sum, int32_t *sum16);

/* Bytes of a tile of `tokens`, and its making from rows x[0..count) (the rest zeros). `row` is memory for
 * nlm_vector_quant_row_bytes. */
uint64_t nlm_vector_quant_tile_bytes(int32_t tokens, int64_t columns);
void nlm_vector_quant_tile_make(const nlm_gemm_planes *gemm, const float *x, int64_t x_stride, int32_t count,
                                int64_t columns, int32_t plane_bits, void *row, void *memory);
/* The view of a tile made earlier, from `block` on, the first of a group. */
nlm_quant_tile nlm_vector_quant_tile_view(const nlm_gemm_planes *gemm, int64_t columns, int64_t block,
                                          const void *memory);

#endif
