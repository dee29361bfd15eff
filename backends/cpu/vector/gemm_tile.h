/* The tile of gemm_words.h, whatever a step is: a file says how the products of a block are summed, and TILE_RUN
 * makes the kernel of it. */
#ifndef NLM_CPU_GEMM_TILE_H
#define NLM_CPU_GEMM_TILE_H

#include "cpu/vector/gemm_words.h"

#define PANELS V_WORD_PANELS
#define TOKENS V_WORD_TOKENS

/* Sums of a panel and a token are vectors of its rows. */
typedef vi nlm_tile_ints[PANELS][TOKENS];
typedef vf nlm_tile_sums[PANELS][TOKENS];

#define EACH_SUM(p, m) \
    _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) _Pragma("GCC unroll 8") for (int m = 0; m < TOKENS; m++)

/* ints = the products of block `at`, or of half block `at` where `halves` is 2. */
typedef void (*nlm_tile_products_fn)(const nlm_open_words *w, const void *x, int at, int halves, nlm_tile_ints ints);

V_INLINE void tile_group(nlm_tile_products_fn products, int halves, int has_min, const nlm_open_words *w,
                         int32_t n_blocks, const nlm_words_tile *x, int is_first, float *out) {
    nlm_tile_sums sum;
    EACH_SUM(p, m) sum[p][m] = vf_zero();
    for (int32_t b = 0; b < n_blocks; b++) {
        for (int h = 0; h < halves; h++) {
            const int at = b * halves + h;
            nlm_tile_ints ints;
            products(w, x->q, at, halves, ints);
            EACH_SUM(p, m) sum[p][m] = vf_fma(vf_from_i32(ints[p][m]), vf_load(w->scale[at][p]), sum[p][m]);
        }
        if (!has_min) continue;
        EACH_SUM(p, m) sum[p][m] = vf_fma(vf_load(w->min[b][p]), vf_set1(x->sum[m * GROUP_BLOCKS + b]), sum[p][m]);
    }
    EACH_SUM(p, m) {
        float *to = out + (p * TOKENS + m) * PANEL_ROWS;
        vf_store(to, vf_fma(sum[p][m], vf_set1(x->d[m]), is_first ? vf_zero() : vf_load(to)));
    }
}

#define TILE_RUN(products)                                                                        \
    static void run(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, \
                    const nlm_words_tile *x, int is_first, float *out) {                          \
        if (kernels->halves == 2)                                                                 \
            tile_group(products, 2, 0, w, n_blocks, x, is_first, out);                            \
        else if (kernels->has_min)                                                                \
            tile_group(products, 1, 1, w, n_blocks, x, is_first, out);                            \
        else                                                                                      \
            tile_group(products, 1, 0, w, n_blocks, x, is_first, out);                            \
    }

#endif
