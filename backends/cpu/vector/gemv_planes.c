/* Few tokens over quantised weights with dot products of 4 columns: both planes of the activations, or the one. */
#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/gemv_quant.h"

V_INLINE vi four_of(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, 4);
    return vi_set1(four);
}

V_INLINE vi dot(const nlm_quant_format *f, vi sum, vi w, vi four) {
    return f->is_small ? vi_dot4_small(sum, w, four) : vi_dot4(sum, w, four);
}

/* A dot product waits for the one before it in its sum, so sums take turns. */
V_INLINE void block_dots(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                         const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums s) {
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
                const vi top = four_of(q + 16 * g), rest = four_of(q + 16 * g + (PLANES - 1) * BLOCK);
                _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                    if (PLANES == 2) high[h][p][m] = dot(f, high[h][p][m], w[g][p], top);
                    low[h][p][m] = dot(f, low[h][p][m], w[g][p], rest);
                }
            }
        }
    }
    _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
            _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens && PLANES == 2; m++) low[h][p][m] =
                vi_add(vi_shl32(high[h][p][m], f->plane_bits), low[h][p][m]);
        }
        if (f->fold)
            gemv_fold_half(f, at, b, h, n_panels, n_tokens, low[h], s);
        else
            gemv_take(f, at, b, h, n_panels, x, n_tokens, block, low[h], s);
    }
}

static nlm_quant_row row_of_12_bits(const float *x, int64_t columns, void *memory) {
    return nlm_vector_quant_row_make(x, columns, 4, memory);
}

static nlm_quant_row row_of_15_bits(const float *x, int64_t columns, void *memory) {
    return nlm_vector_quant_row_make(x, columns, 7, memory);
}

#define GEMV_BLOCK(form) block_dots
#define GEMV_MOST(form)  (V_BYTE_SUMS / (PLANES * FORM_##form##_HALVES))
#define GEMV_FOLD(form)  FORM_##form##_FOLD
#define GEMV_ROW(form)   (FORM_##form##_PLANE_BITS == 4 ? row_of_12_bits : row_of_15_bits)
GEMV_KERNELS(nlm_vector_quant_kernels)
