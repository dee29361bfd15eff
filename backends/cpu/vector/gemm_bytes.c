/* Bytes beside activations of 8 bits: opening panels of weights whose sums fit, and the tile that meets them. */
#include <stddef.h>

#include "cpu/vector/activations.h"
#include "cpu/vector/device.h"
#include "cpu/vector/gemm_tile.h"
#include "cpu/vector/quant_format.h"

/* The dot product takes one factor unsigned: the activations, so that weights can stay in memory. */
#define RAISE 128

static float pack(const float *x, int64_t blocks, int32_t plane_bits, void *q, float *sum) {
    int32_t unused[GROUP_BLOCKS * 2];
    (void)plane_bits;
    const float d = nlm_vector_bytes_group(x, blocks, q, sum, unused);
    uint8_t *bytes = q;
    for (int i = 0; i < GROUP_COLUMNS; i++) bytes[i] ^= RAISE;
    return d;
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* A group of 4 columns. Returns `too_much` and what RAISE makes of them. */
V_INLINE vi put_bytes(const nlm_quant_format *f, vi w, uint8_t *q, vi too_much) {
    if (centre_of(f)) w = vi_sub_u8(w, vi_set1_u8((uint8_t)centre_of(f)));
    vi_store(q, w);
    return vi_bytes_dot_signed(too_much, vw_at(q), vi_set1_u8(RAISE));
}

V_INLINE void open_blocks(const nlm_quant_format *f, const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p,
                          nlm_open_words *out) {
    for (int32_t i = 0; i < n_blocks; i++, block++) {
        const uint8_t *record = panel + block / f->blocks * f->bytes;
        const int b = (int)(block % f->blocks);
        nlm_words_step *q = out->q + i * (BLOCK / BYTES_STEP);
        vi too_much[2] = {vi_set1(0), vi_set1(0)}; /* of both halves */
        vf scales[2], mins;
        for (int v = 0; v < 4; v++) {
            vi low, high;
            f->pair(record, b, v, &low, &high);
            too_much[0] = put_bytes(f, low, q[v][p], too_much[0]);
            too_much[1] = put_bytes(f, high, q[v + 4][p], too_much[1]);
        }
        if (f->halves == 1) too_much[0] = vi_bytes_add(too_much[0], too_much[1]);
        scales_from_centre(f, record, b, scales, &mins);
        for (int h = 0; h < f->halves; h++) {
            vi_store(out->seed[i * f->halves + h][p], vi_bytes_sub(vi_set1(0), too_much[h]));
            vf_store(out->scale[i * f->halves + h][p], scales[h]);
        }
        if (f->has_min) vf_store(out->min[i][p], mins);
    }
}

/* Others never come here. */
#define OPEN(NAME, name, blocks, form)                                                                               \
    static void open_##name(const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p, nlm_open_words *out) { \
        if (IS_OF_BYTES(form)) open_blocks(&format_##name, panel, block, n_blocks, p, out);                          \
    }
QUANT_LIST(OPEN)

/* ---- the tile ---------------------------------------------------------------------------------- */

V_INLINE void byte_products(const nlm_open_words *w, const void *x, int at, int width, nlm_tile_ints ints) {
    const int steps = width / BYTES_STEP;
    const uint8_t *q = x;
    EACH_SUM(p, m) ints[p][m] = vi_load(w->seed[at][p]);
    _Pragma("GCC unroll 8") for (int s = at * steps; s < (at + 1) * steps; s++) {
        vw weights[PANELS];
        _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) weights[p] = vw_at(w->q[s][p]);
        _Pragma("GCC unroll 8") for (int m = 0; m < TOGETHER; m++) {
            int32_t bytes;
            memcpy(&bytes, q + m * GROUP_COLUMNS + BYTES_STEP * s, sizeof bytes);
            const vi four = vi_set1(bytes);
            _Pragma("GCC unroll 8") for (int p = 0; p < PANELS; p++) ints[p][m] =
                vi_bytes_dot_signed(ints[p][m], weights[p], four);
        }
    }
    EACH_SUM(p, m) ints[p][m] = vi_bytes_total(ints[p][m]);
}

static void run(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                int is_first, float *out) {
    if (kernels->halves == 2)
        tile_group(byte_products, sizeof(int8_t), 2, 1, 0, w, n_blocks, x, is_first, out);
    else if (kernels->has_min)
        tile_group(byte_products, sizeof(int8_t), 1, 1, 1, w, n_blocks, x, is_first, out);
    else
        tile_group(byte_products, sizeof(int8_t), 1, 1, 0, w, n_blocks, x, is_first, out);
}

#define ENTRY(NAME, name, blocks, form) open_##name,
static void (*const open[NLM_VECTOR_QUANT_TYPES])(const uint8_t *, int64_t, int32_t, int32_t,
                                                  nlm_open_words *) = {QUANT_LIST(ENTRY)};

static const nlm_gemm_words bytes = {sizeof(int8_t), pack, open, run};

const nlm_gemm_quant nlm_vector_gemm_quant_bytes = {&nlm_vector_gemm_by_words, NULL,
                                                    V_BYTE_SUM_BITS == 32 ? &bytes : &nlm_vector_gemm_words, &bytes,
                                                    nlm_vector_byte_kernels};
