/* The gradient of a product by what was multiplied, the reference. */
#include <string.h>

#include "cpu/decode.h"
#include "multiples.h"
#include "scalar.h"

/* Rows of w that are decoded together and then meet every row of dy. */
#define TILE 4

void nlm_scalar_matmul_dx_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)dims, (void)nth;
    out->scratch_bytes = TILE * NLM_SCALAR_STRIP * sizeof(float);
}

/* Columns [from, from + count) of row n of w, in f32: where they are, or decoded into scratch. */
static const float *load_strip(const nlm_tensor *w, int64_t n, int64_t from, int64_t count, float *scratch) {
    const nlm_dtype_info *type = nlm_dtype_find(w->dtype);
    const char *strip = (const char *)nlm_kit_at(w, n) + from / type->block_elements * type->block_bytes;
    if (w->dtype == NLM_F32) return (const float *)(const void *)strip;
    nlm_cpu_decode(w->dtype, strip, scratch, count);
    return scratch;
}

/* dx = residual, or 0, in a strip of columns. */
static void begin(const nlm_matmul_dx_args *args, int64_t m, int64_t from, int64_t count) {
    float *dx = (float *)nlm_kit_at(args->dx, m) + from;
    const size_t bytes = (size_t)count * sizeof *dx;
    if (!args->residual) {
        memset(dx, 0, bytes);
    } else if (args->residual->data != args->dx->data) {
        memcpy(dx, (const float *)nlm_kit_at(args->residual, m) + from, bytes);
    }
}

static void add_strip(const nlm_exec_v1 *x, const nlm_matmul_dx_args *args, int64_t from, int64_t count) {
    const int64_t m_rows = nlm_live_rows(x, args->dy), n_rows = args->w->shape[0];
    for (int64_t m = 0; m < m_rows; m++) begin(args, m, from, count);
    for (int64_t n = 0; n < n_rows; n += TILE) {
        const int64_t together = n_rows - n < TILE ? n_rows - n : TILE;
        const float *w[TILE];
        for (int64_t i = 0; i < together; i++) {
            w[i] = load_strip(args->w, n + i, from, count, (float *)x->scratch + i * NLM_SCALAR_STRIP);
        }
        for (int64_t m = 0; m < m_rows; m++) {
            const float *dy = (const float *)nlm_kit_at(args->dy, m) + n;
            float *dx = (float *)nlm_kit_at(args->dx, m) + from;
            if (together == TILE) {
                nlm_scalar_add_multiple4(dx, dy, w, count);
            } else {
                for (int64_t i = 0; i < together; i++) nlm_scalar_add_multiple(dx, dy[i], w[i], count);
            }
        }
    }
}

/* dx[m,k] = residual[m,k] + sum_n dy[m,n] w[n,k], in the order of n; slices columns. */
nlm_status nlm_scalar_matmul_dx(const nlm_exec_v1 *x, const nlm_matmul_dx_args *args) {
    const int64_t block = nlm_dtype_find(args->w->dtype)->block_elements;
    const nlm_kit_range columns = nlm_kit_slice(x, args->w->shape[1], block > 16 ? block : 16);
    for (int64_t k = columns.from; k < columns.to; k += NLM_SCALAR_STRIP) {
        const int64_t left = columns.to - k;
        add_strip(x, args, k, left < NLM_SCALAR_STRIP ? left : NLM_SCALAR_STRIP);
    }
    return NLM_OK;
}
