/* A block of 32 columns of a panel as vectors: what every kernel over quantised weights starts from.
 *
 * weight[column][row] = scale[h][row] * (q - offset) + min[row], h the half of the block (q6_k alone has
 * two). For each format: NAME_OFFSET, NAME_HALVES, NAME_HAS_MIN, NAME_SMALL (q at most 63), NAME_PLANE_BITS. */
#ifndef NLM_CPU_PANEL_LOAD_H
#define NLM_CPU_PANEL_LOAD_H

#include "cpu/vector/panel.h"

enum {
    Q8_0_OFFSET = V_Q8_OFFSET,
    Q8_0_HALVES = 1,
    Q8_0_HAS_MIN = 0,
    Q8_0_SMALL = 0,
    Q8_0_PLANE_BITS = 7,
    Q4_0_OFFSET = 8,
    Q4_0_HALVES = 1,
    Q4_0_HAS_MIN = 0,
    Q4_0_SMALL = 1,
    Q4_0_PLANE_BITS = 4,
    Q4_1_OFFSET = 0,
    Q4_1_HALVES = 1,
    Q4_1_HAS_MIN = 1,
    Q4_1_SMALL = 1,
    Q4_1_PLANE_BITS = 4,
    Q5_0_OFFSET = 16,
    Q5_0_HALVES = 1,
    Q5_0_HAS_MIN = 0,
    Q5_0_SMALL = 1,
    Q5_0_PLANE_BITS = 7,
    Q5_1_OFFSET = 0,
    Q5_1_HALVES = 1,
    Q5_1_HAS_MIN = 1,
    Q5_1_SMALL = 1,
    Q5_1_PLANE_BITS = 7,
    Q4_K_OFFSET = 0,
    Q4_K_HALVES = 1,
    Q4_K_HAS_MIN = 1,
    Q4_K_SMALL = 1,
    Q4_K_PLANE_BITS = 4,
    Q5_K_OFFSET = 0,
    Q5_K_HALVES = 1,
    Q5_K_HAS_MIN = 1,
    Q5_K_SMALL = 1,
    Q5_K_PLANE_BITS = 7,
    Q6_K_OFFSET = 32,
    Q6_K_HALVES = 2,
    Q6_K_HAS_MIN = 0,
    Q6_K_SMALL = 1,
    Q6_K_PLANE_BITS = 7
};

/* Groups v and v+4 of block b of a record. */
typedef void (*nlm_pair_fn)(const uint8_t *record, int b, int v, vi *low, vi *high);
/* scale[halves] and min of block b; min only where the format has one. */
typedef void (*nlm_scales_fn)(const uint8_t *record, int b, vf *scale, vf *min);

V_INLINE void nibbles(const uint8_t *block, int v, vi *low, vi *high) {
    const vi both = vi_load(block + v * GROUP_BYTES), mask = vi_set1_u8(15);
    *low = vi_and(both, mask);
    *high = vi_and(vi_shr16(both, 4), mask);
}

/* With fifth bits, which follow the nibbles. */
V_INLINE void nibbles_and_fifths(const uint8_t *block, int v, vi *low, vi *high) {
    const uint8_t *bits = block + NIBBLES;
    nibbles(block, v, low, high);
    *low = vi_add_where(*low, bits + v * (GROUP_BYTES / 8), vi_set1_u8(16));
    *high = vi_add_where(*high, bits + (v + 4) * (GROUP_BYTES / 8), vi_set1_u8(16));
}

V_INLINE void pair_q8_0(const uint8_t *record, int b, int v, vi *low, vi *high) {
    const uint8_t *block = record + 4 * PANEL_ROWS + b * 8 * GROUP_BYTES;
    *low = vi_load(block + v * GROUP_BYTES);
    *high = vi_load(block + (v + 4) * GROUP_BYTES);
}
V_INLINE void scales_q8_0(const uint8_t *record, int b, vf *scale, vf *min) {
    (void)min;
    scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
}

V_INLINE void pair_q4_0(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles(record + 4 * PANEL_ROWS + b * NIBBLES, v, low, high);
}
#define scales_q4_0 scales_q8_0

V_INLINE void pair_q4_1(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles(record + 8 * PANEL_ROWS + b * NIBBLES, v, low, high);
}
V_INLINE void scales_q4_1(const uint8_t *record, int b, vf *scale, vf *min) {
    scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    *min = vf_load_f16(record + 2 * PANEL_ROWS * (2 + b));
}

V_INLINE void pair_q5_0(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles_and_fifths(record + 4 * PANEL_ROWS + b * (NIBBLES + FIFTHS), v, low, high);
}
#define scales_q5_0 scales_q8_0

V_INLINE void pair_q5_1(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles_and_fifths(record + 8 * PANEL_ROWS + b * (NIBBLES + FIFTHS), v, low, high);
}
#define scales_q5_1 scales_q4_1

V_INLINE void pair_q4_k(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles(record + 20 * PANEL_ROWS + b * NIBBLES, v, low, high);
}
/* d * scale and -dmin * min are exact: 11 bits times 6. */
V_INLINE void scales_q4_k(const uint8_t *record, int b, vf *scale, vf *min) {
    const vf d = vf_load_f16(record), d_min = vf_load_f16(record + 2 * PANEL_ROWS);
    scale[0] = vf_mul(d, vf_load_u8(record + (4 + b) * PANEL_ROWS));
    *min = vf_neg(vf_mul(d_min, vf_load_u8(record + (12 + b) * PANEL_ROWS)));
}

V_INLINE void pair_q5_k(const uint8_t *record, int b, int v, vi *low, vi *high) {
    nibbles_and_fifths(record + 20 * PANEL_ROWS + b * (NIBBLES + FIFTHS), v, low, high);
}
#define scales_q5_k scales_q4_k

/* Groups v and v+4 have their two high bits in place v of the first and of the second vector. */
V_INLINE void pair_q6_k(const uint8_t *record, int b, int v, vi *low, vi *high) {
    const uint8_t *block = record + 18 * PANEL_ROWS + b * (NIBBLES + 2 * GROUP_BYTES);
    const vi mask = vi_set1_u8(0x30);
    const vi first = vi_load(block + NIBBLES), second = vi_load(block + NIBBLES + GROUP_BYTES);
    nibbles(block, v, low, high);
    *low = vi_or(*low, vi_and(v < 3 ? vi_shl16(first, 4 - 2 * v) : vi_shr16(first, 2), mask));
    *high = vi_or(*high, vi_and(v < 3 ? vi_shl16(second, 4 - 2 * v) : vi_shr16(second, 2), mask));
}
V_INLINE void scales_q6_k(const uint8_t *record, int b, vf *scale, vf *min) {
    (void)min;
    const vf d = vf_load_f16(record);
    scale[0] = vf_mul(d, vf_load_i8(record + (2 + 2 * b) * PANEL_ROWS));
    scale[1] = vf_mul(d, vf_load_i8(record + (3 + 2 * b) * PANEL_ROWS));
}

/* X(NAME, name, blocks of 32 in a record) */
#define QUANT_LIST(X) \
    X(Q8_0, q8_0, 2)  \
    X(Q4_0, q4_0, 2)  \
    X(Q4_1, q4_1, 2)  \
    X(Q5_0, q5_0, 2)  \
    X(Q5_1, q5_1, 2)  \
    X(Q4_K, q4_k, 8)  \
    X(Q5_K, q5_k, 8)  \
    X(Q6_K, q6_k, 8)

#endif
