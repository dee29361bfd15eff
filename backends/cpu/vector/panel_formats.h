/* The formats of panels, one for each type of weight: its line, how a record of it is packed, and how a block of
 * 32 columns is loaded as vectors, which is what every kernel over quantised weights starts from.
 *
 * weight[column][row] = scale[h][row] * (q - offset) + min[row], h the half of the block. */
#ifndef NLM_CPU_PANEL_FORMATS_H
#define NLM_CPU_PANEL_FORMATS_H

#include <nlm/dtype.h>

#include "cpu/vector/panel.h"

/* bytes of a quantised record: scales + blocks * bytes of a block's quants */
#define NIBBLES (4 * GROUP_BYTES)
#define FIFTHS  (8 * GROUP_BYTES / 8)

/* X(NAME, name, columns a record, bytes a record) */
#define PANEL_LIST(X)                                                  \
    X(F32, f32, 1, 4 * PANEL_ROWS)                                     \
    X(F16, f16, 1, 2 * PANEL_ROWS)                                     \
    X(BF16, bf16, 1, 2 * PANEL_ROWS)                                   \
    X(Q8_0, q8_0, 64, 2 * 2 * PANEL_ROWS + 2 * 8 * GROUP_BYTES)        \
    X(Q4_0, q4_0, 64, 2 * 2 * PANEL_ROWS + 2 * NIBBLES)                \
    X(Q4_1, q4_1, 64, 2 * 4 * PANEL_ROWS + 2 * NIBBLES)                \
    X(Q5_0, q5_0, 64, 2 * 2 * PANEL_ROWS + 2 * (NIBBLES + FIFTHS))     \
    X(Q5_1, q5_1, 64, 2 * 4 * PANEL_ROWS + 2 * (NIBBLES + FIFTHS))     \
    X(IQ4_NL, iq4_nl, 64, q4_0_record_bytes)                           \
    X(Q4_K, q4_k, 256, (4 + 16) * PANEL_ROWS + 8 * NIBBLES)            \
    X(Q5_K, q5_k, 256, (4 + 16) * PANEL_ROWS + 8 * (NIBBLES + FIFTHS)) \
    X(Q6_K, q6_k, 256, (2 + 16) * PANEL_ROWS + 8 * (NIBBLES + 2 * GROUP_BYTES))

/* What kernels must know of a format's numbers: X(form, offset, halves that have a scale of their own, has a
 * minimum, the greatest q, bits of the low byte of the activations, fold). Of bytes, q is signed where nothing is
 * added to it.
 *
 * The scales of super-blocks are an f16 times integers. Where V_FOLDS says so, these are factors of the weights, and
 * `fold` blocks have one sum, which 32 bits hold: activations reach 127 << 7, so that it is at most 15 * 63 * 16256 *
 * 128, 31 * 63 * 16256 * 64 and 32 * 128 * 16256 * 32. 0: there are no such integers. */
#define FORM_LIST(X)                               \
    X(q8, V_Q8_OFFSET, 1, 0, 255, 7, 0)            \
    X(q4, 8, 1, 0, 15, V_NIBBLE_PLANE_BITS, 0)     \
    X(q4_min, 0, 1, 1, 15, V_NIBBLE_PLANE_BITS, 0) \
    X(q4_k, 0, 1, 1, 15, V_NIBBLE_PLANE_BITS, 4)   \
    X(q5, 16, 1, 0, 31, 7, 0)                      \
    X(q5_min, 0, 1, 1, 31, 7, 0)                   \
    X(q5_k, 0, 1, 1, 31, 7, 2)                     \
    X(q6_k, 32, 2, 0, 63, 7, 1)

/* The quantised types: X(NAME, name, blocks of 32 in a record, form) */
#define QUANT_LIST(X)        \
    X(Q8_0, q8_0, 2, q8)     \
    X(Q4_0, q4_0, 2, q4)     \
    X(Q4_1, q4_1, 2, q4_min) \
    X(Q5_0, q5_0, 2, q5)     \
    X(Q5_1, q5_1, 2, q5_min) \
    X(IQ4_NL, iq4_nl, 2, q8) \
    X(Q4_K, q4_k, 8, q4_k)   \
    X(Q5_K, q5_k, 8, q5_k)   \
    X(Q6_K, q6_k, 8, q6_k)

enum {
#define FORM_ENUM(form, offset, halves, has_min, most, plane_bits, fold)                                        \
    FORM_##form##_OFFSET = (offset), FORM_##form##_HALVES = (halves), FORM_##form##_HAS_MIN = (has_min),        \
    FORM_##form##_MOST = (most), FORM_##form##_IS_SMALL = (most) < 64, FORM_##form##_PLANE_BITS = (plane_bits), \
    FORM_##form##_FOLD = V_FOLDS ? (fold) : 0,
    FORM_LIST(FORM_ENUM)
#undef FORM_ENUM
#define RECORD_BYTES(NAME, name, columns, bytes) name##_record_bytes = (bytes),
        PANEL_LIST(RECORD_BYTES)
#undef RECORD_BYTES
};

/* ---- loading ----------------------------------------------------------------------------------- */

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

/* Packed as q4_0; its values have 8 bits. */
V_INLINE void pair_iq4_nl(const uint8_t *record, int b, int v, vi *low, vi *high) {
    const vi offset = vi_set1_u8((uint8_t)(0u - V_Q8_OFFSET)); /* subtracted */
    const vi values = vi_sub_u8(vi_load_table(nlm_iq4_nl_values), offset);
    pair_q4_0(record, b, v, low, high);
    *low = vi_lookup(values, *low);
    *high = vi_lookup(values, *high);
}
#define scales_iq4_nl scales_q4_0

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

/* What the scales of block b have before the super-block's f16, `halves` of them as dwords. */
V_INLINE void super_block_factors(const uint8_t *record, int b, int halves, vi *factor) {
    if (halves == 1) {
        factor[0] = vi_load_u8(record + (4 + b) * PANEL_ROWS);
    } else {
        factor[0] = vi_load_i8(record + (2 + 2 * b) * PANEL_ROWS);
        factor[1] = vi_load_i8(record + (3 + 2 * b) * PANEL_ROWS);
    }
}

/* ---- packing: transpositions of dwords, as a lane of a packed vector is a row ------------------------ */

/* What every packer below is given: the first byte of row 0, the distance of rows, where records go. */
#define PACK_ARGS const uint8_t *in, int64_t stride, uint8_t *out

/* The halves at `at` of each row. */
V_INLINE void put_halves(const uint8_t *at, int64_t stride, uint8_t *out) {
    for (int r = 0; r < PANEL_ROWS; r++) memcpy(out + 2 * r, at + r * stride, 2);
}

/* ---- plain types: PANEL_ROWS columns a call ------------------------------------------------- */

V_INLINE void pack_f32(PACK_ARGS) {
    for (int column = 0; column < PANEL_ROWS; column += 4) {
        vi quads[4];
        v_quads(in + 4 * column, stride, quads);
        for (int i = 0; i < 4; i++) vi_store(out + (column + i) * 4 * PANEL_ROWS, quads[i]);
    }
}

V_INLINE void pack_f16(PACK_ARGS) {
    for (int column = 0; column < PANEL_ROWS; column += 8) {
        vi quads[4];
        v_quads(in + 2 * column, stride, quads);
        for (int i = 0; i < 4; i++) vi_store(out + (column + 2 * i) * 2 * PANEL_ROWS, vi_halves(quads[i]));
    }
}

/* ---- types of 32 columns: two blocks a call --------------------------------------------------- */

V_INLINE void pack_q8_0(PACK_ARGS) {
    const vi offset = vi_set1_u8((uint8_t)(0u - V_Q8_OFFSET)); /* subtracted */
    for (int b = 0; b < 2; b++) {
        const uint8_t *block = in + 34 * b;
        uint8_t *quants = out + 4 * PANEL_ROWS + b * 8 * GROUP_BYTES;
        put_halves(block, stride, out + 2 * PANEL_ROWS * b);
        for (int half = 0; half < 2; half++) {
            vi quads[4];
            v_quads(block + 2 + 16 * half, stride, quads);
            for (int i = 0; i < 4; i++) vi_store(quants + (4 * half + i) * GROUP_BYTES, vi_sub_u8(quads[i], offset));
        }
    }
}

/* The fifth bits of a group's columns, one to a byte's top: bits 4g .. 4g+3 of each lane, now its lowest. */
V_INLINE vi spread_nibble(vi bits) {
    const vi low = vi_and(bits, vi_set1(15));
    return vi_or(vi_or(vi_shl32(low, 7), vi_shl32(low, 14)), vi_or(vi_shl32(low, 21), vi_shl32(low, 28)));
}

V_INLINE void put_fifths(const uint8_t *at, int64_t stride, uint8_t *out) {
    int32_t rows[PANEL_ROWS];
    for (int r = 0; r < PANEL_ROWS; r++) memcpy(&rows[r], at + r * stride, 4);
    vi bits = vi_load(rows);
    for (int g = 0; g < 8; g++) {
        vi_store_bits(out + g * (GROUP_BYTES / 8), spread_nibble(bits));
        bits = vi_shr32(bits, 4);
    }
}

/* The four types of nibbles differ in what stands before them. A file's byte has columns j and j+16, as a
 * packed one. */
V_INLINE void pack_legacy(PACK_ARGS, int n_scales, int has_fifths) {
    const int block_bytes = 2 * n_scales + 4 * has_fifths + 16;
    for (int b = 0; b < 2; b++) {
        const uint8_t *block = in + b * block_bytes;
        uint8_t *quants = out + 4 * n_scales * PANEL_ROWS + b * (NIBBLES + has_fifths * FIFTHS);
        for (int s = 0; s < n_scales; s++) put_halves(block + 2 * s, stride, out + 2 * PANEL_ROWS * (2 * s + b));
        vi quads[4];
        v_quads(block + block_bytes - 16, stride, quads);
        for (int i = 0; i < 4; i++) vi_store(quants + i * GROUP_BYTES, quads[i]);
        if (has_fifths) put_fifths(block + 2 * n_scales, stride, quants + NIBBLES);
    }
}

V_INLINE void pack_q4_0(PACK_ARGS) {
    pack_legacy(in, stride, out, 1, 0);
}
#define pack_iq4_nl pack_q4_0

V_INLINE void pack_q4_1(PACK_ARGS) {
    pack_legacy(in, stride, out, 2, 0);
}
V_INLINE void pack_q5_0(PACK_ARGS) {
    pack_legacy(in, stride, out, 1, 1);
}
V_INLINE void pack_q5_1(PACK_ARGS) {
    pack_legacy(in, stride, out, 2, 1);
}

/* ---- k-quants: one block of 256 columns a call ------------------------------------------------- */

/* Bytes of a file hold columns of two blocks; a packed byte columns j and j+16 of one: first[] and
 * second[] are the file's bytes of columns 0 .. 15 and 16 .. 31. */
V_INLINE void put_low_nibbles(const vi *first, const vi *second, uint8_t *out) {
    const vi low = vi_set1_u8(15), high = vi_set1_u8(0xF0);
    for (int v = 0; v < 4; v++) {
        vi_store(out + v * GROUP_BYTES, vi_or(vi_and(first[v], low), vi_and(vi_shl16(second[v], 4), high)));
    }
}
V_INLINE void put_high_nibbles(const vi *first, const vi *second, uint8_t *out) {
    const vi low = vi_set1_u8(15), high = vi_set1_u8(0xF0);
    for (int v = 0; v < 4; v++) {
        vi_store(out + v * GROUP_BYTES, vi_or(vi_and(vi_shr16(first[v], 4), low), vi_and(second[v], high)));
    }
}

/* d, dmin and 8 scales and mins of 6 bits: halves d[R], dmin[R], then bytes scales[8][R], mins[8][R]. */
V_INLINE void put_k_scales(PACK_ARGS) {
    vi head[4]; /* d and dmin; the low bits of scales 0..3 and mins 0..3; the low ones of all others */
    v_quads(in, stride, head);
    const vi six = vi_set1_u8(63), low = vi_set1_u8(15), top = vi_set1_u8(0x30);
    const vi scales = vi_or(vi_and(head[3], low), vi_and(vi_shr16(head[1], 2), top));
    const vi mins = vi_or(vi_and(vi_shr16(head[3], 4), low), vi_and(vi_shr16(head[2], 2), top));
    vi_store(out, vi_halves(head[0]));
    out += GROUP_BYTES;
    vi_store(out, vi_planes(vi_and(head[1], six)));
    vi_store(out + GROUP_BYTES, vi_planes(scales));
    vi_store(out + 2 * GROUP_BYTES, vi_planes(vi_and(head[2], six)));
    vi_store(out + 3 * GROUP_BYTES, vi_planes(mins));
}

/* Bit b of byte j is the fifth bit of column j of block b. */
V_INLINE void put_k_fifths(const uint8_t *at, int64_t stride, uint8_t *out, int64_t block_stride) {
    vi bits[8];
    v_quads(at, stride, bits);
    v_quads(at + 16, stride, bits + 4);
    for (int b = 7; b >= 0; b--) {
        for (int g = 0; g < 8; g++) {
            vi_store_bits(out + b * block_stride + g * (GROUP_BYTES / 8), bits[g]);
            bits[g] = vi_shl16(bits[g], 1);
        }
    }
}

V_INLINE void pack_k45(PACK_ARGS, int has_fifths) {
    const int64_t block_stride = NIBBLES + has_fifths * FIFTHS;
    const uint8_t *nibbles = in + 16 + 32 * has_fifths;
    uint8_t *quants = out + 20 * PANEL_ROWS;
    put_k_scales(in, stride, out);
    for (int pair = 0; pair < 4; pair++) {
        vi first[4], second[4];
        v_quads(nibbles + 32 * pair, stride, first);
        v_quads(nibbles + 32 * pair + 16, stride, second);
        put_low_nibbles(first, second, quants + 2 * pair * block_stride);
        put_high_nibbles(first, second, quants + (2 * pair + 1) * block_stride);
    }
    if (has_fifths) put_k_fifths(in + 16, stride, quants + NIBBLES, block_stride);
}

V_INLINE void pack_q4_k(PACK_ARGS) {
    pack_k45(in, stride, out, 0);
}
V_INLINE void pack_q5_k(PACK_ARGS) {
    pack_k45(in, stride, out, 1);
}

/* Bits 2k, 2k+1 of byte j are the top ones of column j of block k of four. */
V_INLINE void put_sixths(const uint8_t *at, int64_t stride, uint8_t *out, int64_t block_stride) {
    const vi two = vi_set1_u8(3);
    vi bits[8];
    v_quads(at, stride, bits);
    v_quads(at + 16, stride, bits + 4);
    for (int k = 0; k < 4; k++, out += block_stride) {
        for (int v = 0; v < 2; v++) {
            const vi *g = bits + 4 * v;
            const vi low = vi_or(vi_and(g[0], two), vi_shl16(vi_and(g[1], two), 2));
            const vi high = vi_or(vi_shl16(vi_and(g[2], two), 4), vi_shl16(vi_and(g[3], two), 6));
            vi_store(out + v * GROUP_BYTES, vi_or(low, high));
        }
        for (int i = 0; i < 8; i++) bits[i] = vi_shr16(bits[i], 2);
    }
}

/* Record: d[R] as halves, scales[16][R] as signed bytes, then 8 blocks of nibbles and 2-bit vectors. */
V_INLINE void pack_q6_k(PACK_ARGS) {
    const int64_t block_stride = NIBBLES + 2 * GROUP_BYTES;
    uint8_t *scales = out + 2 * PANEL_ROWS, *quants = scales + 16 * PANEL_ROWS;
    vi quads[4];
    put_halves(in + 208, stride, out);
    v_quads(in + 192, stride, quads);
    for (int i = 0; i < 4; i++) vi_store(scales + i * GROUP_BYTES, vi_planes(quads[i]));
    for (int half = 0; half < 2; half++) { /* 64 bytes: low nibbles of two blocks, high ones of the next two */
        for (int b = 0; b < 2; b++) {
            vi first[4], second[4];
            v_quads(in + 64 * half + 32 * b, stride, first);
            v_quads(in + 64 * half + 32 * b + 16, stride, second);
            put_low_nibbles(first, second, quants + (4 * half + b) * block_stride);
            put_high_nibbles(first, second, quants + (4 * half + b + 2) * block_stride);
        }
        put_sixths(in + 128 + 32 * half, stride, quants + 4 * half * block_stride + NIBBLES, block_stride);
    }
}

#define pack_bf16 pack_f16

#endif
