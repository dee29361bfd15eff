/* Few tokens with dot products that have sums of 16 bits: what activations of 15 bits and of 8 share. */
#ifndef NLM_CPU_GEMV_WORDS_H
#define NLM_CPU_GEMV_WORDS_H

#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/gemv_quant.h"
#include "cpu/vector/words.h"

#define EACH_PANEL(p) _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++)
#define EACH_TOKEN(m) _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++)

typedef vi panel_ints[GEMV_PANELS][GEMV_TOKENS];

V_INLINE vi four_bytes(const void *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vi_set1(four);
}

/* Weights of 8 bits, opened to words, and activations as words. */
V_INLINE void byte_block(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                         const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums s) {
    panel_ints ints;
    EACH_PANEL(p) EACH_TOKEN(m) ints[p][m] = vi_set1(0);
    _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {
        _Pragma("GCC unroll 2") for (int g = 0; g < 2; g++) {
            EACH_TOKEN(m) {
                const int8_t *q = x[m].q + block * PLANES * BLOCK + 2 * (16 * g + 4 * v);
                const vi first = four_bytes(q), then = four_bytes(q + 4);
                EACH_PANEL(p) {
                    vi pair[2];
                    f->pair(at[p], b, v, &pair[0], &pair[1]);
                    vi w[2];
                    to_words(f, pair[g], w);
                    ints[p][m] = vi_add(ints[p][m], vi_dot2_by(w[0], first));
                    ints[p][m] = vi_add(ints[p][m], vi_dot2_by(w[1], then));
                }
            }
        }
    }
    gemv_take(f, at, b, 0, n_panels, x, n_tokens, block, ints, s);
}

/* The activations for it. */
static inline nlm_quant_row row_of_words(const float *x, int64_t columns, void *memory) {
    const int64_t groups = padded_blocks(columns) / GROUP_BLOCKS;
    int16_t *q = memory;
    float *d = (float *)(void *)(q + groups * GROUP_COLUMNS), *sum = d + groups;
    for (int64_t g = 0; g < groups; g++)
        d[g] = nlm_vector_words_group(x + g * GROUP_COLUMNS, whole_blocks(columns, g), 7, q + g * GROUP_COLUMNS,
                                      sum + g * GROUP_BLOCKS);
    return (nlm_quant_row){memory, d, sum, NULL};
}

#endif
