/* int8 by small matrices (i8mm): 2 tokens x 8 columns x 2 rows an instruction. The integer sums are exact and the
 * f32 steps those of every other kernel, so the results are the same bits. */
#include <stddef.h>

#include "cpu/vector/gemm_planes.h"
#include "dotprod.h"
#include "i8mm.h"

#define TOKENS      4 /* with the sums in f32 what registers hold */
#define TOKEN_PAIRS (TOKENS / 2)
#define ROW_PAIRS   (PANEL_ROWS / 2)
#define OCTET       8 /* columns of an instruction */
#define OCTETS      (BLOCK / OCTET)
#define PAIR_BYTES  (2 * OCTET)

#define EACH_PAIR(r, m)                                         \
    _Pragma("GCC unroll 4") for (int r = 0; r < ROW_PAIRS; r++) \
        _Pragma("GCC unroll 4") for (int m = 0; m < TOKEN_PAIRS; m++)

/* What differs between the forms; a constant wherever it is used. */
typedef struct pair_format {
    int offset, halves, has_min, plane_bits;
} pair_format;

/* Of a token two rows, then of the next token. */
typedef int32x4_t pair_ints[ROW_PAIRS][TOKEN_PAIRS];
typedef float32x4_t pair_sums[ROW_PAIRS][TOKEN_PAIRS];

/* Two groups of 4 columns of each row become one of 8. */
static void arrange(uint8_t *q, int32_t n_blocks) {
    for (int32_t i = 0; i < n_blocks * OCTETS; i++, q += 2 * GROUP_BYTES) {
        const vi first = vi_load(q), then = vi_load(q + GROUP_BYTES);
        vi_store(q, (vi){vzip1q_s32(first.low, then.low), vzip2q_s32(first.low, then.low)});
        vi_store(q + GROUP_BYTES, (vi){vzip1q_s32(first.high, then.high), vzip2q_s32(first.high, then.high)});
    }
}

/* p[0], p[1], p[0], p[1] */
static inline __attribute__((always_inline)) float32x4_t of_rows(const float *p) {
    const float32x2_t two = vld1_f32(p);
    return vcombine_f32(two, two);
}
/* p[0], p[0], p[1], p[1] */
static inline __attribute__((always_inline)) float32x4_t of_tokens(const float *p) {
    const float32x4_t two = of_rows(p);
    return vzip1q_f32(two, two);
}

/* One plane of `octets` octets. */
V_INLINE void add_plane(const uint8_t *w, const int8_t *q, int octets, pair_ints ints) {
    _Pragma("GCC unroll 4") for (int o = 0; o < octets; o++) {
        int8x16_t x[TOKEN_PAIRS];
        _Pragma("GCC unroll 4") for (int m = 0; m < TOKEN_PAIRS; m++) x[m] =
            vld1q_s8(q + (o * TOKEN_PAIRS + m) * PAIR_BYTES);
        EACH_PAIR(r, m) {
            const int8x16_t rows = vreinterpretq_s8_u8(vld1q_u8(w + (o * ROW_PAIRS + r) * PAIR_BYTES));
            ints[r][m] = vmmlaq_s32(ints[r][m], x[m], rows);
        }
    }
}

/* The sum of the high bytes in its place, where there are low ones, and what takes the offset off. */
V_INLINE void raise(const pair_format *f, const int32_t *sum16, int h, pair_ints ints) {
    int32x4_t off[TOKEN_PAIRS];
    _Pragma("GCC unroll 4") for (int m = 0; m < TOKEN_PAIRS; m++) {
        const int32x2_t first = vld1_s32(sum16 + 2 * m), then = vld1_s32(sum16 + TOKENS + 2 * m);
        const int32x2_t sum = f->halves == 1 ? vadd_s32(first, then) : h ? then : first;
        const int32x4_t twice = vcombine_s32(sum, sum);
        off[m] = vmulq_n_s32(vzip1q_s32(twice, twice), f->offset);
    }
    EACH_PAIR(r, m) {
        if (PLANES == 2) ints[r][m] <<= f->plane_bits;
        if (f->offset) ints[r][m] = vsubq_s32(ints[r][m], off[m]);
    }
}

V_INLINE void add_block(const pair_format *f, const nlm_open_panel *panel, const nlm_quant_tile *x, int32_t block,
                        pair_sums sum) {
    const int octets = OCTETS / f->halves;
    _Pragma("GCC unroll 2") for (int h = 0; h < f->halves; h++) {
        const uint8_t *w = panel->q + (block * OCTETS + h * octets) * ROW_PAIRS * PAIR_BYTES;
        const int8_t *q = x->q + (block * PLANES * OCTETS + h * octets) * TOKEN_PAIRS * PAIR_BYTES;
        pair_ints ints;
        EACH_PAIR(r, m) ints[r][m] = vdupq_n_s32(0);
        add_plane(w, q, octets, ints);
        raise(f, x->sum16 + block * 2 * TOKENS, h, ints);
        if (PLANES == 2) add_plane(w, q + OCTETS * TOKEN_PAIRS * PAIR_BYTES, octets, ints);
        EACH_PAIR(r, m) {
            const float32x4_t scale = of_rows(panel->scale + (block * f->halves + h) * PANEL_ROWS + 2 * r);
            sum[r][m] = vfmaq_f32(sum[r][m], vcvtq_f32_s32(ints[r][m]), scale);
        }
    }
    if (!f->has_min) return;
    EACH_PAIR(r, m) {
        const float32x4_t min = of_rows(panel->min + block * PANEL_ROWS + 2 * r);
        sum[r][m] = vfmaq_f32(sum[r][m], min, of_tokens(x->sum + block * TOKENS + 2 * m));
    }
}

/* out[token][PANEL_ROWS] */
V_INLINE void finish_group(const float *d, int is_first, pair_sums sum, float *out) {
    _Pragma("GCC unroll 16") for (int t = 0; t < TOKENS; t++) {
        float64x2_t pairs[ROW_PAIRS];
        for (int r = 0; r < ROW_PAIRS; r++) pairs[r] = vreinterpretq_f64_f32(sum[r][t / 2]);
        const vf of_token = t % 2 ? (vf){vreinterpretq_f32_f64(vzip2q_f64(pairs[0], pairs[1])),
                                         vreinterpretq_f32_f64(vzip2q_f64(pairs[2], pairs[3]))}
                                  : (vf){vreinterpretq_f32_f64(vzip1q_f64(pairs[0], pairs[1])),
                                         vreinterpretq_f32_f64(vzip1q_f64(pairs[2], pairs[3]))};
        const vf acc = is_first ? vf_zero() : vf_load(out + t * PANEL_ROWS);
        vf_store(out + t * PANEL_ROWS, vf_fma(of_token, vf_set1(d[t]), acc));
    }
}

V_INLINE void pair_group(const pair_format *f, const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks,
                         const nlm_quant_tile *x, int is_first, float *out) {
    for (int32_t p = 0; p < n_panels; p++, out += TOKENS * PANEL_ROWS) {
        pair_sums sum;
        EACH_PAIR(r, m) sum[r][m] = vdupq_n_f32(0);
        for (int32_t block = 0; block < n_blocks; block++) add_block(f, &panels[p], x, block, sum);
        finish_group(x->d, is_first, sum, out);
    }
}

static void run(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks,
                const nlm_quant_tile *x, int is_first, float *out) {
    switch (kernels->form) {
#define RUN_FORM(form, offset, halves, has_min, most, plane_bits, fold)                  \
    case QUANT_FORM_##form: {                                                            \
        static const pair_format format = {(offset), (halves), (has_min), (plane_bits)}; \
        pair_group(&format, panels, n_panels, n_blocks, x, is_first, out);               \
        break;                                                                           \
    }
        FORM_LIST(RUN_FORM)
#undef RUN_FORM
    }
}

static const nlm_gemm_planes pairs = {TOKENS, OCTET, OPEN_UNSIGNED, arrange, NULL, NULL, run};

const nlm_gemm_quant nlm_neon_gemm_quant_i8mm = {&nlm_vector_gemm_by_planes, &pairs, NULL, NULL,
                                                 nlm_vector_quant_kernels_dotprod};
