/* Activations as integers of 12 or 15 bits with one scale for each group of columns. */
#include "cpu/vector/activations.h"

#include <float.h>
#include <math.h>

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)

/* Below, limit / largest may be more than f32 holds. */
#define TINY  0x1p-100f
#define RAISE 0x1p64f

/* No integers stand for NaN or infinity: zeros with a d of NaN, which reaches every sum that takes them. */
static float spoil_group(int64_t blocks, int8_t *q, float *sum, int32_t *sum16) {
    memset(q, 0, (size_t)(blocks * PLANES * BLOCK));
    memset(sum, 0, (size_t)blocks * sizeof *sum);
    memset(sum16, 0, (size_t)blocks * 2 * sizeof *sum16);
    return NAN;
}

/* Integers and their sums of up to GROUP_BLOCKS blocks; returns d. */
V_INLINE float quantize_group(const float *x, int64_t blocks, int plane_bits, int8_t *q, float *sum, int32_t *sum16) {
    float raised[GROUP_BLOCKS * BLOCK];
    vf most = vf_zero();
    for (int64_t i = 0; i < blocks * BLOCK; i += V_LANES) most = vf_max_magnitude(most, vf_abs(vf_load(x + i)));
    const float largest = vf_hmax_magnitude(most), limit = (float)(127 << plane_bits);
    if (!(largest <= FLT_MAX)) return spoil_group(blocks, q, sum, sum16);
    float scale = largest > 0 ? limit / largest : 0.0f;
    if (largest > 0 && largest < TINY) {
        for (int64_t i = 0; i < blocks * BLOCK; i++) raised[i] = x[i] * RAISE;
        scale = limit / (largest * RAISE);
        x = raised;
    }
    for (int64_t b = 0; b < blocks; b++, x += BLOCK, q += PLANES * BLOCK, sum16 += 2) {
        sum16[0] = v_split16(x, scale, plane_bits, q, q + BLOCK);
        sum16[1] = v_split16(x + 16, scale, plane_bits, q + 16, q + BLOCK + 16);
        sum[b] = (float)(sum16[0] + sum16[1]);
    }
    return largest / limit;
}

V_INLINE void quantize_row(const float *x, int64_t columns, int plane_bits, int8_t *q, float *d, float *sum,
                           int32_t *sum16) {
    const int64_t blocks = padded_blocks(columns), whole = columns / BLOCK;
    for (int64_t b = 0; b < blocks; b += GROUP_BLOCKS) {
        const int64_t left = whole - b, n = left < 0 ? 0 : left < GROUP_BLOCKS ? left : GROUP_BLOCKS;
        d[b / GROUP_BLOCKS] =
            quantize_group(x + b * BLOCK, n, plane_bits, q + b * PLANES * BLOCK, sum + b, sum16 + 2 * b);
    }
    memset(q + whole * PLANES * BLOCK, 0, (size_t)((blocks - whole) * PLANES * BLOCK));
    memset(sum + whole, 0, (size_t)(blocks - whole) * sizeof *sum);
    memset(sum16 + 2 * whole, 0, (size_t)(blocks - whole) * 2 * sizeof *sum16);
}

/* What a block of a token takes: q, sum, sum16 and its part of d. */
#define BLOCK_BYTES (PLANES * BLOCK + 4 + 8 + 4 / GROUP_BLOCKS)

uint64_t nlm_vector_quant_row_bytes(int64_t columns) {
    return ROUND_UP((uint64_t)padded_blocks(columns) * BLOCK_BYTES);
}

nlm_quant_row nlm_vector_quant_row_make(const float *x, int64_t columns, int32_t plane_bits, void *memory) {
    const int64_t blocks = padded_blocks(columns);
    int8_t *q = memory;
    float *d = (float *)(void *)(q + blocks * PLANES * BLOCK), *sum = d + blocks / GROUP_BLOCKS;
    int32_t *sum16 = (int32_t *)(void *)(sum + blocks);
    if (plane_bits == 4)
        quantize_row(x, columns, 4, q, d, sum, sum16);
    else
        quantize_row(x, columns, 7, q, d, sum, sum16);
    return (nlm_quant_row){q, d, sum, sum16};
}

uint64_t nlm_vector_quant_tile_bytes(int32_t tokens, int64_t columns) {
    return ROUND_UP((uint64_t)padded_blocks(columns) * BLOCK_BYTES * (uint64_t)tokens);
}

nlm_quant_tile nlm_vector_quant_tile_view(const nlm_gemm_quant *gemm, int64_t columns, int64_t block,
                                          const void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    const int8_t *q = memory;
    const float *d = (const float *)(const void *)(q + blocks * PLANES * BLOCK * tokens);
    const float *sum = d + blocks / GROUP_BLOCKS * tokens;
    const int32_t *sum16 = (const int32_t *)(const void *)(sum + blocks * tokens);
    return (nlm_quant_tile){q + block * PLANES * BLOCK * tokens, d + block / GROUP_BLOCKS * tokens,
                            sum + block * tokens, sum16 + block * 2 * tokens};
}

/* Row-major tiles hold a block's 64 bytes of every token one after the other; the others the tokens' groups of
 * 4 columns. */
static void put_bytes(const int8_t *row, int64_t blocks, int64_t tokens, int64_t m, int is_row_major, int8_t *tile) {
    const int64_t piece = is_row_major ? PLANES * BLOCK : 4, n = blocks * PLANES * BLOCK / piece;
    for (int64_t i = 0; i < n; i++) memcpy(tile + (i * tokens + m) * piece, row + i * piece, (size_t)piece);
}

void nlm_vector_quant_tile_make(const nlm_gemm_quant *gemm, const float *x, int64_t x_stride, int32_t count,
                                int64_t columns, int32_t plane_bits, void *row, void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    int8_t *q = memory;
    float *d = (float *)(void *)(q + blocks * PLANES * BLOCK * tokens), *sum = d + blocks / GROUP_BLOCKS * tokens;
    int32_t *sum16 = (int32_t *)(void *)(sum + blocks * tokens);
    if (count < tokens) memset(memory, 0, (size_t)nlm_vector_quant_tile_bytes((int32_t)tokens, columns));
    for (int32_t m = 0; m < count; m++) {
        const nlm_quant_row r = nlm_vector_quant_row_make(x + m * x_stride, columns, plane_bits, row);
        for (int64_t g = 0; g < blocks / GROUP_BLOCKS; g++) d[g * tokens + m] = r.d[g];
        for (int64_t b = 0; b < blocks; b++) sum[b * tokens + m] = r.sum[b];
        for (int64_t h = 0; h < 2 * blocks; h++) sum16[h * tokens + m] = r.sum16[h];
        if (gemm->is_row_major)
            put_bytes(r.q, blocks, tokens, m, 1, q);
        else
            put_bytes(r.q, blocks, tokens, m, 0, q);
    }
}
