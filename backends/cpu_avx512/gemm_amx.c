/* int8 on AMX tiles: 16 tokens x 16 rows an instruction. The integer sums are exact and the f32 steps those of
 * every other kernel, so the results are the same bits.
 *
 * While tiles are in use one port of two takes 512-bit multiplications and conversions (Sapphire Rapids): what is
 * done to the sums costs as much as the products, and both advance together. */
#include <immintrin.h>
#include <stddef.h>

#include "amx.h"
#include "cpu/vector/gemm_planes.h"
#include "vnni.h"

#define TOKENS     16
#define TOKEN_STEP (PLANES * BLOCK) /* bytes of a block of a token */
#define A_BLOCK    (TOKENS * TOKEN_STEP)
#define UNROLL     _Pragma("GCC unroll 16")

/* The tile intrinsics of some compilers do not say that they read memory: what they will read must be there. */
#define WRITTEN(memory) __asm__ volatile("" : : "r"(memory) : "memory")

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns_bytes[16];
    uint8_t rows[16];
} tile_config;

typedef int32_t tile_sums[TOKENS * PANEL_ROWS];

/* Weights of 4 bits: tiles 0, 1 are sums, 2..5 the activations of a group's blocks, 6, 7 weights; a product takes
 * both planes of a block, as 16 times the weights stand above them: high * 16 w + low * w.
 * Others: 0, 1 and 2, 3 are sums of the high and of the low plane, 4, 5 the planes, 6, 7 weights; a step is a
 * block, or half of one for q6_k. */
static void begin(const nlm_matmul_kernels *kernels) {
    tile_config config = {.palette = 1};
    const int is_pair = kernels->plane_bits == 4;
    const uint16_t columns = (uint16_t)(is_pair ? TOKEN_STEP : BLOCK / kernels->halves);
    for (int t = 0; t < 8; t++) {
        const int is_weights = t >= 6, is_sums = t < (is_pair ? 2 : 4);
        config.rows[t] = is_weights ? (uint8_t)(columns / 4) : TOKENS;
        config.columns_bytes[t] = is_weights || is_sums ? 64 : columns;
    }
    WRITTEN(&config);
    _tile_loadconfig(&config);
}

static void end(void) {
    _tile_release();
}

/* sum + float(ints) * scale */
V_INLINE void add_pair(const int32_t *ints, vf scale, vf *sum) {
    UNROLL for (int m = 0; m < TOKENS; m++) sum[m] =
        vf_fma(vf_from_i32(vi_load(ints + m * PANEL_ROWS)), scale, sum[m]);
}

V_INLINE void add_planes(const tile_sums *ints, vf scale, vf *sum) {
    UNROLL for (int m = 0; m < TOKENS; m++) {
        const vi high = vi_shl32(vi_load(ints[0] + m * PANEL_ROWS), 7);
        sum[m] = vf_fma(vf_from_i32(vi_add(high, vi_load(ints[1] + m * PANEL_ROWS))), scale, sum[m]);
    }
}

V_INLINE void add_min(const float *min_at, const float *x_sum, vf *sum) {
    const vf min = vf_load(min_at);
    UNROLL for (int m = 0; m < TOKENS; m++) sum[m] = vf_fma(min, vf_set1(x_sum[m]), sum[m]);
}

V_INLINE void finish_group(const float *d, int is_first, vf *sum, float *out) {
    UNROLL for (int m = 0; m < TOKENS; m++) {
        const vf acc = is_first ? vf_zero() : vf_load(out + m * PANEL_ROWS);
        vf_store(out + m * PANEL_ROWS, vf_fma(sum[m], vf_set1(d[m]), acc));
        sum[m] = vf_zero();
    }
}

/* ---- weights of 4 bits ------------------------------------------------------------------------- */

#define PAIR_STEP (PLANES * 8 * GROUP_BYTES) /* bytes of a block's opened weights */

/* Weights with a min are unsigned: 16 times 15 is more than a signed byte holds. */
#define MULTIPLY_PAIR(sums, x_tile, w_tile, w_at) \
    do {                                          \
        _tile_zero(sums);                         \
        _tile_loadd(w_tile, w_at, 64);            \
        if (has_min)                              \
            _tile_dpbsud(sums, x_tile, w_tile);   \
        else                                      \
            _tile_dpbssd(sums, x_tile, w_tile);   \
    } while (0)

/* Products are two blocks ahead of what is done to their sums. */
V_INLINE void pair_group(const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks, const nlm_quant_tile *x,
                         int has_min, int is_first, float *out) {
    _Alignas(64) tile_sums ints[2];
    vf sum[TOKENS];
    UNROLL for (int m = 0; m < TOKENS; m++) sum[m] = vf_zero();
    _tile_loadd(2, x->q, TOKEN_STEP);
    _tile_loadd(3, x->q + A_BLOCK, TOKEN_STEP);
    if (n_blocks == GROUP_BLOCKS) _tile_loadd(4, x->q + 2 * A_BLOCK, TOKEN_STEP);
    if (n_blocks == GROUP_BLOCKS) _tile_loadd(5, x->q + 3 * A_BLOCK, TOKEN_STEP);
    MULTIPLY_PAIR(0, 2, 6, panels[0].q);
    MULTIPLY_PAIR(1, 3, 7, panels[0].q + PAIR_STEP);
#define TAKE(tile, block)                                                  \
    add_pair(ints[tile], vf_load(panel->scale + (block)*PANEL_ROWS), sum); \
    if (has_min) add_min(panel->min + (block)*PANEL_ROWS, x->sum + (block)*TOKENS, sum)
    for (int32_t p = 0; p < n_panels; p++, out += TOKENS * PANEL_ROWS) {
        const nlm_open_panel *panel = &panels[p];
        const uint8_t *next = panels[p + 1 < n_panels ? p + 1 : p].q;
        if (n_blocks == GROUP_BLOCKS) {
            _tile_stored(0, ints[0], 64);
            MULTIPLY_PAIR(0, 4, 6, panel->q + 2 * PAIR_STEP);
            TAKE(0, 0);
            _tile_stored(1, ints[1], 64);
            MULTIPLY_PAIR(1, 5, 7, panel->q + 3 * PAIR_STEP);
            TAKE(1, 1);
        }
        _tile_stored(0, ints[0], 64);
        MULTIPLY_PAIR(0, 2, 6, next);
        TAKE(0, n_blocks - 2);
        _tile_stored(1, ints[1], 64);
        MULTIPLY_PAIR(1, 3, 7, next + PAIR_STEP);
        TAKE(1, n_blocks - 1);
        finish_group(x->d, is_first, sum, out);
    }
#undef TAKE
}

/* ---- the others -------------------------------------------------------------------------------- */

/* Stores the sums of a step and begins another with the same tiles. */
#define EXCHANGE(high, low, w_tile, to, x_at, w_at) \
    do {                                            \
        if (to) _tile_stored(high, (to)[0], 64);    \
        _tile_zero(high);                           \
        _tile_loadd(w_tile, w_at, 64);              \
        _tile_loadd(4, x_at, TOKEN_STEP);           \
        _tile_dpbssd(high, 4, w_tile);              \
        if (to) _tile_stored(low, (to)[1], 64);     \
        _tile_zero(low);                            \
        _tile_loadd(5, (x_at) + BLOCK, TOKEN_STEP); \
        _tile_dpbssd(low, 5, w_tile);               \
    } while (0)

V_INLINE void planes_group(const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks, const nlm_quant_tile *x,
                           int halves, int has_min, int is_first, float *out) {
    _Alignas(64) tile_sums ints[2][PLANES];
    tile_sums *const none = NULL;
    vf sum[TOKENS];
    UNROLL for (int m = 0; m < TOKENS; m++) sum[m] = vf_zero();
    const int32_t steps = n_blocks * halves, w_step = 8 * GROUP_BYTES / halves;
#define X_AT(step) (x->q + (step) / halves * A_BLOCK + (step) % halves * (BLOCK / halves))
    EXCHANGE(0, 1, 6, none, X_AT(0), panels[0].q);
    EXCHANGE(2, 3, 7, none, X_AT(1), panels[0].q + w_step);
    for (int32_t p = 0; p < n_panels; p++, out += TOKENS * PANEL_ROWS) {
        const nlm_open_panel *panel = &panels[p];
        for (int32_t step = 0; step < steps; step += 2) {
            const int is_last = step + 2 == steps;
            const int32_t then = is_last ? 0 : step + 2;
            const uint8_t *w = panels[is_last && p + 1 < n_panels ? p + 1 : p].q + then * w_step;
            EXCHANGE(0, 1, 6, ints[0], X_AT(then), w);
            add_planes(ints[0], vf_load(panel->scale + step * PANEL_ROWS), sum);
            if (has_min) add_min(panel->min + step * PANEL_ROWS, x->sum + step * TOKENS, sum);
            EXCHANGE(2, 3, 7, ints[1], X_AT(then + 1), w + w_step);
            add_planes(ints[1], vf_load(panel->scale + (step + 1) * PANEL_ROWS), sum);
            if (has_min) add_min(panel->min + (step + 1) * PANEL_ROWS, x->sum + (step + 1) * TOKENS, sum);
        }
        finish_group(x->d, is_first, sum, out);
    }
#undef X_AT
}

V_INLINE void any_group(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels,
                        int32_t n_blocks, const nlm_quant_tile *x, int is_first, float *out) {
    if (kernels->plane_bits == 4) {
        if (kernels->has_min)
            pair_group(panels, n_panels, n_blocks, x, 1, is_first, out);
        else
            pair_group(panels, n_panels, n_blocks, x, 0, is_first, out);
    } else if (kernels->halves == 2) {
        planes_group(panels, n_panels, n_blocks, x, 2, 0, is_first, out);
    } else if (kernels->has_min) {
        planes_group(panels, n_panels, n_blocks, x, 1, 1, is_first, out);
    } else {
        planes_group(panels, n_panels, n_blocks, x, 1, 0, is_first, out);
    }
}

static void run(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks,
                const nlm_quant_tile *x, int is_first, float *out) {
    WRITTEN(panels);
    if (is_first)
        any_group(kernels, panels, n_panels, n_blocks, x, 1, out);
    else
        any_group(kernels, panels, n_panels, n_blocks, x, 0, out);
}

static const nlm_gemm_planes tiles = {TOKENS, TOKEN_STEP, OPEN_TILES, NULL, begin, end, run};

const nlm_gemm_quant nlm_avx512_gemm_quant = {&nlm_vector_gemm_by_planes, &tiles, NULL, NULL,
                                              nlm_vector_quant_kernels_tiles};
