/* Few tokens over quantised weights: bound by the bytes of the weights. Panels are read as parallel streams. */
#include <stddef.h>

#include "cpu/vector/kernels.h"

#define PREFETCH_BYTES 1024

/* A dot product waits for the one before it in its sum, so sums take turns: as many as registers hold. */
#if V_LANES == 16
#define TURN_SUMS 16
#else
#define TURN_SUMS 4
#endif

/* What differs between the types; a constant wherever it is used, so that nothing of it is left at run time. */
typedef struct quant_format {
    nlm_pair_fn pair;
    nlm_scales_fn scales;
    int offset, halves, has_min, is_small, plane_bits;
    int blocks, bytes; /* of a record */
} quant_format;

#define FORMAT(NAME, name, blocks, form)                                                               \
    static const quant_format format_##name = {                                                        \
        pair_##name,           scales_##name,          FORM_##form##_OFFSET,     FORM_##form##_HALVES, \
        FORM_##form##_HAS_MIN, FORM_##form##_IS_SMALL, FORM_##form##_PLANE_BITS, blocks,               \
        name##_record_bytes};
QUANT_LIST(FORMAT)

V_INLINE vi four_of(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vi_set1(four);
}

/* sum[panel][token] + the products of block `b` of the records at `at` with the tokens' block `block`. */
V_INLINE void block_dots(const quant_format *f, const uint8_t *const *at, int b, int n_panels, const nlm_quant_row *x,
                         int n_tokens, int64_t block, vf (*sum)[GEMV_TOKENS]) {
    vi high[2][GEMV_PANELS][GEMV_TOKENS], low[2][GEMV_PANELS][GEMV_TOKENS];
    _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
        const int32_t *sum16 = x[m].sum16 + block * 2;
        _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
            const vi seed = vi_set1(f->offset ? -f->offset * (f->halves == 2 ? sum16[h] : sum16[0] + sum16[1]) : 0);
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                high[h][p][m] = vi_set1(0);
                low[h][p][m] = seed;
            }
        }
    }
    _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {
        vi w[2][GEMV_PANELS];
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) f->pair(at[p], b, v, &w[0][p], &w[1][p]);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            const int8_t *q = x[m].q + block * PLANES * BLOCK + 4 * v;
            _Pragma("GCC unroll 2") for (int g = 0; g < 2; g++) {
                const int h = f->halves == 2 ? g : 0;
                const vi top = four_of(q + 16 * g), rest = four_of(q + 16 * g + BLOCK);
                _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                    high[h][p][m] = f->is_small ? vi_dot4_small(high[h][p][m], w[g][p], top)
                                                : vi_dot4(high[h][p][m], w[g][p], top);
                    low[h][p][m] = f->is_small ? vi_dot4_small(low[h][p][m], w[g][p], rest)
                                               : vi_dot4(low[h][p][m], w[g][p], rest);
                }
            }
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        vf scale[2], min;
        f->scales(at[p], b, scale, &min);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
                const vi ints = vi_add(vi_shl32(high[h][p][m], f->plane_bits), low[h][p][m]);
                sum[p][m] = vf_fma(vf_from_i32(ints), scale[h], sum[p][m]);
            }
            if (f->has_min) sum[p][m] = vf_fma(min, vf_set1(x[m].sum[block]), sum[p][m]);
        }
    }
}

V_INLINE void gemv(const quant_format *f, int n_panels, int n_tokens, const uint8_t *const *panels, int64_t records,
                   const nlm_quant_row *x, float *tile) {
    const int fit = TURN_SUMS / (2 * f->halves * n_tokens), room = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
    const int turn = room < n_panels ? room : n_panels;
    vf acc[GEMV_PANELS][GEMV_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) acc[p][m] = vf_zero();
    }
    const int64_t blocks = records * f->blocks;
    for (int64_t first = 0; first < blocks; first += GROUP_BLOCKS) {
        const int64_t end = first + GROUP_BLOCKS < blocks ? first + GROUP_BLOCKS : blocks;
        vf sum[GEMV_PANELS][GEMV_TOKENS];
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
            _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) sum[p][m] = vf_zero();
        }
        for (int64_t block = first; block < end; block++) {
            const int b = (int)(block % f->blocks);
            const int64_t offset = block / f->blocks * f->bytes, ahead = PREFETCH_BYTES + b * (f->bytes / f->blocks);
            const uint8_t *at[GEMV_PANELS];
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                at[p] = panels[p] + offset;
                _Pragma("GCC unroll 16") for (int i = 0; i < f->bytes / f->blocks; i += 64)
                    __builtin_prefetch(at[p] + ahead + i, 0, 3);
            }
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p += turn)
                block_dots(f, at + p, b, turn, x, n_tokens, block, sum + p);
        }
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            const vf d = vf_set1(x[m].d[first / GROUP_BLOCKS]);
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) acc[p][m] = vf_fma(sum[p][m], d, acc[p][m]);
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++)
            vf_store(tile + (p * n_tokens + m) * PANEL_ROWS, acc[p][m]);
    }
}

#define GEMV(NAME, name, blocks, P, M)                                                                         \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t records, const nlm_quant_row *x, \
                                        float *tile) {                                                         \
        gemv(&format_##name, P, M, panels, records, x, tile);                                                  \
    }
#define GEMV_ALL(NAME, name, blocks, form) \
    GEMV(NAME, name, blocks, 1, 1)         \
    GEMV(NAME, name, blocks, 1, 2)         \
    GEMV(NAME, name, blocks, 1, 3)         \
    GEMV(NAME, name, blocks, 1, 4)         \
    GEMV(NAME, name, blocks, 4, 1)         \
    GEMV(NAME, name, blocks, 4, 2)         \
    GEMV(NAME, name, blocks, 4, 3)         \
    GEMV(NAME, name, blocks, 4, 4)
QUANT_LIST(GEMV_ALL)

/* ---- opening panels ------------------------------------------------------------------------ */

/* A group of 4 columns: as it is, or without the offset and, of 4 bits, times 16 before that. */
V_INLINE uint8_t *put_group(const quant_format *f, nlm_open_form form, vi w, uint8_t *q) {
    const int is_pair = form == OPEN_TILES && f->plane_bits == 4;
    if (form == OPEN_TILES && f->offset) w = vi_sub_u8(w, vi_set1_u8((uint8_t)f->offset));
    if (is_pair) {
        vi_store(q, vi_and(vi_shl16(w, 4), vi_set1_u8(0xF0)));
        q += 8 * GROUP_BYTES;
    }
    vi_store(q, w);
    return q;
}

V_INLINE void open_blocks(const quant_format *f, const uint8_t *panel, int64_t block, int32_t n_blocks,
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

#define OPEN_QUANT(NAME, name, blocks, quant_form)                                                                 \
    static void open_##name(const uint8_t *panel, int64_t block, int32_t n_blocks, nlm_open_form form, uint8_t *q, \
                            float *scale, float *min) {                                                            \
        if (form == OPEN_TILES)                                                                                    \
            open_blocks(&format_##name, panel, block, n_blocks, OPEN_TILES, q, scale, min);                        \
        else                                                                                                       \
            open_blocks(&format_##name, panel, block, n_blocks, OPEN_UNSIGNED, q, scale, min);                     \
    }
QUANT_LIST(OPEN_QUANT)

#define ROW_OF(name, P) \
    { gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4 }
#define KERNELS(NAME, name, blocks, quant_form)        \
    {.dtype = NLM_##NAME,                              \
     .form = QUANT_FORM_##quant_form,                  \
     .is_quant = 1,                                    \
     .offset = FORM_##quant_form##_OFFSET,             \
     .halves = FORM_##quant_form##_HALVES,             \
     .has_min = FORM_##quant_form##_HAS_MIN,           \
     .plane_bits = FORM_##quant_form##_PLANE_BITS,     \
     .gemv_quant = {ROW_OF(name, 1), ROW_OF(name, 4)}, \
     .open_quant = open_##name},

const nlm_matmul_kernels nlm_vector_quant_kernels[NLM_VECTOR_QUANT_TYPES] = {QUANT_LIST(KERNELS)};
