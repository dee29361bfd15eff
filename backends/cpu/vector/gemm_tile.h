/* The tile of gemm_words.h, whatever a step is: a file says how products are summed, and what has a scale. */
#ifndef NLM_CPU_GEMM_TILE_H
#define NLM_CPU_GEMM_TILE_H

#include "cpu/vector/gemm_words.h"

#define PANELS V_WORD_PANELS
#define TOKENS V_WORD_TOKENS

/* Tokens are summed so many at a time that their sums and integers both stay in registers: a scale comes too often
 * for sums in memory. */
#define TOGETHER V_WORD_TOGETHER
_Static_assert(TOKENS % TOGETHER == 0, "a tile has whole parts");

/* Sums of a panel and a token are vectors of its rows. */
typedef vi nlm_tile_ints[PANELS][TOGETHER];
typedef vf nlm_tile_sums[PANELS][TOGETHER];

#define EACH_SUM(p, m)                                       \
    _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) \
        _Pragma("GCC unroll 8") for (int m = 0; m < TOGETHER; m++)

/* ints = the products of columns [at * width, (at + 1) * width) with the activations of TOGETHER tokens. */
typedef void (*nlm_tile_products_fn)(const nlm_open_words *w, const void *x, int at, int width, nlm_tile_ints ints);

/* A scale is one of a block, of each of its `halves`, or of `fold` blocks. */
V_INLINE void tile_part(nlm_tile_products_fn products, int halves, int fold, int has_min, const nlm_open_words *w,
                        int32_t n_blocks, const nlm_words_tile *x, int is_first, float *out) {
    nlm_tile_sums sum;
    EACH_SUM(p, m) sum[p][m] = vf_zero();
    for (int32_t first = 0; first < n_blocks; first += fold) {
        for (int h = 0; h < halves; h++) {
            const int at = first / fold * halves + h;
            nlm_tile_ints ints;
            products(w, x->q, at, BLOCK * fold / halves, ints);
            EACH_SUM(p, m) sum[p][m] = vf_fma(vf_from_i32(ints[p][m]), vf_load(w->scale[at][p]), sum[p][m]);
        }
        for (int32_t b = first; b < first + fold && has_min; b++) {
            EACH_SUM(p, m)
            sum[p][m] = vf_fma(vf_load(w->min[b][p]), vf_set1(x->sum[m * GROUP_BLOCKS + b]), sum[p][m]);
        }
    }
    EACH_SUM(p, m) {
        float *to = out + (p * TOKENS + m) * PANEL_ROWS;
        vf_store(to, vf_fma(sum[p][m], vf_set1(x->d[m]), is_first ? vf_zero() : vf_load(to)));
    }
}

/* An activation has `bytes` bytes. */
V_INLINE void tile_group(nlm_tile_products_fn products, int bytes, int halves, int fold, int has_min,
                         const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x, int is_first,
                         float *out) {
    for (int m = 0; m < TOKENS; m += TOGETHER) {
        const nlm_words_tile part = {(const uint8_t *)x->q + m * GROUP_COLUMNS * bytes, x->d + m,
                                     x->sum + m * GROUP_BLOCKS};
        tile_part(products, halves, fold, has_min, w, n_blocks, &part, is_first, out + m * PANEL_ROWS);
    }
}

#endif
