/* The product with a weight, packed or not, and what every op around a packed one shares: needs, jobs and stores. */
#include "cpu/vector/product.h"
#include "cpu/vector/vector.h"

void nlm_vector_matmul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const nlm_vector_device *device = self;
    (void)nth;
    if (out->flags & NLM_CAPS_AS_HELD) {
        const nlm_product_size size = {nlm_dim(dims, 'M'), nlm_dim(dims, 'N'), nlm_dim(dims, 'K'),
                                       nlm_vector_product_shares_b(nlm_dim(dims, 'M'), nlm_dim(dims, 'N'))};
        out->workspace_bytes = nlm_vector_product_workspace(&size);
        out->scratch_bytes = nlm_vector_product_scratch(&size);
        return;
    }
    out->workspace_bytes = nlm_vector_matmul_workspace_bytes(device->gemm, nlm_dim(dims, 'M'), nlm_dim(dims, 'K'));
    out->scratch_bytes = nlm_vector_matmul_scratch_bytes(device->gemm, nlm_dim(dims, 'M'), nlm_dim(dims, 'K'));
}

nlm_matmul_job nlm_vector_job(const nlm_exec_v1 *x, const nlm_tensor *rows) {
    return (nlm_matmul_job){.exec = x,
                            .gemm = ((const nlm_vector_device *)x->device)->gemm,
                            .x = rows->data,
                            .x_stride = rows->stride_bytes[0] / (int64_t)sizeof(float),
                            .tokens = nlm_live_rows(x, rows),
                            .columns = rows->shape[1],
                            .n_weights = 1};
}

void nlm_vector_store_rows(const nlm_matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels, int64_t token,
                           int32_t n_tokens, int32_t tile_tokens, const float *tile) {
    const nlm_vector_rows *out = job->sink_args;
    const int32_t turns = job->is_interleaved ? 2 : 1;
    for (int32_t m = 0; m < n_tokens; m++) {
        for (int32_t p = 0; p < n_panels; p++) {
            const int32_t w = job->is_interleaved ? p % 2 : weight;
            const int64_t first = (panel + p / turns) * PANEL_ROWS, left = out->columns[w] - first;
            const int n = (int)(left < PANEL_ROWS ? left : PANEL_ROWS);
            const float *bias = out->bias[w];
            vf value = vf_load(tile + (p * tile_tokens + m) * PANEL_ROWS);
            if (bias) value = vf_add(value, vf_load_n(bias + first, n));
            vf_store_n(out->rows[w] + (token + m) * out->stride[w] + first, value, n);
        }
    }
}

static void store_tile(const nlm_matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels, int64_t token,
                       int32_t n_tokens, int32_t tile_tokens, const float *tile) {
    (void)weight;
    const nlm_matmul_args *args = job->sink_args;
    const float *bias = nlm_vector_data(args->bias);
    for (int32_t m = 0; m < n_tokens; m++) {
        const float *residual = args->residual ? nlm_kit_at(args->residual, token + m) : NULL;
        const int64_t ahead = token + m + VECTOR_AHEAD < job->tokens ? token + m + VECTOR_AHEAD : token + m;
        float *y = nlm_kit_at(args->y, token + m);
        for (int32_t p = 0; p < n_panels; p++) {
            const int64_t first = (panel + p) * PANEL_ROWS, left = args->w->shape[0] - first;
            const int n = (int)(left < PANEL_ROWS ? left : PANEL_ROWS);
            vf value = vf_load(tile + (p * tile_tokens + m) * PANEL_ROWS);
            if (bias) value = vf_add(value, vf_load_n(bias + first, n));
            if (residual) {
                value = vf_add(value, vf_load_n(residual + first, n));
                nlm_vector_expect((const float *)nlm_kit_at(args->residual, ahead) + first);
            }
            vf_store_n(y + first, value, n);
        }
    }
}

/* w is packed on the way, with the same sums as if it had been; slices the wider side. */
static nlm_status multiply_row_major(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    nlm_product p = {.exec = x,
                     .size = {nlm_live_rows(x, args->x), args->w->shape[0], args->w->shape[1],
                              nlm_vector_product_shares_b(args->x->shape[0], args->w->shape[0])},
                     .a = {*args->x, 0},
                     .b = {*args->w, 0},
                     .workspace = x->workspace};
    nlm_vector_product_into(&p, args->y, args->bias, args->residual);
    return nlm_vector_product(&p);
}

nlm_status nlm_vector_matmul(const nlm_exec_v1 *x, const nlm_matmul_args *args) {
    if (args->w->layout == NLM_LAYOUT_ROW_MAJOR) return multiply_row_major(x, args);
    nlm_matmul_job job = nlm_vector_job(x, args->x);
    job.weights[0] = nlm_vector_matmul_weight_of(args->w);
    job.sink = store_tile;
    job.sink_args = args;
    job.may_claim = 1;
    return nlm_vector_matmul_run(&job);
}
