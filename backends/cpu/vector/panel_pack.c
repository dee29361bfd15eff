/* Row-major GGUF blocks into panels. Plain C: runs once, at load, on every core. */
#include "cpu/vector/panel.h"

#include <stddef.h>

/* Quants of one row as bytes, 32 at a time, in column order. */
static void nibbles_in_order(const uint8_t *qs, uint8_t *out) {
    for (int j = 0; j < 16; j++) {
        out[j] = qs[j] & 15;
        out[j + 16] = qs[j] >> 4;
    }
}

/* Columns 4g..4g+3 of row r; vector v's low nibbles are group v, its high ones group v+4. */
static void put_nibbles(const uint8_t *q, int r, uint8_t *vectors) {
    for (int v = 0; v < 4; v++) {
        for (int i = 0; i < 4; i++)
            vectors[v * GROUP_BYTES + r * 4 + i] = (uint8_t)((q[4 * v + i] & 15) | (q[4 * v + 16 + i] & 15) << 4);
    }
}

static void put_fifths(const uint8_t *q, int r, uint8_t *bits) {
    for (int column = 0; column < 32; column++) {
        const int byte = r * 4 + column % 4; /* of the group's vector */
        uint8_t *group = bits + (column / 4) * (GROUP_BYTES / 8);
        if (q[column] & 16) group[byte / 8] = (uint8_t)(group[byte / 8] | 1u << (byte % 8));
    }
}

static void put_sixths(const uint8_t *q, int r, uint8_t *vectors) {
    for (int column = 0; column < 32; column++) {
        const int g = column / 4;
        uint8_t *byte = vectors + (g / 4) * GROUP_BYTES + r * 4 + column % 4;
        *byte = (uint8_t)(*byte | (q[column] >> 4) << (2 * (g % 4)));
    }
}

static void put_half(uint8_t *halves, int index, const uint8_t *half) {
    memcpy(halves + 2 * index, half, 2);
}

static void pack_plain(const uint8_t *const *rows, uint8_t *record, size_t element) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        if (rows[r]) memcpy(record + (size_t)r * element, rows[r], element);
    }
}

static void pack_f32(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    (void)blocks;
    pack_plain(rows, record, 4);
}

static void pack_f16(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    (void)blocks;
    pack_plain(rows, record, 2);
}

/* The five 32-column types differ in what stands before the quants and in their bits. */
static void pack_legacy(const uint8_t *const *rows, int32_t blocks, uint8_t *record, int n_scales, int has_fifths) {
    const size_t block_bytes = (size_t)(2 * n_scales + 4 * has_fifths + 16);
    uint8_t *quants = record + 2 * 2 * n_scales * PANEL_ROWS;
    for (int b = 0; b < blocks; b++) {
        for (int r = 0; r < PANEL_ROWS; r++) {
            if (!rows[r]) continue;
            const uint8_t *block = rows[r] + (size_t)b * block_bytes;
            for (int s = 0; s < n_scales; s++)
                put_half(record + s * 2 * 2 * PANEL_ROWS, b * PANEL_ROWS + r, block + 2 * s);
            uint8_t q[32];
            nibbles_in_order(block + block_bytes - 16, q);
            uint8_t *out = quants + b * (NIBBLES + has_fifths * FIFTHS);
            put_nibbles(q, r, out);
            if (!has_fifths) continue;
            uint32_t high;
            memcpy(&high, block + 2 * n_scales, 4);
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)(q[j] | ((high >> j) & 1) << 4);
            put_fifths(q, r, out + NIBBLES);
        }
    }
}

static void pack_q4_0(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    pack_legacy(rows, blocks, record, 1, 0);
}
static void pack_q4_1(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    pack_legacy(rows, blocks, record, 2, 0);
}
static void pack_q5_0(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    pack_legacy(rows, blocks, record, 1, 1);
}
static void pack_q5_1(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    pack_legacy(rows, blocks, record, 2, 1);
}

static void pack_q8_0(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    uint8_t *quants = record + 2 * 2 * PANEL_ROWS;
    for (int b = 0; b < blocks; b++) {
        for (int r = 0; r < PANEL_ROWS; r++) {
            if (!rows[r]) continue;
            const uint8_t *block = rows[r] + (size_t)b * 34;
            put_half(record, b * PANEL_ROWS + r, block);
            for (int j = 0; j < 32; j++)
                quants[(b * 8 + j / 4) * GROUP_BYTES + r * 4 + j % 4] = (uint8_t)(block[2 + j] + V_Q8_OFFSET);
        }
    }
}

/* The 6-bit scales and mins of a k-quant super-block: 12 bytes hold 8 of each. */
static void k_scales(const uint8_t *packed, uint8_t *scales, uint8_t *mins) {
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
        mins[j + 4] = (uint8_t)((packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4);
    }
}

/* Record: d[R], dmin[R] as halves, scales[8][R], mins[8][R] as bytes, then the 8 blocks. */
static void pack_k45(const uint8_t *const *rows, uint8_t *record, int has_fifths) {
    uint8_t *scales = record + 4 * PANEL_ROWS, *mins = scales + 8 * PANEL_ROWS, *quants = mins + 8 * PANEL_ROWS;
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *super = rows[r];
        if (!super) continue;
        put_half(record, r, super);
        put_half(record + 2 * PANEL_ROWS, r, super + 2);
        uint8_t s[8], m[8];
        k_scales(super + 4, s, m);
        const uint8_t *fifths = super + 16, *nibbles = super + 16 + 32 * has_fifths;
        for (int b = 0; b < 8; b++) {
            scales[b * PANEL_ROWS + r] = s[b];
            mins[b * PANEL_ROWS + r] = m[b];
            uint8_t q[32];
            for (int j = 0; j < 32; j++) {
                const uint8_t byte = nibbles[(b / 2) * 32 + j];
                q[j] = b % 2 ? byte >> 4 : byte & 15;
                if (has_fifths) q[j] = (uint8_t)(q[j] | ((fifths[j] >> b) & 1) << 4);
            }
            uint8_t *out = quants + b * (NIBBLES + has_fifths * FIFTHS);
            put_nibbles(q, r, out);
            if (has_fifths) put_fifths(q, r, out + NIBBLES);
        }
    }
}

static void pack_q4_k(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    (void)blocks;
    pack_k45(rows, record, 0);
}
static void pack_q5_k(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    (void)blocks;
    pack_k45(rows, record, 1);
}

/* Record: d[R] as halves, scales[16][R] as signed bytes, then 8 blocks of nibbles and 2-bit vectors. */
static void pack_q6_k(const uint8_t *const *rows, int32_t blocks, uint8_t *record) {
    (void)blocks;
    uint8_t *scales = record + 2 * PANEL_ROWS, *quants = scales + 16 * PANEL_ROWS;
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *super = rows[r];
        if (!super) continue;
        put_half(record, r, super + 208);
        for (int s = 0; s < 16; s++) scales[s * PANEL_ROWS + r] = super[192 + s];
        for (int b = 0; b < 8; b++) {
            const uint8_t *low = super + (b / 4) * 64 + (b % 2) * 32, *high = super + 128 + (b / 4) * 32;
            uint8_t q[32];
            for (int j = 0; j < 32; j++) {
                const int nibble = b % 4 >= 2 ? low[j] >> 4 : low[j] & 15;
                q[j] = (uint8_t)(nibble | ((high[j] >> (2 * (b % 4))) & 3) << 4);
            }
            uint8_t *out = quants + b * (NIBBLES + 2 * GROUP_BYTES);
            put_nibbles(q, r, out);
            put_sixths(q, r, out + NIBBLES);
        }
    }
}

#define pack_bf16 pack_f16

static const panel_format formats[] = {
#define PANEL_ROW(NAME, name, columns, bytes) {NLM_##NAME, columns, bytes, pack_##name},
    PANEL_LIST(PANEL_ROW)
#undef PANEL_ROW
};

const panel_format *nlm_vector_panel_format_find(nlm_dtype dtype) {
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

void nlm_vector_panel_pack(const panel_format *format, const nlm_tensor *w, int64_t row_from, int64_t row_to,
                           uint8_t *packed) {
    int32_t block_columns;
    int64_t block_bytes;
    source_block(format->dtype, &block_columns, &block_bytes);
    const int64_t n_records = panel_records(format, w->shape[1]), n_blocks = w->shape[1] / block_columns;
    const int64_t record_blocks = format->columns / block_columns;
    for (int64_t first = row_from; first < row_to; first += PANEL_ROWS) {
        uint8_t *record = packed + (uint64_t)(first / PANEL_ROWS) * panel_bytes(format, w->shape[1]);
        for (int64_t i = 0; i < n_records; i++, record += format->bytes) {
            const int64_t left = n_blocks - i * record_blocks;
            const uint8_t *rows[PANEL_ROWS];
            for (int r = 0; r < PANEL_ROWS; r++) {
                rows[r] = first + r < row_to ? (const uint8_t *)w->data + (first + r) * w->stride_bytes[0] +
                                                   i * record_blocks * block_bytes
                                             : NULL;
            }
            memset(record, 0, format->bytes);
            format->pack(rows, (int32_t)(left < record_blocks ? left : record_blocks), record);
        }
    }
}
