/* Few tokens over quantised weights, whatever the dot product: panels are read as parallel streams. A backend's
 * kernels are a block of dot products, and GEMV_KERNELS with it. */
#ifndef NLM_CPU_GEMV_QUANT_H
#define NLM_CPU_GEMV_QUANT_H

#include "cpu/vector/quant_format.h"

#define PREFETCH_BYTES 1024

/* sum[panel][token] + the products of block `b` of the records at `at` with the tokens' block `block`. */
typedef vf nlm_gemv_sums[GEMV_TOKENS];
typedef void (*nlm_gemv_block_fn)(const nlm_quant_format *f, const uint8_t *const *at, int b, int n_panels,
                                  const nlm_quant_row *x, int n_tokens, int64_t block, nlm_gemv_sums *sum);

/* Panels take turns in a block, so many at a time that panels x tokens are not more than `most`, whose sums registers
 * hold. */
V_INLINE void gemv(const nlm_quant_format *f, nlm_gemv_block_fn block_dots, int most, int n_panels, int n_tokens,
                   const uint8_t *const *panels, int64_t records, const nlm_quant_row *x, float *tile) {
    const int fit = most / n_tokens, room = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
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

/* All kernels, and the table of them. The file that uses it says for each form: GEMV_BLOCK, its
 * nlm_gemv_block_fn; GEMV_MOST, what gemv() calls most; GEMV_ROW, how activations are made for it. */
#define GEMV(name, form, P, M)                                                                                 \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t records, const nlm_quant_row *x, \
                                        float *tile) {                                                         \
        gemv(&format_##name, GEMV_BLOCK(form), GEMV_MOST(form), P, M, panels, records, x, tile);               \
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
     .make_row = GEMV_ROW(quant_form),             \
     .gemv_quant = {GEMV_ROW_OF(name, 1), GEMV_ROW_OF(name, 4)}},
#define GEMV_KERNELS(table) \
    QUANT_LIST(GEMV_ALL)    \
    const nlm_matmul_kernels table[NLM_VECTOR_QUANT_TYPES] = {QUANT_LIST(GEMV_ENTRY)};

#endif
