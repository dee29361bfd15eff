/* y[m,n] = sum_k x[m,k] w[n,k] (+ bias[n]) (+ residual[m,n]), see nlm/op_args.h. */
#include "skeleton.h"

/* One row of w, decoded. */
void skeleton_matmul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = (uint64_t)nlm_dim(dims, 'K') * sizeof(float);
}

/* Eight partial sums, always in the same order: the same bits for every number of threads. */
static float dot(const float *a, const float *b, int64_t n) {
    float sums[8] = {0};
    int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
        for (int i = 0; i < 8; i++) sums[i] += a[k + i] * b[k + i];
    }
    for (int i = 0; k < n; k++, i++) sums[i] += a[k] * b[k];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/* Every worker takes a slice of the rows of w, decodes each once, and multiplies it with every row of x. */
nlm_status skeleton_matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    const nlm_tensor *w = args->w;
    const float *bias = args->bias ? args->bias->data : NULL;
    const int64_t rows = nlm_live_rows(x, args->x);
    const nlm_kit_range slice = nlm_kit_slice(x, w->shape[0], 1);
    for (int64_t n = slice.from; n < slice.to; n++) {
        const float *w_row = nlm_kit_row_f32(w, n, x->scratch);
        for (int64_t m = 0; m < rows; m++) {
            float sum = dot(nlm_kit_at(args->x, m), w_row, w->shape[1]);
            if (bias) sum += bias[n];
            if (args->residual) sum += ((const float *)nlm_kit_at(args->residual, m))[n];
            ((float *)nlm_kit_at(args->y, m))[n] = sum;
        }
    }
    return NLM_OK;
}
