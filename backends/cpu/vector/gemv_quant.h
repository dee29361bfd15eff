/* Few tokens over quantised weights, whatever the dot product: panels are read as parallel streams. A backend's
 * kernels are a block of dot products, and GEMV_KERNELS with it. */
#ifndef NLM_CPU_GEMV_QUANT_H
#define NLM_CPU_GEMV_QUANT_H

#include "cpu/vector/quant_format.h"
#include "cpu/vector/stream.h"

/* What a group of columns has come to, [panel][token]: s of kernels.h, and what a fold has of its exact sum. */
typedef struct nlm_gemv_sums {
    vf (*sum)[GEMV_TOKENS];
    vi (*folded)[GEMV_TOKENS];
} nlm_gemv_sums;

/* Adds the products of block `b` of the records at `at` with the tokens' block `block`. */
typedef void (*nlm_gemv_block_fn)(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                                  const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums s);

/* Adds the exact sums of half h of the block. */
V_INLINE void gemv_take(const nlm_quant_format *f, const uint8_t *const *at, int b, int h, int n_panels,
                        const nlm_quant_row *x, int n_tokens, int64_t block, vi (*ints)[GEMV_TOKENS],
                        nlm_gemv_sums s) {
    const int is_last = h + 1 == f->halves;
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        vf scale[2], min;
        f->scales(at[p], b, scale, &min);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) {
            s.sum[p][m] = vf_fma(vf_from_i32(ints[p][m]), scale[h], s.sum[p][m]);
            if (f->has_min && is_last) s.sum[p][m] = vf_fma(min, vf_set1(x[m].sum[block]), s.sum[p][m]);
        }
    }
}

/* Adds the exact sums of half h of the block to what folds have of theirs. */
V_INLINE void gemv_fold_half(const nlm_quant_format *f, const uint8_t *const *at, int b, int h, int n_panels,
                             int n_tokens, vi (*ints)[GEMV_TOKENS], nlm_gemv_sums s) {
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        vi factor[2];
        super_block_factors(at[p], b, f->halves, factor);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) s.folded[p][m] =
            vi_add(s.folded[p][m], vi_mul32(ints[p][m], factor[h]));
    }
}

/* What follows the blocks of a fold, from `block` on: their exact sum, and their mins. */
V_INLINE void gemv_end_fold(const nlm_quant_format *f, const uint8_t *const *at, int n_panels, const nlm_quant_row *x,
                            int n_tokens, int64_t block, nlm_gemv_sums s) {
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        const vf scale = vf_load_f16(at[p]);
        _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) s.sum[p][m] =
            vf_fma(vf_from_i32(s.folded[p][m]), scale, s.sum[p][m]);
    }
    for (int64_t b = block; b < block + f->fold && f->has_min; b++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
            vf unused[2], min;
            f->scales(at[p], (int)(b % f->blocks), unused, &min);
            _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) s.sum[p][m] =
                vf_fma(min, vf_set1(x[m].sum[b]), s.sum[p][m]);
        }
    }
}

/* Panels take turns in a block, so many at a time that panels x tokens are not more than `most`, whose sums registers
 * hold. */
V_INLINE void gemv(const nlm_quant_format *f, nlm_gemv_block_fn block_dots, int most, int fold, int n_panels,
                   int n_tokens, const uint8_t *const *panels, int64_t records, const nlm_quant_row *x, float *tile) {
    const int fit = most / n_tokens, room = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
    const int turn = room < n_panels ? room : n_panels, unit_blocks = fold ? fold : 1;
    const int is_far = stream_is_far();
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
        for (int64_t unit = first; unit < end; unit += unit_blocks) {
            vi folded[GEMV_PANELS][GEMV_TOKENS];
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                _Pragma("GCC unroll 4") for (int m = 0; m < n_tokens; m++) folded[p][m] = vi_set1(0);
            }
            const int64_t offset = unit / f->blocks * f->bytes;
            const uint8_t *at[GEMV_PANELS];
            _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) at[p] = panels[p] + offset;
            for (int64_t block = unit; block < unit + unit_blocks; block++) {
                const int b = (int)(block % f->blocks), block_bytes = f->bytes / f->blocks;
                _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
                    _Pragma("GCC unroll 16") for (int i = 0; i < block_bytes; i += 64)
                        stream_bring(at[p] + b * block_bytes + i, is_far);
                }
                _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p += turn)
                    block_dots(f, at + p, b, turn, x, n_tokens, block, (nlm_gemv_sums){sum + p, folded + p});
            }
            if (fold) gemv_end_fold(f, at, n_panels, x, n_tokens, unit, (nlm_gemv_sums){sum, folded});
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

/* All kernels, and the table of them. The file that uses it says for each form: GEMV_BLOCK, its
 * nlm_gemv_block_fn; GEMV_MOST and GEMV_FOLD, what gemv() calls most and fold; GEMV_ROW, how activations are made for
 * it. */
#define GEMV(name, form, P, M)                                                                                    \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t records, const nlm_quant_row *x,    \
                                        float *tile) {                                                            \
        gemv(&format_##name, GEMV_BLOCK(form), GEMV_MOST(form), GEMV_FOLD(form), P, M, panels, records, x, tile); \
    }
#define GEMV_ALL(NAME, name, blocks, form) \
    GEMV(name, form, 1, 1)                 \
    GEMV(name, form, 1, 2)                 \
    GEMV(name, form, 1, 3)                 \
    GEMV(name, form, 1, 4)                 \
    GEMV(name, form, 4, 1)                 \
    GEMV(name, form, 4, 2)                 \
    GEMV(name, form, 4, 3)                 \
    GEMV(name, form, 4, 4)
#define GEMV_ROW_OF(name, P) \
    { gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4 }
#define GEMV_ENTRY(NAME, name, blocks, quant_form) \
    {.dtype = NLM_##NAME,                          \
     .form = QUANT_FORM_##quant_form,              \
     .is_quant = 1,                                \
     .offset = FORM_##quant_form##_OFFSET,         \
     .halves = FORM_##quant_form##_HALVES,         \
     .has_min = FORM_##quant_form##_HAS_MIN,       \
     .is_small = FORM_##quant_form##_IS_SMALL,     \
     .plane_bits = FORM_##quant_form##_PLANE_BITS, \
     .fold = FORM_##quant_form##_FOLD,             \
     .make_row = GEMV_ROW(quant_form),             \
     .gemv_quant = {GEMV_ROW_OF(name, 1), GEMV_ROW_OF(name, 4)}},
#define GEMV_KERNELS(table) \
    QUANT_LIST(GEMV_ALL)    \
    const nlm_matmul_kernels table[NLM_VECTOR_QUANT_TYPES] = {QUANT_LIST(GEMV_ENTRY)};

#endif
