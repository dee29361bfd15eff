/* The gradients of a norm by its input and weight, the reference. */
#include <math.h>

#include "scalar.h"

/* 1 / sqrt(mean(x^2) + eps) of every row, and of every head of a row. */
void nlm_scalar_rms_norm_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const int64_t heads = nlm_dim(dims, 'H') < 0 ? 1 : nlm_dim(dims, 'H');
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'R') * heads);
}

static float inverse_of(const float *x, int64_t n, float eps) {
    double squares = 0;
    for (int64_t c = 0; c < n; c++) squares += (double)x[c] * (double)x[c];
    return (float)(1 / sqrt(squares / (double)n + (double)eps));
}

/* dw[c] = sum over rows and heads of inverse x[c] dy[c], in their order, for columns [from, to). */
static void sum_columns(const nlm_rms_norm_bwd_args *args, const float *inverse, int64_t rows, int64_t heads,
                        nlm_kit_range columns) {
    float *dw = args->dw->data;
    for (int64_t c = columns.from; c < columns.to && !(args->flags & NLM_GRADIENT_ADD); c++) dw[c] = 0;
    for (int64_t i = 0; i < rows * heads; i++) {
        const float *x = nlm_kit_at2(args->x, i / heads, i % heads),
                    *dy = nlm_kit_at2(args->dy, i / heads, i % heads);
        const float factor = inverse[i];
        for (int64_t c = columns.from; c < columns.to; c++) dw[c] += factor * x[c] * dy[c];
    }
}

/* dx = inverse w dy - x inverse^3 mean(x w dy) (+ residual); dx may be dy or residual. */
static void norm_row(const float *x, const float *w, const float *dy, const float *residual, float inverse, int64_t n,
                     float *dx) {
    double along = 0;
    for (int64_t c = 0; c < n; c++) along += (double)(x[c] * (w ? w[c] : 1)) * (double)dy[c];
    const float pull = (float)(along / (double)n * pow((double)inverse, 3));
    for (int64_t c = 0; c < n; c++) {
        const float slope = inverse * (w ? w[c] : 1) * dy[c] - x[c] * pull;
        dx[c] = residual ? slope + residual[c] : slope;
    }
}

/* Slices rows and heads; between, columns, while dy is still what it was. */
nlm_status nlm_scalar_rms_norm_bwd(const nlm_exec_v1 *x, const nlm_rms_norm_bwd_args *args) {
    const nlm_tensor *residual = args->residual;
    const float *w = args->w ? args->w->data : NULL;
    float *inverse = x->workspace;
    const int64_t heads = args->x->rank == 3 ? args->x->shape[1] : 1, rows = nlm_live_rows(x, args->x);
    const int64_t n = args->x->shape[args->x->rank - 1];
    const nlm_kit_range parts = nlm_kit_slice(x, rows * heads, 1);
    for (int64_t i = parts.from; i < parts.to; i++)
        inverse[i] = inverse_of(nlm_kit_at2(args->x, i / heads, i % heads), n, args->eps);
    if (args->dw) {
        NLM_KIT_TRY(x->barrier(x));
        sum_columns(args, inverse, rows, heads, nlm_kit_slice(x, n, 16));
        NLM_KIT_TRY(x->barrier(x));
    }
    for (int64_t i = parts.from; i < parts.to; i++) {
        const int64_t r = i / heads, h = i % heads;
        norm_row(nlm_kit_at2(args->x, r, h), w, nlm_kit_at2(args->dy, r, h),
                 residual ? nlm_kit_at2(residual, r, h) : NULL, inverse[i], n, nlm_kit_at2(args->dx, r, h));
    }
    return NLM_OK;
}
