/* A block of 32 columns of a panel as vectors: what every kernel over quantised weights starts from.
 *
 * weight[column][row] = scale[h][row] * (q - offset) + min[row], h the half of the block (q6_k alone has
 * two). For each format: NAME_OFFSET, NAME_HALVES, NAME_HAS_MIN, NAME_SMALL (q at most 63). */
#ifndef NLM_CPU_PANEL_LOAD_H
#define NLM_CPU_PANEL_LOAD_H

#include "cpu/vector/panel.h"

typedef struct block_weights {
    vi q[8];
    vf scale[2];
    vf min;
} block_weights;

enum {
    Q8_0_OFFSET = V_Q8_OFFSET,
    Q8_0_HALVES = 1,
    Q8_0_HAS_MIN = 0,
    Q8_0_SMALL = 0,
    Q4_0_OFFSET = 8,
    Q4_0_HALVES = 1,
    Q4_0_HAS_MIN = 0,
    Q4_0_SMALL = 1,
    Q4_1_OFFSET = 0,
    Q4_1_HALVES = 1,
    Q4_1_HAS_MIN = 1,
    Q4_1_SMALL = 1,
    Q5_0_OFFSET = 16,
    Q5_0_HALVES = 1,
    Q5_0_HAS_MIN = 0,
    Q5_0_SMALL = 1,
    Q5_1_OFFSET = 0,
    Q5_1_HALVES = 1,
    Q5_1_HAS_MIN = 1,
    Q5_1_SMALL = 1,
    Q4_K_OFFSET = 0,
    Q4_K_HALVES = 1,
    Q4_K_HAS_MIN = 1,
    Q4_K_SMALL = 1,
    Q5_K_OFFSET = 0,
    Q5_K_HALVES = 1,
    Q5_K_HAS_MIN = 1,
    Q5_K_SMALL = 1,
    Q6_K_OFFSET = 32,
    Q6_K_HALVES = 2,
    Q6_K_HAS_MIN = 0,
    Q6_K_SMALL = 1
};

V_INLINE void load_nibbles(const uint8_t *vectors, block_weights *w) {
    const vi low = vi_set1_u8(15);
    for (int v = 0; v < 4; v++) {
        const vi both = vi_load(vectors + v * GROUP_BYTES);
        w->q[v] = vi_and(both, low);
        w->q[v + 4] = vi_and(vi_shr16(both, 4), low);
    }
}

V_INLINE void add_fifths(const uint8_t *bits, block_weights *w) {
    for (int g = 0; g < 8; g++) w->q[g] = vi_add_where(w->q[g], bits + g * (GROUP_BYTES / 8), vi_set1_u8(16));
}

V_INLINE void load_q8_0(const uint8_t *record, int b, block_weights *w) {
    w->scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    const uint8_t *quants = record + 4 * PANEL_ROWS + b * 8 * GROUP_BYTES;
    for (int g = 0; g < 8; g++) w->q[g] = vi_load(quants + g * GROUP_BYTES);
}

V_INLINE void load_q4_0(const uint8_t *record, int b, block_weights *w) {
    w->scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    load_nibbles(record + 4 * PANEL_ROWS + b * NIBBLES, w);
}

V_INLINE void load_q4_1(const uint8_t *record, int b, block_weights *w) {
    w->scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    w->min = vf_load_f16(record + 2 * PANEL_ROWS * (2 + b));
    load_nibbles(record + 8 * PANEL_ROWS + b * NIBBLES, w);
}

V_INLINE void load_q5_0(const uint8_t *record, int b, block_weights *w) {
    const uint8_t *quants = record + 4 * PANEL_ROWS + b * (NIBBLES + FIFTHS);
    w->scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    load_nibbles(quants, w);
    add_fifths(quants + NIBBLES, w);
}

V_INLINE void load_q5_1(const uint8_t *record, int b, block_weights *w) {
    const uint8_t *quants = record + 8 * PANEL_ROWS + b * (NIBBLES + FIFTHS);
    w->scale[0] = vf_load_f16(record + 2 * PANEL_ROWS * b);
    w->min = vf_load_f16(record + 2 * PANEL_ROWS * (2 + b));
    load_nibbles(quants, w);
    add_fifths(quants + NIBBLES, w);
}

/* d * scale and -dmin * min are exact: 11 bits times 6. */
V_INLINE void load_k_scales(const uint8_t *record, int b, block_weights *w) {
    const vf d = vf_load_f16(record), d_min = vf_load_f16(record + 2 * PANEL_ROWS);
    w->scale[0] = vf_mul(d, vf_load_u8(record + (4 + b) * PANEL_ROWS));
    w->min = vf_neg(vf_mul(d_min, vf_load_u8(record + (12 + b) * PANEL_ROWS)));
}

V_INLINE void load_q4_k(const uint8_t *record, int b, block_weights *w) {
    load_k_scales(record, b, w);
    load_nibbles(record + 20 * PANEL_ROWS + b * NIBBLES, w);
}

V_INLINE void load_q5_k(const uint8_t *record, int b, block_weights *w) {
    const uint8_t *quants = record + 20 * PANEL_ROWS + b * (NIBBLES + FIFTHS);
    load_k_scales(record, b, w);
    load_nibbles(quants, w);
    add_fifths(quants + NIBBLES, w);
}

V_INLINE void load_q6_k(const uint8_t *record, int b, block_weights *w) {
    const vf d = vf_load_f16(record);
    w->scale[0] = vf_mul(d, vf_load_i8(record + (2 + 2 * b) * PANEL_ROWS));
    w->scale[1] = vf_mul(d, vf_load_i8(record + (3 + 2 * b) * PANEL_ROWS));
    const uint8_t *quants = record + 18 * PANEL_ROWS + b * (NIBBLES + 2 * GROUP_BYTES);
    load_nibbles(quants, w);
    const vi mask = vi_set1_u8(0x30);
    for (int v = 0; v < 2; v++) {
        const vi high = vi_load(quants + NIBBLES + v * GROUP_BYTES);
        w->q[4 * v] = vi_or(w->q[4 * v], vi_and(vi_shl16(high, 4), mask));
        w->q[4 * v + 1] = vi_or(w->q[4 * v + 1], vi_and(vi_shl16(high, 2), mask));
        w->q[4 * v + 2] = vi_or(w->q[4 * v + 2], vi_and(high, mask));
        w->q[4 * v + 3] = vi_or(w->q[4 * v + 3], vi_and(vi_shr16(high, 2), mask));
    }
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
