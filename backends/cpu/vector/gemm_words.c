/* 16-bit words: opening panels, and the tile that meets them. */
#include "cpu/vector/gemm_tile.h"

#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/device.h"
#include "cpu/vector/words.h"

static float pack(const float *x, int64_t blocks, int32_t plane_bits, void *q, float *sum) {
    return nlm_vector_words_group(x, blocks, plane_bits, q, sum);
}

_Static_assert(FORM_q4_k_FOLD == 4 && FORM_q5_k_FOLD == 2 && FORM_q6_k_FOLD == 1,
               "those that the tile has kernels for");

/* ---- opening ----------------------------------------------------------------------------------- */

/* A group of 4 columns: two steps. */
V_INLINE void put_words(const nlm_quant_format *f, vi w, vi factor, int32_t p, nlm_words_step *q) {
    vi words[2];
    to_words(f, w, words);
    for (int i = 0; i < 2; i++) vi_store(q[i][p], f->fold ? vi_mul16(words[i], factor) : words[i]);
}

/* The factors of a block's halves, as words. */
V_INLINE void word_factors(const nlm_quant_format *f, const uint8_t *record, int b, vi factor[2]) {
    if (f->fold) super_block_factors(record, b, f->halves, factor);
    for (int h = 0; h < f->halves && f->fold; h++) factor[h] = dword_words(factor[h]);
}

V_INLINE void open_blocks(const nlm_quant_format *f, const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p,
                          nlm_open_words *out) {
    for (int32_t i = 0; i < n_blocks; i++, block++) {
        const uint8_t *record = panel + block / f->blocks * f->bytes;
        const int b = (int)(block % f->blocks);
        nlm_words_step *q = out->q + i * (BLOCK / WORDS_STEP);
        vi factor[2];
        vf scales[2], mins;
        word_factors(f, record, b, factor);
        for (int v = 0; v < 4; v++) {
            vi low, high;
            f->pair(record, b, v, &low, &high);
            put_words(f, low, factor[0], p, q + 2 * v);
            put_words(f, high, factor[f->halves - 1], p, q + 2 * (v + 4));
        }
        f->scales(record, b, scales, &mins);
        vf_store(out->scale[f->fold ? i / f->fold : i][p], f->fold ? vf_load_f16(record) : scales[0]);
        if (f->has_min) vf_store(out->min[i][p], mins);
    }
}

#define OPEN(NAME, name, blocks, form)                                                                               \
    static void open_##name(const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p, nlm_open_words *out) { \
        open_blocks(&format_##name, panel, block, n_blocks, p, out);                                                 \
    }
QUANT_LIST(OPEN)

/* ---- the tile ---------------------------------------------------------------------------------- */

V_INLINE void word_products(const nlm_open_words *w, const void *x, int at, int width, nlm_tile_ints ints) {
    const int steps = width / WORDS_STEP;
    const nlm_words_step *step = w->q + at * steps;
    const int16_t *q = (const int16_t *)x + at * 2 * steps;
    EACH_SUM(p, m) ints[p][m] = vi_set1(0);
    _Pragma("GCC unroll 1") for (int s = 0; s < steps; s++) {
        vw weights[PANELS];
        _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) weights[p] = vw_at(step[s][p]);
        _Pragma("GCC unroll 8") for (int m = 0; m < TOGETHER; m++) {
            int32_t both;
            memcpy(&both, q + m * GROUP_COLUMNS + 2 * s, sizeof both);
            const vi pair = vi_set1(both);
            _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) ints[p][m] =
                vi_dot2(ints[p][m], weights[p], pair);
        }
    }
}

static void run(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                int is_first, float *out) {
    if (kernels->fold == 4)
        tile_group(word_products, sizeof(int16_t), 1, 4, 1, w, n_blocks, x, is_first, out);
    else if (kernels->fold == 2)
        tile_group(word_products, sizeof(int16_t), 1, 2, 1, w, n_blocks, x, is_first, out);
    else if (kernels->has_min)
        tile_group(word_products, sizeof(int16_t), 1, 1, 1, w, n_blocks, x, is_first, out);
    else
        tile_group(word_products, sizeof(int16_t), 1, 1, 0, w, n_blocks, x, is_first, out);
}

#define ENTRY(NAME, name, blocks, form) open_##name,
static void (*const open[NLM_VECTOR_QUANT_TYPES])(const uint8_t *, int64_t, int32_t, int32_t,
                                                  nlm_open_words *) = {QUANT_LIST(ENTRY)};

const nlm_gemm_words nlm_vector_gemm_words = {sizeof(int16_t), pack, open, run};

const nlm_gemm_quant nlm_vector_gemm_quant_words = {&nlm_vector_gemm_by_words, NULL, &nlm_vector_gemm_words,
                                                    &nlm_vector_gemm_words, nlm_vector_quant_kernels};
