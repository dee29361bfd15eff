/* int8: TOKENS x 2 panels, a dot product of 4 columns an instruction. */
#include <stddef.h>

#include "cpu/vector/device.h"
#include "cpu/vector/gemm_planes.h"

#define TOKENS V_BYTE_TOKENS

/* What differs between the forms; a constant wherever it is used. */
typedef struct dword_format {
    int offset, halves, has_min, is_small, plane_bits;
} dword_format;

typedef vi int_sums[GEMM_PANELS][TOKENS];

/* One plane of `groups` groups of 4 columns. */
V_INLINE void add_plane(const uint8_t *const *w, const int8_t *q, int groups, int is_small, int_sums ints) {
    for (int g = 0; g < groups; g++, q += 4 * TOKENS) {
        const vi a = vi_load(w[0] + g * GROUP_BYTES), b = vi_load(w[1] + g * GROUP_BYTES);
        _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
            int32_t four;
            memcpy(&four, q + 4 * m, 4);
            const vi value = vi_set1(four);
            ints[0][m] = is_small ? vi_dot4_small(ints[0][m], a, value) : vi_dot4(ints[0][m], a, value);
            ints[1][m] = is_small ? vi_dot4_small(ints[1][m], b, value) : vi_dot4(ints[1][m], b, value);
        }
    }
}

/* The sum of the high bytes in its place, where there are low ones, and what takes the offset off. */
V_INLINE void raise(const dword_format *f, const int32_t *sum16, int h, int_sums ints) {
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
        const int32_t sum = f->halves == 2 ? sum16[h * TOKENS + m] : sum16[m] + sum16[TOKENS + m];
        _Pragma("GCC unroll 2") for (int p = 0; p < GEMM_PANELS; p++) {
            if (PLANES == 2) ints[p][m] = vi_shl32(ints[p][m], f->plane_bits);
            if (f->offset) ints[p][m] = vi_add(ints[p][m], vi_set1(-f->offset * sum));
        }
    }
}

V_INLINE void dword_group(const dword_format *f, const nlm_open_panel *panels, int32_t n_blocks,
                          const nlm_quant_tile *x, int is_first, float *const *out) {
    const int groups = 8 / f->halves;
    vf sum[GEMM_PANELS][TOKENS];
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) sum[0][m] = sum[1][m] = vf_zero();
    for (int32_t block = 0; block < n_blocks; block++) {
        for (int h = 0; h < f->halves; h++) {
            const uint8_t *w[GEMM_PANELS];
            int_sums ints;
            const int8_t *q = x->q + (block * PLANES * 8 + h * groups) * 4 * TOKENS;
            _Pragma("GCC unroll 2") for (int p = 0; p < GEMM_PANELS; p++) {
                w[p] = panels[p].q + (block * 8 + h * groups) * GROUP_BYTES;
                _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) ints[p][m] = vi_set1(0);
            }
            add_plane(w, q, groups, f->is_small, ints);
            raise(f, x->sum16 + block * 2 * TOKENS, h, ints);
            if (PLANES == 2) add_plane(w, q + 8 * 4 * TOKENS, groups, f->is_small, ints);
            _Pragma("GCC unroll 2") for (int p = 0; p < GEMM_PANELS; p++) {
                const vf scale = vf_load(panels[p].scale + (block * f->halves + h) * PANEL_ROWS);
                _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) sum[p][m] =
                    vf_fma(vf_from_i32(ints[p][m]), scale, sum[p][m]);
            }
        }
        if (!f->has_min) continue;
        _Pragma("GCC unroll 2") for (int p = 0; p < GEMM_PANELS; p++) {
            const vf min = vf_load(panels[p].min + block * PANEL_ROWS);
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) sum[p][m] =
                vf_fma(min, vf_set1(x->sum[block * TOKENS + m]), sum[p][m]);
        }
    }
    _Pragma("GCC unroll 2") for (int p = 0; p < GEMM_PANELS; p++) {
        _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
            const vf acc = is_first ? vf_zero() : vf_load(out[p] + m * PANEL_ROWS);
            vf_store(out[p] + m * PANEL_ROWS, vf_fma(sum[p][m], vf_set1(x->d[m]), acc));
        }
    }
}

static void run_dword(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels,
                      int32_t n_blocks, const nlm_quant_tile *x, int is_first, float *out) {
    float unused[TOKENS * PANEL_ROWS] = {0}; /* the second of an odd last panel */
    for (int32_t p = 0; p < n_panels; p += GEMM_PANELS) {
        const int is_pair = p + 1 < n_panels;
        const nlm_open_panel pair[GEMM_PANELS] = {panels[p], panels[p + is_pair]};
        float *const to[GEMM_PANELS] = {out + p * TOKENS * PANEL_ROWS,
                                        is_pair ? out + (p + 1) * TOKENS * PANEL_ROWS : unused};
        switch (kernels->form) {
#define RUN_FORM(form, offset, halves, has_min, most, plane_bits, fold)                                \
    case QUANT_FORM_##form: {                                                                          \
        static const dword_format format = {(offset), (halves), (has_min), (most) < 64, (plane_bits)}; \
        dword_group(&format, pair, n_blocks, x, is_first, to);                                         \
        break;                                                                                         \
    }
            FORM_LIST(RUN_FORM)
#undef RUN_FORM
        }
    }
}

static const nlm_gemm_planes dword = {TOKENS, 4, OPEN_UNSIGNED, NULL, NULL, NULL, run_dword};

const nlm_gemm_quant nlm_vector_gemm_quant_dword = {&nlm_vector_gemm_by_planes, &dword, NULL, NULL,
                                                    nlm_vector_quant_kernels};
