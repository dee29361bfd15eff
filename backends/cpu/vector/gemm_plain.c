/* The innermost product of f32: tiles of tokens against two panels, sums in registers. */
#include "cpu/vector/gemm.h"

#define AHEAD_BYTES 1024 /* what the prefetch of the panels is ahead of their loads */
#define LINE        64
#define TOGETHER    4 /* columns: what is not a multiply-add counts where two threads share a core */

/* One column: n_tokens x GEMM_PANELS multiply-adds. */
V_INLINE void add_column(vf (*acc)[GEMM_PANELS], int n_tokens, const float *const *panels, int64_t k,
                         const float *x) {
    vf w[GEMM_PANELS];
    _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++) {
        w[p] = vf_load(panels[p] + k * PANEL_ROWS);
    }
    _Pragma("GCC unroll 16") for (int m = 0; m < n_tokens; m++) {
        const vf value = vf_set1(x[k * GEMM_F32_TOKENS + m]);
        _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++) acc[m][p] =
            vf_accumulate(acc[m][p], w[p], value);
    }
}

V_INLINE void bring_columns(const float *const *panels, int64_t k) {
    _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++) {
        const char *at = (const char *)(panels[p] + k * PANEL_ROWS) + AHEAD_BYTES;
        _Pragma("GCC unroll 4") for (int i = 0; i < TOGETHER * PANEL_ROWS * (int)sizeof(float); i += LINE)
            __builtin_prefetch(at + i, 0, 3);
    }
}

/* n_tokens x GEMM_PANELS accumulators stay in registers. */
V_INLINE void gemm_tile(const nlm_gemm_f32_call *call, int n_tokens, int is_near) {
    vf acc[GEMM_F32_TOKENS][GEMM_PANELS];
    const float *const panels[GEMM_PANELS] = {call->panels[0], call->panels[1]};
    const float *x = call->x;
    float *out = call->out;
    _Pragma("GCC unroll 16") for (int m = 0; m < n_tokens; m++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++) acc[m][p] =
            call->is_first ? vf_zero() : vf_load(out + (p * GEMM_F32_TOKENS + m) * PANEL_ROWS);
    }
    int64_t k = 0;
    for (int g = 0; g < GEMM_AHEADS; g++) {
        const nlm_gemm_ahead *ahead = &call->ahead[g];
        for (int64_t row = 0; row < ahead->rows; row++) {
            for (int64_t i = 0; i < ahead->lines; i++, k++) {
                _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++)
                    __builtin_prefetch(ahead->data[p] + row * ahead->stride_bytes + i * LINE, 0, 2);
                add_column(acc, n_tokens, panels, k, x);
            }
        }
    }
    for (; k + TOGETHER <= call->columns; k += TOGETHER) {
        if (!is_near) bring_columns(panels, k);
        _Pragma("GCC unroll 4") for (int i = 0; i < TOGETHER; i++) add_column(acc, n_tokens, panels, k + i, x);
    }
    for (; k < call->columns; k++) add_column(acc, n_tokens, panels, k, x);
    _Pragma("GCC unroll 16") for (int m = 0; m < n_tokens; m++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < GEMM_PANELS; p++)
            vf_store(out + (p * GEMM_F32_TOKENS + m) * PANEL_ROWS, acc[m][p]);
    }
}

V_INLINE void gemm_tiles(const nlm_gemm_f32_call *call, int n_tokens, int is_near) {
    if (n_tokens > GEMM_F32_TOKENS / 3 * 2)
        gemm_tile(call, GEMM_F32_TOKENS, is_near);
    else if (n_tokens > GEMM_F32_TOKENS / 3)
        gemm_tile(call, GEMM_F32_TOKENS / 3 * 2, is_near);
    else
        gemm_tile(call, GEMM_F32_TOKENS / 3, is_near);
}

void nlm_vector_gemm_f32(const nlm_gemm_f32_call *call, int32_t n_tokens) {
    if (call->is_near)
        gemm_tiles(call, n_tokens, 1);
    else
        gemm_tiles(call, n_tokens, 0);
}
