/* Row-major GGUF blocks into panels: transpositions of dwords, as a lane of a packed vector is a row. */
#include "cpu/vector/panel.h"

#include <stddef.h>

/* What a call of format->pack reads and writes at most. */
#define ROW_BYTES_MAX 256
#define OUT_BYTES_MAX 4096

/* What every packer below is given: the first byte of row 0, the distance of rows, where records go. */
#define PACK_ARGS const uint8_t *in, int64_t stride, uint8_t *out

/* The halves at `at` of each row. */
static void put_halves(const uint8_t *at, int64_t stride, uint8_t *out) {
    for (int r = 0; r < PANEL_ROWS; r++) memcpy(out + 2 * r, at + r * stride, 2);
}

/* ---- plain types: PANEL_ROWS columns a call ------------------------------------------------- */

static void pack_f32(PACK_ARGS) {
    for (int column = 0; column < PANEL_ROWS; column += 4) {
        vi quads[4];
        v_quads(in + 4 * column, stride, quads);
        for (int i = 0; i < 4; i++) vi_store(out + (column + i) * 4 * PANEL_ROWS, quads[i]);
    }
}

static void pack_f16(PACK_ARGS) {
    for (int column = 0; column < PANEL_ROWS; column += 8) {
        vi quads[4];
        v_quads(in + 2 * column, stride, quads);
        for (int i = 0; i < 4; i++) vi_store(out + (column + 2 * i) * 2 * PANEL_ROWS, vi_halves(quads[i]));
    }
}

/* ---- types of 32 columns: two blocks a call --------------------------------------------------- */

static void pack_q8_0(PACK_ARGS) {
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

static void put_fifths(const uint8_t *at, int64_t stride, uint8_t *out) {
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

static void pack_q4_0(PACK_ARGS) {
    pack_legacy(in, stride, out, 1, 0);
}
static void pack_q4_1(PACK_ARGS) {
    pack_legacy(in, stride, out, 2, 0);
}
static void pack_q5_0(PACK_ARGS) {
    pack_legacy(in, stride, out, 1, 1);
}
static void pack_q5_1(PACK_ARGS) {
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
static void put_k_fifths(const uint8_t *at, int64_t stride, uint8_t *out, int64_t block_stride) {
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

static void pack_q4_k(PACK_ARGS) {
    pack_k45(in, stride, out, 0);
}
static void pack_q5_k(PACK_ARGS) {
    pack_k45(in, stride, out, 1);
}

/* Bits 2k, 2k+1 of byte j are the top ones of column j of block k of four. */
static void put_sixths(const uint8_t *at, int64_t stride, uint8_t *out, int64_t block_stride) {
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
static void pack_q6_k(PACK_ARGS) {
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

static const nlm_panel_format formats[] = {
#define PANEL_ROW(NAME, name, columns, bytes) {NLM_##NAME, columns, bytes, pack_##name},
    PANEL_LIST(PANEL_ROW)
#undef PANEL_ROW
};

#define CHECK_BYTES(NAME, name, columns, bytes) \
    _Static_assert((columns == 1 ? PANEL_ROWS : 1) * (bytes) <= OUT_BYTES_MAX, #name " outgrows the staging area");
PANEL_LIST(CHECK_BYTES)

const nlm_panel_format *nlm_vector_panel_format_find(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].dtype == dtype) return &formats[i];
    }
    return NULL;
}

/* Columns and bytes of one block of the source type. */
static void source_block(nlm_dtype dtype, int32_t *columns, int64_t *bytes) {
    switch (dtype) {
#define SOURCE_CASE(NAME, name, number, elements, block_bytes) \
    case NLM_##NAME:                                           \
        *columns = elements;                                   \
        *bytes = block_bytes;                                  \
        return;
        NLM_DTYPE_LIST(SOURCE_CASE)
#undef SOURCE_CASE
    }
    *columns = 1;
    *bytes = 0;
}

/* One call of format->pack. */
typedef struct pack_step {
    int64_t columns, in_bytes; /* of a row */
    int64_t out_bytes;
} pack_step;

static pack_step step_of(const nlm_panel_format *format) {
    int32_t block_columns;
    int64_t block_bytes;
    source_block(format->dtype, &block_columns, &block_bytes);
    const int64_t records = format->columns == 1 ? PANEL_ROWS : 1, columns = records * format->columns;
    return (pack_step){columns, columns / block_columns * block_bytes, records * format->bytes};
}

/* A step that the weight does not fill: what it lacks is zeros. */
static void pack_edge(const nlm_panel_format *format, const pack_step *step, const uint8_t *in, int64_t stride,
                      int64_t rows, int64_t row_bytes, uint8_t *out, int64_t out_bytes) {
    uint8_t staged[PANEL_ROWS * ROW_BYTES_MAX] = {0}, packed[OUT_BYTES_MAX];
    for (int64_t r = 0; r < rows; r++) memcpy(staged + r * ROW_BYTES_MAX, in + r * stride, (size_t)row_bytes);
    format->pack(staged, ROW_BYTES_MAX, packed);
    memcpy(out, packed, (size_t)(out_bytes < step->out_bytes ? out_bytes : step->out_bytes));
}

static void pack_panel(const nlm_panel_format *format, const uint8_t *in, int64_t stride, int64_t rows,
                       int64_t row_bytes, uint8_t *out, int64_t out_bytes) {
    const pack_step step = step_of(format);
    for (; out_bytes > 0; out_bytes -= step.out_bytes, row_bytes -= step.in_bytes) {
        if (rows == PANEL_ROWS && row_bytes >= step.in_bytes)
            format->pack(in, stride, out);
        else
            pack_edge(format, &step, in, stride, rows, row_bytes < step.in_bytes ? row_bytes : step.in_bytes, out,
                      out_bytes);
        in += step.in_bytes;
        out += step.out_bytes;
    }
}

void nlm_vector_panel_pack(const nlm_panel_format *format, const nlm_tensor *w, int64_t row_from, int64_t row_to,
                           uint8_t *packed) {
    int32_t block_columns;
    int64_t block_bytes;
    source_block(format->dtype, &block_columns, &block_bytes);
    const uint64_t bytes = panel_bytes(format, w->shape[1]);
    for (int64_t row = row_from; row < row_to; row += PANEL_ROWS) {
        const int64_t rows = row_to - row < PANEL_ROWS ? row_to - row : PANEL_ROWS;
        pack_panel(format, (const uint8_t *)w->data + row * w->stride_bytes[0], w->stride_bytes[0], rows,
                   w->shape[1] / block_columns * block_bytes, packed + (uint64_t)(row / PANEL_ROWS) * bytes,
                   (int64_t)bytes);
    }
}
