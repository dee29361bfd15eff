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

/* sum[panel][token] + the products of block `b` of the records at `at` with the tokens' block `block`. A dot product
 * waits for the one before it in its sum, so sums take turns. */
V_INLINE void block_dots(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                         const nlm_quant_row *x, int n_tokens, int64_t block, vf (*sum)[GEMV_TOKENS]) {
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
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        vf scale[2], min;
        f->scales(at[p], b, scale, &min);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
                const vi ints =
                    PLANES == 2 ? vi_add(vi_shl32(high[h][p][m], f->plane_bits), low[h][p][m]) : low[h][p][m];
                sum[p][m] = vf_fma(vf_from_i32(ints), scale[h], sum[p][m]);
            }
            if (f->has_min) sum[p][m] = vf_fma(min, vf_set1(x[m].sum[block]), sum[p][m]);
        }
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
#define GEMV_ROW(form)   (FORM_##form##_PLANE_BITS == 4 ? row_of_12_bits : row_of_15_bits)
GEMV_KERNELS(nlm_vector_quant_kernels)
