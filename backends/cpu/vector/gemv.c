/* Few tokens: bound by the bytes of the weights. Panels are read as parallel streams. */
#include "cpu/vector/kernels.h"
#include "cpu/vector/panel_load.h"

#define PREFETCH_BYTES 1024

V_INLINE void prefetch_record(const uint8_t *record, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(record + PREFETCH_BYTES + i, 0, 3);
}

/* acc + the product of one block with one token's block. */
V_INLINE vf block_dot(const block_weights *w, const quant_row *x, int64_t block, int offset, int halves, int has_min,
                      int is_small, vf acc) {
    const int8_t *q = x->q + block * PLANES * BLOCK;
    const int32_t *sum16 = x->sum16 + block * 2;
    const vf d = vf_set1(x->d[block]);
    for (int h = 0; h < halves; h++) {
        const int groups = 8 / halves;
        const int32_t sum = halves == 2 ? sum16[h] : sum16[0] + sum16[1];
        vi ints = vi_set1(0);
        for (int plane = 0; plane < PLANES; plane++) {
            if (plane == 1) ints = vi_add(vi_shl32(ints, PLANE_BITS), vi_set1(-offset * sum));
            for (int g = h * groups; g < (h + 1) * groups; g++) {
                int32_t four;
                memcpy(&four, q + plane * BLOCK + 4 * g, 4);
                ints = is_small ? vi_dot4_small(ints, w->q[g], vi_set1(four)) : vi_dot4(ints, w->q[g], vi_set1(four));
            }
        }
        acc = vf_fma(vf_mul(vf_from_i32(ints), w->scale[h]), d, acc);
    }
    return has_min ? vf_fma(w->min, vf_set1(x->d_sum[block]), acc) : acc;
}

#define GEMV_QUANT(NAME, name, blocks, P, M)                                                               \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t records, const quant_row *x, \
                                        float *tile) {                                                     \
        const size_t record_bytes = name##_record_bytes;                                                   \
        const uint8_t *at[P];                                                                              \
        vf acc[P][M];                                                                                      \
        for (int p = 0; p < P; p++) {                                                                      \
            at[p] = panels[p];                                                                             \
            for (int m = 0; m < M; m++) acc[p][m] = vf_zero();                                             \
        }                                                                                                  \
        for (int64_t i = 0; i < records; i++) {                                                            \
            for (int p = 0; p < P; p++) prefetch_record(at[p], record_bytes);                              \
            for (int b = 0; b < blocks; b++) {                                                             \
                _Pragma("GCC unroll 4") for (int p = 0; p < P; p++) {                                      \
                    block_weights w;                                                                       \
                    load_##name(at[p], b, &w);                                                             \
                    _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) acc[p][m] =                        \
                        block_dot(&w, &x[m], i * blocks + b, NAME##_OFFSET, NAME##_HALVES, NAME##_HAS_MIN, \
                                  NAME##_SMALL, acc[p][m]);                                                \
                }                                                                                          \
            }                                                                                              \
            for (int p = 0; p < P; p++) at[p] += record_bytes;                                             \
        }                                                                                                  \
        for (int p = 0; p < P; p++)                                                                        \
            for (int m = 0; m < M; m++) vf_store(tile + (p * M + m) * PANEL_ROWS, acc[p][m]);              \
    }

#define GEMV_PLAIN(name, element, load, P, M)                                                                 \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t columns, const float *const *x, \
                                        float *tile) {                                                        \
        vf acc[P][M];                                                                                         \
        for (int p = 0; p < P; p++)                                                                           \
            for (int m = 0; m < M; m++) acc[p][m] = vf_zero();                                                \
        for (int64_t k = 0; k < columns; k++) {                                                               \
            const int64_t at = k * (element)*PANEL_ROWS;                                                      \
            _Pragma("GCC unroll 4") for (int p = 0; p < P; p++) {                                             \
                __builtin_prefetch(panels[p] + at + PREFETCH_BYTES, 0, 3);                                    \
                const vf w = load(panels[p] + at);                                                            \
                _Pragma("GCC unroll 4") for (int m = 0; m < M; m++) acc[p][m] =                               \
                    vf_fma(w, vf_set1(x[m][k]), acc[p][m]);                                                   \
            }                                                                                                 \
        }                                                                                                     \
        for (int p = 0; p < P; p++)                                                                           \
            for (int m = 0; m < M; m++) vf_store(tile + (p * M + m) * PANEL_ROWS, acc[p][m]);                 \
    }

enum {
#define RECORD_BYTES(NAME, name, columns, bytes) name##_record_bytes = (bytes),
    PANEL_LIST(RECORD_BYTES)
#undef RECORD_BYTES
};

#define GEMV_QUANT_ALL(NAME, name, blocks) \
    GEMV_QUANT(NAME, name, blocks, 1, 1)   \
    GEMV_QUANT(NAME, name, blocks, 1, 2)   \
    GEMV_QUANT(NAME, name, blocks, 1, 3)   \
    GEMV_QUANT(NAME, name, blocks, 1, 4)   \
    GEMV_QUANT(NAME, name, blocks, 4, 1)   \
    GEMV_QUANT(NAME, name, blocks, 4, 2)   \
    GEMV_QUANT(NAME, name, blocks, 4, 3)   \
    GEMV_QUANT(NAME, name, blocks, 4, 4)
QUANT_LIST(GEMV_QUANT_ALL)

V_INLINE vf load_f32(const uint8_t *p) {
    return vf_load((const float *)(const void *)p);
}
#define GEMV_PLAIN_ALL(name, element, load) \
    GEMV_PLAIN(name, element, load, 1, 1)   \
    GEMV_PLAIN(name, element, load, 1, 2)   \
    GEMV_PLAIN(name, element, load, 1, 3)   \
    GEMV_PLAIN(name, element, load, 1, 4)   \
    GEMV_PLAIN(name, element, load, 4, 1)   \
    GEMV_PLAIN(name, element, load, 4, 2)   \
    GEMV_PLAIN(name, element, load, 4, 3)   \
    GEMV_PLAIN(name, element, load, 4, 4)
GEMV_PLAIN_ALL(f32, 4, load_f32)
GEMV_PLAIN_ALL(f16, 2, vf_load_f16)
GEMV_PLAIN_ALL(bf16, 2, vf_load_bf16)

/* ---- opening panels ------------------------------------------------------------------------ */

#define OPEN_QUANT(NAME, name, blocks)                                                                     \
    static void open_##name(const uint8_t *panel, int64_t records, uint8_t *q, float *scale, float *min) { \
        for (int64_t i = 0; i < records; i++, panel += name##_record_bytes) {                              \
            for (int b = 0; b < blocks; b++) {                                                             \
                block_weights w;                                                                           \
                load_##name(panel, b, &w);                                                                 \
                for (int g = 0; g < 8; g++, q += GROUP_BYTES) vi_store(q, w.q[g]);                         \
                for (int h = 0; h < NAME##_HALVES; h++, scale += PANEL_ROWS) vf_store(scale, w.scale[h]);  \
                if (NAME##_HAS_MIN) vf_store(min, w.min);                                                  \
                if (NAME##_HAS_MIN) min += PANEL_ROWS;                                                     \
            }                                                                                              \
        }                                                                                                  \
    }
QUANT_LIST(OPEN_QUANT)

#define OPEN_PLAIN(name, element, load)                                                                    \
    static void open_##name(const uint8_t *panel, int64_t columns, uint8_t *q, float *scale, float *min) { \
        (void)scale;                                                                                       \
        (void)min;                                                                                         \
        for (int64_t k = 0; k < columns; k++, panel += (element)*PANEL_ROWS, q += 4 * PANEL_ROWS)          \
            vf_store((float *)(void *)q, load(panel));                                                     \
    }
OPEN_PLAIN(f32, 4, load_f32)
OPEN_PLAIN(f16, 2, vf_load_f16)
OPEN_PLAIN(bf16, 2, vf_load_bf16)

#define ROW_OF(name, P) \
    { gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4 }
#define BOTH(name) \
    { ROW_OF(name, 1), ROW_OF(name, 4) }

static const matmul_kernels kernels[] = {{NLM_F32, 0, 0, 1, 0, BOTH(f32), {{0}}, open_f32},
                                         {NLM_F16, 0, 0, 1, 0, BOTH(f16), {{0}}, open_f16},
                                         {NLM_BF16, 0, 0, 1, 0, BOTH(bf16), {{0}}, open_bf16},
#define QUANT_ROW(NAME, name, blocks) \
    {NLM_##NAME, 1, NAME##_OFFSET, NAME##_HALVES, NAME##_HAS_MIN, {{0}}, BOTH(name), open_##name},
                                         QUANT_LIST(QUANT_ROW)
#undef QUANT_ROW
};

const matmul_kernels *nlm_vector_matmul_kernels_find(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (kernels[i].dtype == dtype) return &kernels[i];
    }
    return NULL;
}
