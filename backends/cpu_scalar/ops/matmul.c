/* The product with a weight of any type, a few decoded rows at a time, the reference. */
#include "cpu/decode.h"
#include "dot.h"
#include "scalar.h"

/* Rows of w that are decoded together and then meet every row of x. */
#define TILE 4

void nlm_scalar_matmul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = nlm_scalar_matmul_scratch(nlm_dim(dims, 'K'));
}

uint64_t nlm_scalar_matmul_scratch(int64_t columns) {
    return TILE * sizeof(float) * (uint64_t)columns;
}

/* The f32 rows n .. n+count of w: where they are, or decoded into scratch. Past count the last repeats. */
static void load_rows(const nlm_tensor *w, int64_t n, int64_t count, float *scratch, const float *rows[TILE]) {
    const int64_t length = w->shape[1];
    for (int64_t i = 0; i < TILE; i++) {
        const int64_t row = i < count ? i : count - 1;
        if (w->dtype == NLM_F32) {
            rows[i] = nlm_kit_at(w, n + row);
            continue;
        }
        if (row == i) nlm_cpu_decode(w->dtype, nlm_kit_at(w, n + row), scratch + row * length, length);
        rows[i] = scratch + row * length;
    }
}

/* y[m,n] = sum_k x[m,k] w[n,k] (+ bias[n]) (+ residual[m,n]); slices the rows of w, each decoded once. */
nlm_status nlm_scalar_matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    const nlm_tensor *w = args->w;
    const float *bias = args->bias ? args->bias->data : NULL;
    const int64_t m_rows = nlm_live_rows(x, args->x);
    const nlm_kit_range columns = nlm_kit_slice(x, w->shape[0], TILE);
    for (int64_t n = columns.from; n < columns.to; n += TILE) {
        const int64_t count = columns.to - n < TILE ? columns.to - n : TILE;
        const float *rows[TILE];
        load_rows(w, n, count, x->scratch, rows);
        for (int64_t m = 0; m < m_rows; m++) {
            float sums[TILE];
            nlm_scalar_dot4(rows, nlm_kit_at(args->x, m), w->shape[1], sums);
            const float *residual = args->residual ? nlm_kit_at(args->residual, m) : NULL;
            float *y = nlm_kit_at(args->y, m);
            for (int64_t i = 0; i < count; i++) {
                if (bias) sums[i] += bias[n + i];
                if (residual) sums[i] += residual[n + i];
                y[n + i] = sums[i];
            }
        }
    }
    return NLM_OK;
}
