/* Blocks of quantised panels opened up: a byte a weight. */
#include <stddef.h>

#include "cpu/vector/quant_format.h"

/* A group of 4 columns: as it is, or without the offset and, of 4 bits, times 16 before that. */
V_INLINE uint8_t *put_group(const nlm_quant_format *f, nlm_open_form form, vi w, uint8_t *q) {
    const int is_pair = form == OPEN_TILES && f->plane_bits == 4;
    if (form == OPEN_TILES && f->offset) w = vi_sub_u8(w, vi_set1_u8((uint8_t)f->offset));
    if (is_pair) {
        vi_store(q, vi_and(vi_shl16(w, 4), vi_set1_u8(0xF0)));
        q += 8 * GROUP_BYTES;
    }
    vi_store(q, w);
    return q;
}

V_INLINE void open_blocks(const nlm_quant_format *f, const uint8_t *panel, int64_t block, int32_t n_blocks,
                          nlm_open_form form, uint8_t *q, float *scale, float *min) {
    for (int64_t end = block + n_blocks; block < end; block++) {
        const uint8_t *record = panel + block / f->blocks * f->bytes;
        const int b = (int)(block % f->blocks);
        vf scales[2], mins;
        uint8_t *last = q;
        for (int v = 0; v < 4; v++) {
            vi low, high;
            f->pair(record, b, v, &low, &high);
            put_group(f, form, low, q + v * GROUP_BYTES);
            last = put_group(f, form, high, q + (v + 4) * GROUP_BYTES);
        }
        q = last + GROUP_BYTES;
        f->scales(record, b, scales, &mins);
        for (int h = 0; h < f->halves; h++, scale += PANEL_ROWS) vf_store(scale, scales[h]);
        if (!f->has_min) continue;
        vf_store(min, mins);
        min += PANEL_ROWS;
    }
}

#define OPEN(NAME, name, blocks, quant_form)                                                                       \
    static void open_##name(const uint8_t *panel, int64_t block, int32_t n_blocks, nlm_open_form form, uint8_t *q, \
                            float *scale, float *min) {                                                            \
        if (form == OPEN_TILES)                                                                                    \
            open_blocks(&format_##name, panel, block, n_blocks, OPEN_TILES, q, scale, min);                        \
        else                                                                                                       \
            open_blocks(&format_##name, panel, block, n_blocks, OPEN_UNSIGNED, q, scale, min);                     \
    }
QUANT_LIST(OPEN)

#define ENTRY(NAME, name, blocks, form) open_##name,
const nlm_open_quant_fn nlm_vector_open_quant[NLM_VECTOR_QUANT_TYPES] = {QUANT_LIST(ENTRY)};
