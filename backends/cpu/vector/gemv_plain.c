/* Few tokens over plain weights: bound by the bytes of the weights. Panels are read as parallel streams. */
#include "cpu/vector/kernels.h"

#define PREFETCH_BYTES 1024

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

#define OPEN_PLAIN(name, element, load)                                                         \
    static void open_##name(const uint8_t *panel, int64_t columns, float *out) {                \
        for (int64_t k = 0; k < columns; k++, panel += (element)*PANEL_ROWS, out += PANEL_ROWS) \
            vf_store(out, load(panel));                                                         \
    }
OPEN_PLAIN(f32, 4, load_f32)
OPEN_PLAIN(f16, 2, vf_load_f16)
OPEN_PLAIN(bf16, 2, vf_load_bf16)

#define ROW_OF(name, P) \
    { gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4 }
#define KERNELS(NAME, name)                                                        \
    {                                                                              \
        .dtype = NLM_##NAME, .halves = 1, .open_plain = open_##name, .gemv_f32 = { \
            ROW_OF(name, 1),                                                       \
            ROW_OF(name, 4)                                                        \
        }                                                                          \
    }

const matmul_kernels nlm_vector_plain_kernels[NLM_VECTOR_PLAIN_TYPES] = {KERNELS(F32, f32), KERNELS(F16, f16),
                                                                         KERNELS(BF16, bf16)};
