#include "cpu/vector/activations.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)

V_INLINE float max_abs32(const float *x) {
    vf m = vf_abs(vf_load(x));
    for (int i = V_LANES; i < BLOCK; i += V_LANES) m = vf_max(m, vf_abs(vf_load(x + i)));
    return vf_hmax(m);
}

/* The greatest integer whose high byte is at most 127. */
#define LARGEST (127 * 128)

static int32_t sum16_of(const int8_t *high, const int8_t *low) {
    int32_t top = 0, rest = 0;
    for (int i = 0; i < 16; i++) {
        top += high[i];
        rest += low[i];
    }
    return top * (1 << PLANE_BITS) + rest;
}

static void quantize_block(const float *x, int8_t *q, float *d, float *d_sum, int32_t *sum16) {
    const float largest = max_abs32(x);
    const float scale = largest > 0 ? LARGEST / largest : 0.0f;
    for (int i = 0; i < BLOCK; i += 16) v_split16(x + i, scale, q + i, q + BLOCK + i);
    sum16[0] = sum16_of(q, q + BLOCK);
    sum16[1] = sum16_of(q + 16, q + BLOCK + 16);
    *d = largest / LARGEST;
    *d_sum = *d * (float)(sum16[0] + sum16[1]);
}

void nlm_vector_quantize_row(const float *x, int64_t columns, int8_t *q, float *d, float *d_sum, int32_t *sum16) {
    const int64_t blocks = padded_blocks(columns), whole = columns / BLOCK;
    for (int64_t b = 0; b < whole; b++)
        quantize_block(x + b * BLOCK, q + b * PLANES * BLOCK, &d[b], &d_sum[b], &sum16[2 * b]);
    memset(q + whole * PLANES * BLOCK, 0, (size_t)((blocks - whole) * PLANES * BLOCK));
    for (int64_t b = whole; b < blocks; b++) d[b] = d_sum[b] = 0.0f, sum16[2 * b] = sum16[2 * b + 1] = 0;
}

uint64_t nlm_vector_quant_row_bytes(int64_t columns) {
    return ROUND_UP((uint64_t)padded_blocks(columns) * (PLANES * BLOCK + 4 + 4 + 8));
}

quant_row nlm_vector_quant_row_make(const float *x, int64_t columns, void *memory) {
    const int64_t blocks = padded_blocks(columns);
    int8_t *q = memory;
    float *d = (float *)(void *)(q + blocks * PLANES * BLOCK), *d_sum = d + blocks;
    int32_t *sum16 = (int32_t *)(void *)(d_sum + blocks);
    nlm_vector_quantize_row(x, columns, q, d, d_sum, sum16);
    return (quant_row){q, d, d_sum, sum16};
}

uint64_t nlm_vector_quant_tile_bytes(int32_t tokens, int64_t columns) {
    return ROUND_UP((uint64_t)padded_blocks(columns) * (PLANES * BLOCK + 4 + 4 + 8) * (uint64_t)tokens);
}

quant_tile nlm_vector_quant_tile_view(const gemm_quant *gemm, int64_t columns, const void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    const int8_t *q = memory;
    const float *d = (const float *)(const void *)(q + blocks * PLANES * BLOCK * tokens),
                *d_sum = d + blocks * tokens;
    return (quant_tile){q, blocks * PLANES * BLOCK, d, d_sum,
                        (const int32_t *)(const void *)(d_sum + blocks * tokens)};
}

void nlm_vector_quant_tile_make(const gemm_quant *gemm, const float *x, int64_t x_stride, int32_t count,
                                int64_t columns, void *row, void *memory) {
    const int64_t blocks = padded_blocks(columns), tokens = gemm->tokens;
    int8_t *q = memory;
    float *d = (float *)(void *)(q + blocks * PLANES * BLOCK * tokens), *d_sum = d + blocks * tokens;
    int32_t *sum16 = (int32_t *)(void *)(d_sum + blocks * tokens);
    if (count < tokens) memset(memory, 0, (size_t)nlm_vector_quant_tile_bytes((int32_t)tokens, columns));
    for (int32_t m = 0; m < count; m++) {
        const quant_row r = nlm_vector_quant_row_make(x + m * x_stride, columns, row);
        for (int64_t b = 0; b < blocks; b++) {
            d[b * tokens + m] = r.d[b];
            d_sum[b * tokens + m] = r.d_sum[b];
            sum16[(2 * b) * tokens + m] = r.sum16[2 * b];
            sum16[(2 * b + 1) * tokens + m] = r.sum16[2 * b + 1];
        }
        if (gemm->is_row_major) {
            memcpy(q + m * blocks * PLANES * BLOCK, r.q, (size_t)(blocks * PLANES * BLOCK));
            continue;
        }
        for (int64_t g = 0; g < blocks * PLANES * 8; g++) memcpy(q + (g * tokens + m) * 4, r.q + g * 4, 4);
    }
}
