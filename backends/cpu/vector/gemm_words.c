/* 16-bit words: opening panels, and the tile that meets them. */
#include "cpu/vector/gemm_tile.h"

#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/device.h"
#include "cpu/vector/words.h"

static float pack(const float *x, int64_t blocks, int32_t plane_bits, void *q, float *sum) {
    return nlm_vector_words_group(x, blocks, plane_bits, q, sum);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* A group of 4 columns: two steps. */
V_INLINE void put_words(const nlm_quant_format *f, vi w, int32_t p, nlm_words_step *q) {
    vi words[2];
    to_words(f, w, words);
    vi_store(q[0][p], words[0]);
    vi_store(q[1][p], words[1]);
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

V_INLINE void word_products(const nlm_open_words *w, const void *x, int at, int halves, nlm_tile_ints ints) {
    const int steps = (BLOCK / WORDS_STEP) / halves;
    const nlm_words_step *step = w->q + at * steps;
    const int16_t *q = (const int16_t *)x + at * 2 * steps;
    EACH_SUM(p, m) ints[p][m] = vi_set1(0);
    _Pragma("GCC unroll 4") for (int s = 0; s < steps; s++) {
        vw weights[PANELS];
        _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) weights[p] = vw_at(step[s][p]);
        _Pragma("GCC unroll 8") for (int m = 0; m < TOKENS; m++) {
            int32_t both;
            memcpy(&both, q + m * GROUP_COLUMNS + 2 * s, sizeof both);
            const vi pair = vi_set1(both);
            _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) ints[p][m] =
                vi_dot2(ints[p][m], weights[p], pair);
        }
    }
}

TILE_RUN(word_products)

#define ENTRY(NAME, name, blocks, form) open_##name,
static void (*const open[NLM_VECTOR_QUANT_TYPES])(const uint8_t *, int64_t, int32_t, int32_t,
                                                  nlm_open_words *) = {QUANT_LIST(ENTRY)};

const nlm_gemm_words nlm_vector_gemm_words = {sizeof(int16_t), pack, open, run};

const nlm_gemm_quant nlm_vector_gemm_quant_words = {&nlm_vector_gemm_by_words, NULL, &nlm_vector_gemm_words,
                                                    &nlm_vector_gemm_words, nlm_vector_quant_kernels};
