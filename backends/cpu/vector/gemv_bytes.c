/* Few tokens over quantised weights with activations of 8 bits. Where sums of products have 16 bits, weights of 8
 * become words and meet activations of 15: products of two such bytes fill the 16 bits, so that bytes would gain
 * nothing. */
#include <stddef.h>

#include "cpu/vector/gemv_words.h"

/* [halves]: where the sums begin, for weights from which nothing has been taken off. */
V_INLINE void begin_sums(const nlm_quant_format *f, int n_panels, const nlm_quant_row *x, int n_tokens, int64_t block,
                         panel_ints *ints) {
    EACH_TOKEN(m) {
        const int32_t *sum16 = x[m].sum16 + block * 2;
        for (int h = 0; h < f->halves; h++) {
            const vi sums = f->halves == 2 ? vi_set1(sum16[h]) : vi_bytes_add(vi_set1(sum16[0]), vi_set1(sum16[1]));
            const vi seed = centre_of(f) ? vi_bytes_times(sums, -centre_of(f)) : vi_set1(0);
            EACH_PANEL(p) ints[h][p][m] = seed;
        }
    }
}

V_INLINE void bytes_block(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                          const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums s) {
    panel_ints ints[2];
    begin_sums(f, n_panels, x, n_tokens, block, ints);
    _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {
        EACH_PANEL(p) {
            vi pair[2];
            f->pair(at[p], b, v, &pair[0], &pair[1]);
            _Pragma("GCC unroll 2") for (int g = 0; g < 2; g++) {
                vi(*to)[GEMV_TOKENS] = ints[f->halves == 2 ? g : 0];
                EACH_TOKEN(m)
                to[p][m] = vi_bytes_dot(to[p][m], pair[g], four_bytes(x[m].q + block * BLOCK + 16 * g + 4 * v));
            }
        }
    }
    EACH_PANEL(p) {
        vf scale[2], min;
        scales_from_centre(f, at[p], b, scale, &min);
        EACH_TOKEN(m) {
            for (int h = 0; h < f->halves; h++)
                s.sum[p][m] = vf_fma(vf_from_i32(vi_bytes_total(ints[h][p][m])), scale[h], s.sum[p][m]);
            if (f->has_min) s.sum[p][m] = vf_fma(min, vf_set1(x[m].sum[block]), s.sum[p][m]);
        }
    }
}

#define GEMV_BLOCK(form) (IS_OF_BYTES(form) ? bytes_block : byte_block)
#define GEMV_MOST(form)  (IS_OF_BYTES(form) ? V_BYTE_SUM_BITS / 2 / FORM_##form##_HALVES : 4)
#define GEMV_FOLD(form)  0
#define GEMV_ROW(form)   (IS_OF_BYTES(form) ? nlm_vector_bytes_row_make : row_of_words)
GEMV_KERNELS(nlm_vector_byte_kernels)
