/* Activations as integers of 12 or 15 bits, or in one plane of 8, with one scale for each group of columns. */
#include "cpu/vector/activations.h"

#include <float.h>
#include <math.h>

/* Below, limit / largest may be more than f32 holds. */
#define TINY  0x1p-100f
#define RAISE 0x1p64f

nlm_quant_scale nlm_vector_quant_scale_of(const float *x, int64_t n, int limit, float *raised) {
    vf most = vf_zero();
    for (int64_t i = 0; i < n; i += V_LANES) most = vf_max_magnitude(most, vf_abs(vf_load(x + i)));
    const float largest = vf_hmax_magnitude(most), d = largest / (float)limit;
    if (!(largest <= FLT_MAX)) return (nlm_quant_scale){x, 0, NAN};
    if (!(largest > 0)) return (nlm_quant_scale){x, 0, d};
    if (largest >= TINY) return (nlm_quant_scale){x, (float)limit / largest, d};
    for (int64_t i = 0; i < n; i++) raised[i] = x[i] * RAISE;
    return (nlm_quant_scale){raised, (float)limit / (largest * RAISE), d};
}

/* No integers stand for NaN or infinity: zeros, which d, being NaN, spoils. */
static void clear_group(int64_t blocks, int8_t *q, float *sum, int32_t *sum16) {
    memset(q, 0, (size_t)(blocks * PLANES * BLOCK));
    memset(sum, 0, (size_t)blocks * sizeof *sum);
    memset(sum16, 0, (size_t)blocks * 2 * sizeof *sum16);
}

/* 16 integers, and their sum. */
V_INLINE int32_t put_16(const float *x, float scale, int plane_bits, int8_t *q) {
    if (PLANES == 2) return v_split16(x, scale, plane_bits, q, q + BLOCK);
    int32_t sum = 0;
    for (int i = 0; i < 16; i += V_LANES) vf_store_i8(q + i, vf_mul(vf_load(x + i), vf_set1(scale)));
    for (int i = 0; i < 16; i++) sum += q[i];
    return sum;
}

/* Integers and their sums of up to GROUP_BLOCKS blocks; returns d. */
V_INLINE float quantize_group(const float *x, int64_t blocks, int plane_bits, int8_t *q, float *sum, int32_t *sum16) {
    float raised[GROUP_BLOCKS * BLOCK];
    const nlm_quant_scale by = nlm_vector_quant_scale_of(x, blocks * BLOCK, 127 << (PLANES - 1) * plane_bits, raised);
    if (by.d != by.d) {
        clear_group(blocks, q, sum, sum16);
        return by.d;
    }
    for (int64_t b = 0; b < blocks; b++, q += PLANES * BLOCK, sum16 += 2) {
        sum16[0] = put_16(by.x + b * BLOCK, by.scale, plane_bits, q);
        sum16[1] = put_16(by.x + b * BLOCK + 16, by.scale, plane_bits, q + 16);
        sum[b] = (float)(sum16[0] + sum16[1]);
    }
    return by.d;
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
