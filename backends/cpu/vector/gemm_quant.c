#include "cpu/vector/gemm.h"

#include <stddef.h>

#include "cpu/vector/device.h"

/* TOKENS x 2 panels, a dot product of 4 columns an instruction. */

#if V_LANES == 16
#define TOKENS 6
#else
#define TOKENS 2 /* 16 registers */
#endif

V_INLINE void dword_tile(const open_panel *panels, int64_t blocks, const quant_tile *x, int offset, int halves,
                         int has_min, int is_small, float *out) {
    vf acc[GEMM_PANELS][TOKENS];
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[0][m] = acc[1][m] = vf_zero();
    const int8_t *q = x->q;
    const uint8_t *w0 = panels[0].q, *w1 = panels[1].q;
    for (int64_t block = 0; block < blocks; block++) {
        const int groups = 8 / halves;
        for (int h = 0; h < halves; h++) {
            vi ints[GEMM_PANELS][TOKENS];
            const int32_t *sums = x->sum16 + (block * 2 + h) * TOKENS;
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) ints[0][m] = ints[1][m] = vi_set1(0);
            for (int plane = 0; plane < PLANES; plane++) {
                const int8_t *at = q + (plane * 8 + h * groups) * 4 * TOKENS;
                for (int g = 0; g < groups; g++, at += 4 * TOKENS) {
                    const vi a = vi_load(w0 + g * GROUP_BYTES), b = vi_load(w1 + g * GROUP_BYTES);
                    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
                        int32_t four;
                        memcpy(&four, at + 4 * m, 4);
                        const vi value = vi_set1(four);
                        ints[0][m] = is_small ? vi_dot4_small(ints[0][m], a, value) : vi_dot4(ints[0][m], a, value);
                        ints[1][m] = is_small ? vi_dot4_small(ints[1][m], b, value) : vi_dot4(ints[1][m], b, value);
                    }
                }
                if (plane == 1) continue;
                _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
                    const int32_t sum = halves == 2 || offset == 0 ? sums[m] : sums[m] + sums[TOKENS + m];
                    const vi seed = vi_set1(-offset * sum);
                    ints[0][m] = vi_shl32(ints[0][m], PLANE_BITS);
                    ints[1][m] = vi_shl32(ints[1][m], PLANE_BITS);
                    if (offset != 0) ints[0][m] = vi_add(ints[0][m], seed);
                    if (offset != 0) ints[1][m] = vi_add(ints[1][m], seed);
                }
            }
            w0 += groups * GROUP_BYTES;
            w1 += groups * GROUP_BYTES;
            const vf s0 = vf_load(panels[0].scale + (block * halves + h) * PANEL_ROWS);
            const vf s1 = vf_load(panels[1].scale + (block * halves + h) * PANEL_ROWS);
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
                const vf d = vf_set1(x->d[block * TOKENS + m]);
                acc[0][m] = vf_fma(vf_mul(vf_from_i32(ints[0][m]), s0), d, acc[0][m]);
                acc[1][m] = vf_fma(vf_mul(vf_from_i32(ints[1][m]), s1), d, acc[1][m]);
            }
        }
        q += PLANES * 8 * 4 * TOKENS;
        if (has_min) {
            const vf m0 = vf_load(panels[0].min + block * PANEL_ROWS),
                     m1 = vf_load(panels[1].min + block * PANEL_ROWS);
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
                const vf d_sum = vf_set1(x->d_sum[block * TOKENS + m]);
                acc[0][m] = vf_fma(m0, d_sum, acc[0][m]);
                acc[1][m] = vf_fma(m1, d_sum, acc[1][m]);
            }
        }
    }
    for (int p = 0; p < GEMM_PANELS; p++) {
        for (int m = 0; m < TOKENS; m++) vf_store(out + (p * TOKENS + m) * PANEL_ROWS, acc[p][m]);
    }
}

static void run_dword(const matmul_kernels *kernels, const open_panel *panels, int32_t n_panels, int64_t blocks,
                      const quant_tile *x, float *out) {
    const open_panel pair[2] = {panels[0], panels[n_panels - 1]};
    if (kernels->halves == 2)
        dword_tile(pair, blocks, x, 32, 2, 0, 1, out);
    else if (kernels->has_min)
        dword_tile(pair, blocks, x, 0, 1, 1, 1, out);
    else if (kernels->offset == 8)
        dword_tile(pair, blocks, x, 8, 1, 0, 1, out);
    else if (kernels->offset == 16)
        dword_tile(pair, blocks, x, 16, 1, 0, 1, out);
    else
        dword_tile(pair, blocks, x, V_Q8_OFFSET, 1, 0, 0, out);
}

const gemm_quant nlm_vector_gemm_quant_dword = {TOKENS, 0, 0, NULL, NULL, run_dword};
