/* Few tokens over quantised weights: bound by the bytes of the weights. Panels are read as parallel streams. */
#include "cpu/vector/kernels.h"
#include "cpu/vector/panel_load.h"

#define PREFETCH_BYTES 1024

/* A dot product waits for the one before it in its sum, so sums take turns: as many as registers hold. */
#if V_LANES == 16
#define TURN_SUMS 16
#else
#define TURN_SUMS 4
#endif

enum {
#define RECORD_BYTES(NAME, name, columns, bytes) name##_record_bytes = (bytes),
    PANEL_LIST(RECORD_BYTES)
#undef RECORD_BYTES
};

V_INLINE vi four_of(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vi_set1(four);
}

/* acc[panel][token] + the products of one block of `n_panels` panels with the block of `n_tokens` tokens. */
V_INLINE void block_dots(scales_fn load_scales, pair_fn load_pair, int offset, int halves, int has_min, int is_small,
                         const uint8_t *const *at, int b, int n_panels, const quant_row *x, int n_tokens,
                         int64_t block, vf (*acc)[GEMV_TOKENS]) {
    vi high[2][GEMV_PANELS][GEMV_TOKENS], low[2][GEMV_PANELS][GEMV_TOKENS];
    _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
        const int32_t *sum16 = x[m].sum16 + block * 2;
        _Pragma("GCC unroll 2") for (int h = 0; h < halves; h++) {
            const vi seed = vi_set1(-offset * (halves == 2 ? sum16[h] : sum16[0] + sum16[1]));
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                high[h][p][m] = vi_set1(0);
                low[h][p][m] = offset ? seed : vi_set1(0);
            }
        }
    }
    _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {
        vi w[2][GEMV_PANELS];
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) load_pair(at[p], b, v, &w[0][p], &w[1][p]);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            const int8_t *q = x[m].q + block * PLANES * BLOCK + 4 * v;
            _Pragma("GCC unroll 2") for (int g = 0; g < 2; g++) {
                const int h = halves == 2 ? g : 0;
                const vi top = four_of(q + 16 * g), rest = four_of(q + 16 * g + BLOCK);
                _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                    high[h][p][m] =
                        is_small ? vi_dot4_small(high[h][p][m], w[g][p], top) : vi_dot4(high[h][p][m], w[g][p], top);
                    low[h][p][m] =
                        is_small ? vi_dot4_small(low[h][p][m], w[g][p], rest) : vi_dot4(low[h][p][m], w[g][p], rest);
                }
            }
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        vf scale[2], min;
        load_scales(at[p], b, scale, &min);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            const vf d = vf_set1(x[m].d[block]);
            _Pragma("GCC unroll 2") for (int h = 0; h < halves; h++) {
                const vi ints = vi_add(vi_shl32(high[h][p][m], PLANE_BITS), low[h][p][m]);
                acc[p][m] = vf_fma(vf_mul(vf_from_i32(ints), scale[h]), d, acc[p][m]);
            }
            if (has_min) acc[p][m] = vf_fma(min, vf_set1(x[m].d_sum[block]), acc[p][m]);
        }
    }
}

V_INLINE void gemv(scales_fn load_scales, pair_fn load_pair, int offset, int halves, int has_min, int is_small,
                   int blocks, int64_t record_bytes, int n_panels, int n_tokens, const uint8_t *const *panels,
                   int64_t records, const quant_row *x, float *tile) {
    const int fit = TURN_SUMS / (2 * halves * n_tokens), turn = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
    vf acc[GEMV_PANELS][GEMV_TOKENS];
    const uint8_t *at[GEMV_PANELS];
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        at[p] = panels[p];
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) acc[p][m] = vf_zero();
    }
    for (int64_t i = 0; i < records; i++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
            for (int64_t line = 0; line < record_bytes; line += 64)
                __builtin_prefetch(at[p] + PREFETCH_BYTES + line, 0, 3);
        }
        for (int b = 0; b < blocks; b++) {
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p += turn) {
                block_dots(load_scales, load_pair, offset, halves, has_min, is_small, at + p, b,
                           turn < n_panels ? turn : n_panels, x, n_tokens, i * blocks + b, acc + p);
            }
        }
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) at[p] += record_bytes;
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++)
            vf_store(tile + (p * n_tokens + m) * PANEL_ROWS, acc[p][m]);
    }
}

#define GEMV(NAME, name, blocks, P, M)                                                                       \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t records, const quant_row *x,   \
                                        float *tile) {                                                       \
        gemv(scales_##name, pair_##name, NAME##_OFFSET, NAME##_HALVES, NAME##_HAS_MIN, NAME##_SMALL, blocks, \
             name##_record_bytes, P, M, panels, records, x, tile);                                           \
    }
#define GEMV_ALL(NAME, name, blocks) \
    GEMV(NAME, name, blocks, 1, 1)   \
    GEMV(NAME, name, blocks, 1, 2)   \
    GEMV(NAME, name, blocks, 1, 3)   \
    GEMV(NAME, name, blocks, 1, 4)   \
    GEMV(NAME, name, blocks, 4, 1)   \
    GEMV(NAME, name, blocks, 4, 2)   \
    GEMV(NAME, name, blocks, 4, 3)   \
    GEMV(NAME, name, blocks, 4, 4)
QUANT_LIST(GEMV_ALL)

/* ---- opening panels ------------------------------------------------------------------------ */

#define OPEN_QUANT(NAME, name, blocks)                                                                     \
    static void open_##name(const uint8_t *panel, int64_t records, uint8_t *q, float *scale, float *min) { \
        for (int64_t i = 0; i < records; i++, panel += name##_record_bytes) {                              \
            for (int b = 0; b < blocks; b++, q += 8 * GROUP_BYTES) {                                       \
                vf scales[2], mins;                                                                        \
                for (int v = 0; v < 4; v++) {                                                              \
                    vi low, high;                                                                          \
                    pair_##name(panel, b, v, &low, &high);                                                 \
                    vi_store(q + v * GROUP_BYTES, low);                                                    \
                    vi_store(q + (v + 4) * GROUP_BYTES, high);                                             \
                }                                                                                          \
                scales_##name(panel, b, scales, &mins);                                                    \
                for (int h = 0; h < NAME##_HALVES; h++, scale += PANEL_ROWS) vf_store(scale, scales[h]);   \
                if (NAME##_HAS_MIN) vf_store(min, mins);                                                   \
                if (NAME##_HAS_MIN) min += PANEL_ROWS;                                                     \
            }                                                                                              \
        }                                                                                                  \
    }
QUANT_LIST(OPEN_QUANT)

#define ROW_OF(name, P) \
    { gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4 }
#define KERNELS(NAME, name, blocks)                                                                          \
    {NLM_##NAME, 1, NAME##_OFFSET, NAME##_HALVES, NAME##_HAS_MIN, {{0}}, {ROW_OF(name, 1), ROW_OF(name, 4)}, \
     open_##name},

const matmul_kernels nlm_vector_quant_kernels[NLM_VECTOR_QUANT_TYPES] = {QUANT_LIST(KERNELS)};
