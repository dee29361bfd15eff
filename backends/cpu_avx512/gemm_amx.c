/* int8 on AMX tiles: 16 tokens x 16 rows x 32 columns an instruction. The integer sums are exact and the
 * f32 steps those of every other kernel, so the results are the same bits. */
#include <immintrin.h>
#include <stddef.h>

#include "amx.h"
#include "cpu/vector/gemm.h"

#define TOKENS 16

/* The tile intrinsics of some compilers do not say that they read memory: what they will read must be there. */
#define WRITTEN(memory) __asm__ volatile("" : : "r"(memory) : "memory")

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns_bytes[16];
    uint8_t rows[16];
} tile_config;

/* Tiles 0..3: sums of the high and low bytes, two steps; 4, 5: activations; 6, 7: weights. A step is a block,
 * or half of one for q6_k. */
static void begin(int halves) {
    tile_config config = {.palette = 1};
    const uint16_t columns = (uint16_t)(BLOCK / halves);
    for (int t = 0; t < 8; t++) {
        config.rows[t] = t < 6 ? TOKENS : (uint8_t)(columns / 4);
        config.columns_bytes[t] = t < 4 || t >= 6 ? 64 : columns;
    }
    WRITTEN(&config);
    _tile_loadconfig(&config);
}

static void end(void) {
    _tile_release();
}

/* Two products with one weight tile. */
#define MULTIPLY(high, low, w_tile, x_at, w_at)           \
    do {                                                  \
        _tile_zero(high);                                 \
        _tile_zero(low);                                  \
        _tile_loadd(w_tile, w_at, 64);                    \
        _tile_loadd(4, x_at, (size_t)q_stride);           \
        _tile_loadd(5, (x_at) + BLOCK, (size_t)q_stride); \
        _tile_dpbssd(high, 4, w_tile);                    \
        _tile_dpbssd(low, 5, w_tile);                     \
    } while (0)

typedef int32_t step_sums[PLANES][TOKENS * PANEL_ROWS];

V_INLINE void scale_sums(const open_panel *panel, const quant_tile *x, int64_t step, int halves, int has_min,
                         const step_sums sums, vf *acc) {
    const int64_t block = step / halves;
    const vf scale = vf_load(panel->scale + step * PANEL_ROWS);
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) {
        const vi high = vi_shl32(vi_load(sums[0] + m * PANEL_ROWS), PLANE_BITS);
        const vi total = vi_add(high, vi_load(sums[1] + m * PANEL_ROWS));
        acc[m] = vf_fma(vf_mul(vf_from_i32(total), scale), vf_set1(x->d[block * TOKENS + m]), acc[m]);
    }
    if (!has_min) return;
    const vf min = vf_load(panel->min + block * PANEL_ROWS);
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[m] =
        vf_fma(min, vf_set1(x->d_sum[block * TOKENS + m]), acc[m]);
}

/* The products of the next step are under way while this one's sums are scaled. */
V_INLINE void amx_panel(const open_panel *panel, int64_t blocks, const quant_tile *x, int halves, int has_min,
                        float *out) {
    _Alignas(64) step_sums sums[2];
    vf acc[TOKENS];
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) acc[m] = vf_zero();
    const int64_t steps = blocks * halves, q_stride = x->q_stride, w_step = 8 * GROUP_BYTES / halves;
#define X_AT(step) (x->q + (step) / halves * PLANES * BLOCK + (step) % halves * (BLOCK / halves))
    MULTIPLY(0, 1, 6, X_AT(0), panel->q);
    for (int64_t step = 0; step < steps; step += 2) {
        if (step + 1 < steps) MULTIPLY(2, 3, 7, X_AT(step + 1), panel->q + (step + 1) * w_step);
        _tile_stored(0, sums[0][0], 64);
        _tile_stored(1, sums[0][1], 64);
        scale_sums(panel, x, step, halves, has_min, sums[0], acc);
        if (step + 1 == steps) break;
        if (step + 2 < steps) MULTIPLY(0, 1, 6, X_AT(step + 2), panel->q + (step + 2) * w_step);
        _tile_stored(2, sums[1][0], 64);
        _tile_stored(3, sums[1][1], 64);
        scale_sums(panel, x, step + 1, halves, has_min, sums[1], acc);
    }
#undef X_AT
    _Pragma("GCC unroll 16") for (int m = 0; m < TOKENS; m++) vf_store(out + m * PANEL_ROWS, acc[m]);
}

static void run(const matmul_kernels *kernels, const open_panel *panels, int32_t n_panels, int64_t blocks,
                const quant_tile *x, float *out) {
    WRITTEN(panels);
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

const gemm_quant nlm_avx512_gemm_quant = {TOKENS, 1, 1, begin, end, run};
