#include "cpu/vector/gemm.h"

/* GEMM_F32_TOKENS x (2 panels) accumulators in registers. */
void nlm_vector_gemm_f32(const float *const *panels, int64_t columns, const float *x, int is_first, float *out) {
    vf acc[GEMM_F32_TOKENS][GEMM_PANELS];
    for (int m = 0; m < GEMM_F32_TOKENS; m++) {
        for (int p = 0; p < GEMM_PANELS; p++)
            acc[m][p] = is_first ? vf_zero() : vf_load(out + (p * GEMM_F32_TOKENS + m) * PANEL_ROWS);
    }
    const float *w0 = panels[0], *w1 = panels[1];
    for (int64_t k = 0; k < columns; k++) {
        const vf a = vf_load(w0), b = vf_load(w1);
        _Pragma("GCC unroll 16") for (int m = 0; m < GEMM_F32_TOKENS; m++) {
            const vf value = vf_set1(x[m]);
            acc[m][0] = vf_fma(a, value, acc[m][0]);
            acc[m][1] = vf_fma(b, value, acc[m][1]);
        }
        w0 += PANEL_ROWS;
        w1 += PANEL_ROWS;
        x += GEMM_F32_TOKENS;
    }
    for (int m = 0; m < GEMM_F32_TOKENS; m++) {
        for (int p = 0; p < GEMM_PANELS; p++) vf_store(out + (p * GEMM_F32_TOKENS + m) * PANEL_ROWS, acc[m][p]);
    }
}
