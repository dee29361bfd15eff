/* Few tokens over quantised weights where a dot product of 4 columns has sums of 16 bits: weights of up to 6 bits
 * meet both planes of the activations and are summed in 16 bits as far as those reach, weights of 8 bits become
 * words. */
#include <stddef.h>

#include "cpu/vector/gemv_words.h"

/* Groups of 4 columns whose products with bytes of at most `byte` a sum of 16 bits holds. */
#define FIT(most, byte) (32767 / (2 * (most) * (byte)))
#define HIGH_BYTE       127
#define LOW_BYTE        64

/* ints += 16-bit sums * factor, and the sums begin again. */
V_INLINE void empty_sums(int n_panels, int n_tokens, panel_ints sums, int16_t factor, panel_ints ints) {
    const vi by = vi_set1_i16(factor);
    EACH_PANEL(p) {
        EACH_TOKEN(m) {
            ints[p][m] = vi_add(ints[p][m], vi_dot2_by(sums[p][m], by));
            sums[p][m] = vi_set1(0);
        }
    }
}

/* The products of the groups of half h (of all groups where there is one half). */
V_INLINE void small_half(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                         const nlm_quant_row *x, int n_tokens, int64_t block, int h, panel_ints ints) {
    const int in_high = FIT(f->most, HIGH_BYTE), in_low = FIT(f->most, LOW_BYTE), each = 2 / f->halves;
    panel_ints high, low;
    EACH_PANEL(p) EACH_TOKEN(m) {
        const int32_t *sum16 = x[m].sum16 + block * 2;
        ints[p][m] = vi_set1(f->offset ? -f->offset * (f->halves == 2 ? sum16[h] : sum16[0] + sum16[1]) : 0);
        high[p][m] = low[p][m] = vi_set1(0);
    }
    _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {
        _Pragma("GCC unroll 2") for (int g = h; g < h + each; g++) {
            EACH_TOKEN(m) {
                const int8_t *q = x[m].q + block * PLANES * BLOCK + 16 * g + 4 * v;
                const vi top = four_bytes(q), rest = four_bytes(q + BLOCK);
                EACH_PANEL(p) {
                    vi pair[2];
                    f->pair(at[p], b, v, &pair[0], &pair[1]);
                    high[p][m] = vi_dot2_bytes(high[p][m], pair[g], top);
                    low[p][m] = vi_dot2_bytes(low[p][m], pair[g], rest);
                }
            }
        }
        const int groups = (v + 1) * each;
        if (groups % in_high == 0 || v == 3) empty_sums(n_panels, n_tokens, high, 1 << 7, ints);
        if (groups % in_low == 0 || v == 3) empty_sums(n_panels, n_tokens, low, 1, ints);
    }
}

V_INLINE void small_block(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                          const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums s) {
    _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
        panel_ints ints;
        small_half(f, at, b, n_panels, x, n_tokens, block, h, ints);
        if (f->fold)
            gemv_fold_half(f, at, b, h, n_panels, n_tokens, ints, s);
        else
            gemv_take(f, at, b, h, n_panels, x, n_tokens, block, ints, s);
    }
}

static nlm_quant_row row_of_planes(const float *x, int64_t columns, void *memory) {
    return nlm_vector_quant_row_make(x, columns, 7, memory);
}

#define GEMV_BLOCK(form) (FORM_##form##_IS_SMALL ? small_block : byte_block)
#define GEMV_MOST(form)  4
#define GEMV_FOLD(form)  FORM_##form##_FOLD
#define GEMV_ROW(form)   (FORM_##form##_IS_SMALL ? row_of_planes : row_of_words)
GEMV_KERNELS(nlm_vector_quant_kernels)
