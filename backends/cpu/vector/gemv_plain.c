/* Few tokens over plain weights: bound by the bytes of the weights. Panels are read as parallel streams. */
#include "cpu/vector/kernels.h"
#include "cpu/vector/stream.h"

/* What differs between the types; a constant wherever it is used. */
typedef struct plain_format {
    vf (*load)(const uint8_t *weights);
    int bytes; /* of a weight */
} plain_format;

V_INLINE vf load_f32(const uint8_t *weights) {
    return vf_load((const float *)(const void *)weights);
}
V_INLINE vf load_f16(const uint8_t *weights) {
    return vf_load_f16(weights);
}
V_INLINE vf load_bf16(const uint8_t *weights) {
    return vf_load_bf16(weights);
}

/* X(NAME, name, bytes) */
#define PLAIN_LIST(X) \
    X(F32, f32, 4)    \
    X(F16, f16, 2)    \
    X(BF16, bf16, 2)

#define FORMAT(NAME, name, bytes) static const plain_format format_##name = {load_##name, bytes};
PLAIN_LIST(FORMAT)

V_INLINE void streams(const plain_format *f, int n_panels, int n_tokens, const uint8_t *const *panels,
                      int64_t columns, const float *const *x, float *tile) {
    vf acc[GEMV_PANELS][GEMV_PLAIN_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        _Pragma("GCC unroll 8") for (int m = 0; m < n_tokens; m++) acc[p][m] = vf_zero();
    }
    const int is_far = stream_is_far();
    for (int64_t k = 0; k < columns; k++) {
        const int64_t at = k * f->bytes * PANEL_ROWS;
        _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
            stream_bring(panels[p] + at, is_far);
            const vf w = f->load(panels[p] + at);
            _Pragma("GCC unroll 8") for (int m = 0; m < n_tokens; m++) acc[p][m] =
                vf_fma(w, vf_set1(x[m][k]), acc[p][m]);
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < n_panels; p++) {
        _Pragma("GCC unroll 8") for (int m = 0; m < n_tokens; m++)
            vf_store(tile + (p * n_tokens + m) * PANEL_ROWS, acc[p][m]);
    }
}

/* As many panels at a time as their sums have registers. */
V_INLINE void gemv(const plain_format *f, int n_panels, int n_tokens, const uint8_t *const *panels, int64_t columns,
                   const float *const *x, float *tile) {
    const int fit = V_PLAIN_SUMS / n_tokens, room = fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
    const int step = room < n_panels ? room : n_panels;
    for (int p = 0; p < n_panels; p += step)
        streams(f, step, n_tokens, panels + p, columns, x, tile + p * n_tokens * PANEL_ROWS);
}

#define GEMV(name, P, M)                                                                                      \
    static void gemv_##name##_##P##x##M(const uint8_t *const *panels, int64_t columns, const float *const *x, \
                                        float *tile) {                                                        \
        gemv(&format_##name, P, M, panels, columns, x, tile);                                                 \
    }                                                                                                         \
    _Static_assert((P) <= GEMV_PANELS && (M) <= GEMV_PLAIN_TOKENS, "sums of one call")
#define GEMV_TOKENS_1_8(name, P) \
    GEMV(name, P, 1);            \
    GEMV(name, P, 2);            \
    GEMV(name, P, 3);            \
    GEMV(name, P, 4);            \
    GEMV(name, P, 5);            \
    GEMV(name, P, 6);            \
    GEMV(name, P, 7);            \
    GEMV(name, P, 8)
#define GEMV_ALL(NAME, name, bytes) \
    GEMV_TOKENS_1_8(name, 1);       \
    GEMV_TOKENS_1_8(name, 4);
PLAIN_LIST(GEMV_ALL)

#define OPEN_PLAIN(NAME, name, bytes)                                                         \
    static void open_##name(const uint8_t *panel, int64_t columns, float *out) {              \
        for (int64_t k = 0; k < columns; k++, panel += (bytes)*PANEL_ROWS, out += PANEL_ROWS) \
            vf_store(out, load_##name(panel));                                                \
    }
PLAIN_LIST(OPEN_PLAIN)

#define ROW_OF(name, P)                                                                                 \
    {                                                                                                   \
        gemv_##name##_##P##x1, gemv_##name##_##P##x2, gemv_##name##_##P##x3, gemv_##name##_##P##x4,     \
            gemv_##name##_##P##x5, gemv_##name##_##P##x6, gemv_##name##_##P##x7, gemv_##name##_##P##x8, \
    }
#define KERNELS(NAME, name, bytes) \
    {.dtype = NLM_##NAME, .halves = 1, .open_plain = open_##name, .gemv_f32 = {ROW_OF(name, 1), ROW_OF(name, 4)}},

const nlm_matmul_kernels nlm_vector_plain_kernels[NLM_VECTOR_PLAIN_TYPES] = {PLAIN_LIST(KERNELS)};
