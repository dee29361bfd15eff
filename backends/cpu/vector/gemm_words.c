/* 16-bit words: opening panels, and the tile that meets them. */
#include "cpu/vector/gemm_words.h"

#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/device.h"
#include "cpu/vector/quant_format.h"

#define PANELS V_WORD_PANELS
#define TOKENS V_WORD_TOKENS

static float pack(const float *x, int64_t blocks, int32_t plane_bits, void *q, float *sum) {
    return nlm_vector_words_group(x, blocks, plane_bits, q, sum);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* A group of 4 columns: two steps. */
V_INLINE void put_words(const nlm_quant_format *f, vi w, int32_t p, nlm_words_step *q) {
    const int is_signed = !f->is_small && f->offset == 0;
    const vi offset = vi_set1_i16((int16_t)f->offset);
    vi first = is_signed ? vi_sra16(vi_shl16(w, 8), 8) : vi_and(w, vi_set1_i16(0xFF));
    vi then = is_signed ? vi_sra16(w, 8) : vi_shr16(w, 8);
    if (f->offset) {
        first = vi_sub16(first, offset);
        then = vi_sub16(then, offset);
    }
    vi_store(q[0][p], first);
    vi_store(q[1][p], then);
}

V_INLINE void open_blocks(const nlm_quant_format *f, const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p,
                          nlm_open_words *out) {
    for (int32_t i = 0; i < n_blocks; i++, block++) {
        const uint8_t *record = panel + block / f->blocks * f->bytes;
        const int b = (int)(block % f->blocks);
        nlm_words_step *q = out->q + i * (BLOCK / WORDS_STEP);
        vf scales[2], mins;
        for (int v = 0; v < 4; v++) {
            vi low, high;
            f->pair(record, b, v, &low, &high);
            put_words(f, low, p, q + 2 * v);
            put_words(f, high, p, q + 2 * (v + 4));
        }
        f->scales(record, b, scales, &mins);
        for (int h = 0; h < f->halves; h++) vf_store(out->scale[i * f->halves + h][p], scales[h]);
        if (f->has_min) vf_store(out->min[i][p], mins);
    }
}

#define OPEN(NAME, name, blocks, form)                                                                               \
    static void open_##name(const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p, nlm_open_words *out) { \
        open_blocks(&format_##name, panel, block, n_blocks, p, out);                                                 \
    }
QUANT_LIST(OPEN)

/* ---- the tile ---------------------------------------------------------------------------------- */

/* [blocks or half blocks]: sums of a panel and a token are vectors of its rows. */
typedef vi word_ints[PANELS][TOKENS];
typedef vf word_sums[PANELS][TOKENS];

#define EACH_SUM(p, m) \
    _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) _Pragma("GCC unroll 8") for (int m = 0; m < TOKENS; m++)

/* The products of `steps` steps. */
V_INLINE void add_steps(const nlm_words_step *w, const int16_t *x, int steps, word_ints ints) {
    EACH_SUM(p, m) ints[p][m] = vi_set1(0);
    _Pragma("GCC unroll 4") for (int s = 0; s < steps; s++) {
        vi pair[TOKENS];
        _Pragma("GCC unroll 8") for (int m = 0; m < TOKENS; m++) {
            int32_t both;
            memcpy(&both, x + m * GROUP_COLUMNS + 2 * s, sizeof both);
            pair[m] = vi_set1(both);
        }
        _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) {
            const vw weights = vw_at(w[s][p]);
            _Pragma("GCC unroll 8") for (int m = 0; m < TOKENS; m++) ints[p][m] =
                vi_dot2(ints[p][m], weights, pair[m]);
        }
    }
}

V_INLINE void words_group(int halves, int has_min, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                          int is_first, float *out) {
    const int steps = (BLOCK / WORDS_STEP) / halves;
    word_sums sum;
    EACH_SUM(p, m) sum[p][m] = vf_zero();
    for (int32_t b = 0; b < n_blocks; b++) {
        for (int h = 0; h < halves; h++) {
            const int at = b * halves + h;
            word_ints ints;
            add_steps(w->q + at * steps, (const int16_t *)x->q + at * 2 * steps, steps, ints);
            EACH_SUM(p, m) sum[p][m] = vf_fma(vf_from_i32(ints[p][m]), vf_load(w->scale[at][p]), sum[p][m]);
        }
        if (!has_min) continue;
        EACH_SUM(p, m) sum[p][m] = vf_fma(vf_load(w->min[b][p]), vf_set1(x->sum[m * GROUP_BLOCKS + b]), sum[p][m]);
    }
    EACH_SUM(p, m) {
        float *to = out + (p * TOKENS + m) * PANEL_ROWS;
        vf_store(to, vf_fma(sum[p][m], vf_set1(x->d[m]), is_first ? vf_zero() : vf_load(to)));
    }
}

static void run(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                int is_first, float *out) {
    if (kernels->halves == 2)
        words_group(2, 0, w, n_blocks, x, is_first, out);
    else if (kernels->has_min)
        words_group(1, 1, w, n_blocks, x, is_first, out);
    else
        words_group(1, 0, w, n_blocks, x, is_first, out);
}

#define ENTRY(NAME, name, blocks, form) open_##name,
static void (*const open[NLM_VECTOR_QUANT_TYPES])(const uint8_t *, int64_t, int32_t, int32_t,
                                                  nlm_open_words *) = {QUANT_LIST(ENTRY)};

const nlm_gemm_words nlm_vector_gemm_words = {sizeof(int16_t), pack, open, run};

const nlm_gemm_quant nlm_vector_gemm_quant_words = {&nlm_vector_gemm_by_words, NULL, &nlm_vector_gemm_words,
                                                    &nlm_vector_gemm_words, nlm_vector_quant_kernels};
