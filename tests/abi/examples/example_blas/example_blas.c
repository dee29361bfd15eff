/* example_blas: a backend whose one op, matmul, runs in OpenBLAS. What else a model needs falls back.
 *
 * Two rules of the host decide which part of BLAS can be used, and both leave sdot:
 *   - The host has the threads: its workers call BLAS at the same time, and BLAS may start none. The flavour
 *     of OpenBLAS without threads is that one, but its sgemm and sgemv share a buffer among callers.
 *   - A row of x must give the same bits alone as in a batch. sgemm does not promise that: which kernel it
 *     takes, and with it the order of a sum, depends on the number of rows.
 * w may be quantised: a row is decoded once, into scratch, and then meets every row of x. */
#include <cblas.h>
#include <limits.h>
#include <nlm/plugin_kit.h>

static void needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = sizeof(float) * (uint64_t)nlm_dim(dims, 'K');
}

static const nlm_kit_op matmul_alone = {.op = NLM_OP_matmul, .needs = needs};
static const nlm_kit_backend has = {.ops = &matmul_alone, .n_ops = 1, .weight_types = NLM_TYPES_DECODED};

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    NLM_KIT_TRY(nlm_kit_query(&has, self, op, args, nth, out));
    const int64_t k = ((const nlm_matmul_args *)args)->w->shape[1];
    if (k > INT_MAX) return nlm_kit_refuse(out, "x: rows of %lld, BLAS counts to %d", (long long)k, INT_MAX);
    return NLM_OK;
}

/* y[m,n] = sum_k x[m,k] w[n,k] (+ bias[n]) (+ residual[m,n]); each worker takes its own rows of w. */
static nlm_status matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    const nlm_tensor *w = args->w;
    const float *bias = args->bias ? args->bias->data : NULL;
    const int64_t rows = nlm_live_rows(x, args->x);
    const nlm_kit_range slice = nlm_kit_slice(x, w->shape[0], 1);
    for (int64_t n = slice.from; n < slice.to; n++) {
        const float *w_row = nlm_kit_row_f32(w, n, x->scratch);
        for (int64_t m = 0; m < rows; m++) {
            float sum = cblas_sdot((int)w->shape[1], nlm_kit_at(args->x, m), 1, w_row, 1);
            if (bias) sum += bias[n];
            if (args->residual) sum += ((const float *)nlm_kit_at(args->residual, m))[n];
            ((float *)nlm_kit_at(args->y, m))[n] = sum;
        }
    }
    return NLM_OK;
}

static const nlm_ops_v1 ops = {.struct_size = sizeof ops, .matmul = matmul};

static const nlm_device_info_v1 info = {
    .struct_size = sizeof info,
    .kind = NLM_DEVICE_SLICED,
    .flags = NLM_DEVICE_HOST_MEMORY,
    .name = "CPU, OpenBLAS",
    .arch = "any",
};

static const nlm_device_v1 device = {
    .struct_size = sizeof device,
    .self = (void *)&info,
    .ops = &ops,
    .describe = nlm_kit_describe,
    .query = query,
};

NLM_KIT_PLUGIN("example_blas", "1", "matmul through OpenBLAS", 0, device)
