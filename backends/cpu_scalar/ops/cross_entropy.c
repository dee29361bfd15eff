/* The head, the loss and their gradients, put together from products of some rows at a time, the reference. */
#include <math.h>

#include "scalar.h"

/* Rows whose logits are in memory at once. */
#define CHUNK 64

void nlm_scalar_cross_entropy_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const int64_t rows = nlm_dim(dims, 'R') < CHUNK ? nlm_dim(dims, 'R') : CHUNK;
    nlm_caps_v1 of_matmul = {0}, of_dx = {0};
    nlm_scalar_matmul_needs(self, dims, nth, &of_matmul);
    nlm_scalar_matmul_dx_needs(self, dims, nth, &of_dx);
    out->scratch_bytes =
        of_matmul.scratch_bytes > of_dx.scratch_bytes ? of_matmul.scratch_bytes : of_dx.scratch_bytes;
    out->workspace_bytes = sizeof(float) * (uint64_t)(rows * nlm_dim(dims, 'N'));
}

/* Every worker looks at every label: all fail alike, before anything is written. */
static nlm_status check_labels(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const int32_t *labels = nlm_cpu_i32(args->labels);
    const int64_t classes = args->w->shape[0], rows = nlm_live_rows(x, args->x);
    for (int64_t r = 0; r < rows; r++) {
        if (labels[r] < classes) continue;
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "cross_entropy",
                            "labels[%lld] is %d, expected below %lld", (long long)r, labels[r], (long long)classes);
    }
    return NLM_OK;
}

/* The loss of a row of logits u, which then becomes the gradient by them. */
static float loss_of(const nlm_cross_entropy_args *args, int32_t label, float *u) {
    const int64_t classes = args->w->shape[0];
    const double smoothing = (double)args->smoothing, z = (double)args->z_loss;
    float greatest = -INFINITY;
    double total = 0, mean = 0;
    if (label < 0) {
        for (int64_t n = 0; n < classes; n++) u[n] = 0;
        return 0;
    }
    for (int64_t n = 0; n < classes; n++) greatest = fmaxf(greatest, u[n]);
    for (int64_t n = 0; n < classes; n++) {
        total += (double)expf(u[n] - greatest);
        mean += (double)u[n] / (double)classes;
    }
    const double e = (double)greatest + log(total);
    const double loss = e - (1 - smoothing) * (double)u[label] - smoothing * mean + z * e * e;
    const float slope = (float)((1 + 2 * z * e) / total), even = (float)(smoothing / (double)classes);
    for (int64_t n = 0; n < classes; n++) u[n] = slope * expf(u[n] - greatest) - even;
    u[label] -= 1 - args->smoothing;
    return (float)loss;
}

/* Rows [from, from + count) of a matrix. */
static nlm_tensor rows_of(const nlm_tensor *t, int64_t from, int64_t count) {
    nlm_tensor view = *t;
    view.data = nlm_kit_at(t, from);
    view.shape[0] = count;
    view.row_kind = NLM_ROWS_FIXED;
    return view;
}

/* Of rows [from, from + count), the logits of which go through the workspace: loss, dw and db, and at last dx, which
 * may be x. */
static nlm_status add_chunk(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args, int64_t from, int64_t count) {
    const nlm_tensor in = rows_of(args->x, from, count), u = nlm_cpu_matrix(&in, x->workspace, args->w->shape[0]);
    const nlm_matmul_args product = {sizeof product, 0, &in, args->w, args->bias, NULL, &u};
    NLM_KIT_TRY(nlm_scalar_matmul(x, &product));
    NLM_KIT_TRY(x->barrier(x));
    const nlm_kit_range rows = nlm_kit_slice(x, count, 1);
    for (int64_t i = rows.from; i < rows.to; i++) {
        float *loss = nlm_kit_at(args->loss, from + i);
        *loss = loss_of(args, nlm_cpu_i32(args->labels)[from + i], nlm_kit_at(&u, i));
    }
    NLM_KIT_TRY(x->barrier(x));
    const uint32_t flags = from > 0 ? NLM_GRADIENT_ADD : args->flags;
    const nlm_matmul_dw_args by_w = {sizeof by_w, flags, &u, &in, args->dw, NULL};
    const nlm_sum_rows_args by_bias = {sizeof by_bias, flags, &u, NULL, args->db};
    if (args->dw) NLM_KIT_TRY(nlm_scalar_matmul_dw(x, &by_w));
    if (args->db) NLM_KIT_TRY(nlm_scalar_sum_rows(x, &by_bias));
    NLM_KIT_TRY(x->barrier(x));
    if (!args->dx) return NLM_OK;
    const nlm_tensor dx = rows_of(args->dx, from, count);
    const nlm_matmul_dx_args by_x = {sizeof by_x, 0, &u, args->w, NULL, &dx};
    NLM_KIT_TRY(nlm_scalar_matmul_dx(x, &by_x));
    return x->barrier(x);
}

/* Slices the columns or the rows of each product; without rows, dw and db are still replaced. */
nlm_status nlm_scalar_cross_entropy(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const int64_t rows = nlm_live_rows(x, args->x);
    int64_t from = 0;
    NLM_KIT_TRY(check_labels(x, args));
    do {
        NLM_KIT_TRY(add_chunk(x, args, from, rows - from < CHUNK ? rows - from : CHUNK));
        from += CHUNK;
    } while (from < rows);
    return NLM_OK;
}
