/* Rows divided by the root of their mean square, with a residual added before. */
#include <math.h>

#include "cpu/vector/vector.h"

/* sum of squares in V_LANES partial sums, column c in lane c % V_LANES */
static float mean_square(const float *s, int64_t columns) {
    vf sum = vf_zero();
    int64_t c = 0;
    for (; c + V_LANES <= columns; c += V_LANES) {
        const vf value = vf_load(s + c);
        sum = vf_fma(value, value, sum);
    }
    if (c < columns) {
        const vf value = vf_load_n(s + c, (int)(columns - c));
        sum = vf_fma(value, value, sum);
    }
    return vf_sum(sum) / (float)columns;
}

void nlm_vector_norm_row(const float *s, const float *w, float eps, int64_t columns, float *y) {
    const vf factor = vf_set1(1.0f / sqrtf(mean_square(s, columns) + eps));
    for (int64_t c = 0; c < columns; c += V_LANES) {
        const int n = (int)(columns - c < V_LANES ? columns - c : V_LANES);
        vf value = vf_mul(vf_load_n(s + c, n), factor);
        if (w) value = vf_mul(value, vf_load_n(w + c, n));
        vf_store_n(y + c, value, n);
    }
}

static void add_row(const float *a, const float *b, int64_t columns, float *sum) {
    for (int64_t c = 0; c < columns; c += V_LANES) {
        const int n = (int)(columns - c < V_LANES ? columns - c : V_LANES);
        vf_store_n(sum + c, vf_add(vf_load_n(a + c, n), vf_load_n(b + c, n)), n);
    }
}

/* Slices rows, and the heads of a row if there are any. With a residual the sum goes to `sum`, or to y when nobody
 * wants it, before it is normalised in place. */
nlm_status nlm_vector_rms_norm(const nlm_exec_v1 *x, const nlm_rms_norm_args *args) {
    const int64_t columns = args->x->shape[args->x->rank - 1];
    const int64_t heads = args->x->rank == 3 ? args->x->shape[1] : 1;
    const float *w = args->w ? args->w->data : NULL;
    const nlm_kit_range parts = nlm_kit_slice(x, nlm_live_rows(x, args->x) * heads, 1);
    for (int64_t i = parts.from; i < parts.to; i++) {
        const int64_t r = i / heads, h = i % heads;
        const float *s = nlm_kit_at2(args->x, r, h);
        float *y = nlm_kit_at2(args->y, r, h), *sum = args->sum ? nlm_kit_at2(args->sum, r, h) : y;
        if (args->residual) {
            add_row(s, nlm_kit_at2(args->residual, r, h), columns, sum);
            s = sum;
        } else if (args->sum && sum != s) {
            memcpy(sum, s, (size_t)columns * sizeof(float));
        }
        nlm_vector_norm_row(s, w, args->eps, columns, y);
    }
    return NLM_OK;
}
