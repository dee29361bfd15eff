/* Rows of weights that add up to one, in vectors. */
#include <math.h>

#include "cpu/vector/vector.h"

static float greatest_of(const float *x, float factor, int64_t n) {
    float greatest = -INFINITY;
    for (int64_t c = 0; c < n; c++) greatest = fmaxf(greatest, factor * x[c]);
    return greatest;
}

static void softmax_row(const float *x, float factor, int64_t n, float *y) {
    const float greatest = greatest_of(x, factor, n);
    if (greatest == -INFINITY) {
        memset(y, 0, (size_t)n * sizeof(float));
        return;
    }
    vf total = vf_zero();
    for (int64_t c = 0; c < n; c += V_LANES) {
        const int lanes = (int)(n - c < V_LANES ? n - c : V_LANES);
        const vf score = vf_sub(vf_mul(vf_load_n(x + c, lanes), vf_set1(factor)), vf_set1(greatest));
        float p[V_LANES] = {0};
        vf_store_n(p, vf_exp(score), lanes);
        total = vf_add(total, vf_load(p));
        vf_store_n(y + c, vf_load(p), lanes);
    }
    const vf inverse = vf_set1(1.0f / vf_sum(total));
    for (int64_t c = 0; c < n; c += V_LANES) {
        const int lanes = (int)(n - c < V_LANES ? n - c : V_LANES);
        vf_store_n(y + c, vf_mul(vf_load_n(y + c, lanes), inverse), lanes);
    }
}

/* Slices rows. */
nlm_status nlm_vector_softmax(const nlm_exec_v1 *x, const nlm_softmax_args *args) {
    const nlm_kit_range rows = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    for (int64_t r = rows.from; r < rows.to; r++)
        softmax_row(nlm_kit_at(args->x, r), args->factor, args->x->shape[1], nlm_kit_at(args->y, r));
    return NLM_OK;
}
