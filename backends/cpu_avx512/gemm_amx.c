/* int8 on AMX tiles: 16 tokens x 16 rows x 32 columns an instruction. The integer sums are exact and the
 * f32 steps those of every other kernel, so the results are the same bits. */
#include <immintrin.h>
#include <stddef.h>

#include "amx.h"
#include "cpu/vector/gemm.h"

#define TOKENS 16

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Tiles 0, 1: sums; 2, 3: activations; 4, 5: weights. A half block of q6_k has 16 columns. */
static void begin(int halves) {
    tile_config config = {.palette = 1};
    const uint16_t columns = (uint16_t)(BLOCK / halves);
    for (int t = 0; t < 6; t++) {
        config.rows[t] = t < 4 ? TOKENS : (uint8_t)(columns / 4);
        config.columns_bytes[t] = t < 2 || t >= 4 ? 64 : columns;
    }
    _tile_loadconfig(&config);
}

static void end(void) {
    _tile_release();
}

#define MULTIPLY(sums, x_tile, w_tile, x_at, w_at)   \
    do {                                             \
        _tile_zero(sums);                            \
        _tile_loadd(x_tile, x_at, (size_t)q_stride); \
        _tile_loadd(w_tile, w_at, 64);               \
        _tile_dpbssd(sums, x_tile, w_tile);          \
    } while (0)

V_INLINE void scale_sums(const int32_t *sums, vf scale, const float *d, vf *acc) {
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
        const vf value = vf_mul(vf_from_i32(vi_load(sums + m * PANEL_ROWS)), scale);
        acc[m] = vf_fma(value, vf_set1(d[m]), acc[m]);
    }
}

/* Steps are half blocks or blocks; the product of the next step is under way while this one's sums are
 * scaled. */
V_INLINE void amx_panel(const open_panel *panel, int64_t blocks, const quant_tile *x, int halves, int has_min,
                        float *out) {
    _Alignas(64) int32_t sums[2][TOKENS * PANEL_ROWS];
    vf acc[TOKENS];
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[m] = vf_zero();
    const int64_t steps = blocks * halves, q_stride = x->q_stride;
    const int64_t x_step = BLOCK / halves, w_step = 8 * GROUP_BYTES / halves;
    MULTIPLY(0, 2, 4, x->q, panel->q);
    for (int64_t step = 0; step < steps; step += 2) {
        _tile_stored(0, sums[0], 64);
        if (step + 1 < steps) MULTIPLY(1, 3, 5, x->q + (step + 1) * x_step, panel->q + (step + 1) * w_step);
        const int64_t block = step / halves;
        scale_sums(sums[0], vf_load(panel->scale + step * PANEL_ROWS), x->d + block * TOKENS, acc);
        if (has_min) {
            const vf min = vf_load(panel->min + block * PANEL_ROWS);
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[m] =
                vf_fma(min, vf_set1(x->d_sum[block * TOKENS + m]), acc[m]);
        }
        if (step + 1 == steps) break;
        _tile_stored(1, sums[1], 64);
        if (step + 2 < steps) MULTIPLY(0, 2, 4, x->q + (step + 2) * x_step, panel->q + (step + 2) * w_step);
        const int64_t next = (step + 1) / halves;
        scale_sums(sums[1], vf_load(panel->scale + (step + 1) * PANEL_ROWS), x->d + next * TOKENS, acc);
        if (has_min) {
            const vf min = vf_load(panel->min + next * PANEL_ROWS);
            _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[m] =
                vf_fma(min, vf_set1(x->d_sum[next * TOKENS + m]), acc[m]);
        }
    }
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) vf_store(out + m * PANEL_ROWS, acc[m]);
}

static void run(const matmul_kernels *kernels, const open_panel *panels, int32_t n_panels, int64_t blocks,
                const quant_tile *x, float *out) {
    for (int32_t p = 0; p < n_panels; p++) {
        float *tile = out + p * TOKENS * PANEL_ROWS;
        if (kernels->halves == 2)
            amx_panel(&panels[p], blocks, x, 2, 0, tile);
        else if (kernels->has_min)
            amx_panel(&panels[p], blocks, x, 1, 1, tile);
        else
            amx_panel(&panels[p], blocks, x, 1, 0, tile);
    }
}

const gemm_quant gemm_quant_amx = {TOKENS, 1, 1, begin, end, run};
