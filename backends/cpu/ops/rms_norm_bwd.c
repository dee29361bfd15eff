/* The gradients of a norm by its input and its weight, in one pass over the rows. */
#include <math.h>

#include "cpu/vector/vector.h"

/* Rows, or heads of rows, whose share of dw one worker adds up: the blocks are the same for any number of workers. */
#define BLOCK_ROWS 8

static int64_t blocks_of(int64_t rows) {
    return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

void nlm_vector_rms_norm_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const int64_t heads = nlm_dim(dims, 'H') < 0 ? 1 : nlm_dim(dims, 'H');
    out->workspace_bytes = sizeof(float) * (uint64_t)(blocks_of(nlm_dim(dims, 'R') * heads) * nlm_dim(dims, 'N'));
}

static int lanes_at(int64_t c, int64_t n) {
    return (int)(n - c < V_LANES ? n - c : V_LANES);
}

/* The sums of x^2 and of x w dy of a row. */
static void sums_of(const float *x, const float *w, const float *dy, int64_t n, float *squares, float *along) {
    vf square = vf_zero(), product = vf_zero();
    for (int64_t c = 0; c < n; c += V_LANES) {
        const int lanes = lanes_at(c, n);
        const vf value = vf_load_n(x + c, lanes), slope = vf_load_n(dy + c, lanes);
        square = vf_fma(value, value, square);
        product = vf_fma(w ? vf_mul(value, vf_load_n(w + c, lanes)) : value, slope, product);
    }
    *squares = vf_sum(square);
    *along = vf_sum(product);
}

/* A row of x, dy and dx, which may be dy or residual. `sums` receives the row's share of dw, or is NULL. */
static void norm_row(const nlm_rms_norm_bwd_args *args, int64_t row, int64_t head, float *sums) {
    const int64_t n = args->x->shape[args->x->rank - 1];
    const float *x = nlm_kit_at2(args->x, row, head), *dy = nlm_kit_at2(args->dy, row, head);
    const float *w = nlm_vector_data(args->w);
    const float *residual = args->residual ? nlm_kit_at2(args->residual, row, head) : NULL;
    float *dx = nlm_kit_at2(args->dx, row, head), squares, along;
    sums_of(x, w, dy, n, &squares, &along);
    const float inverse = 1.0f / sqrtf(squares / (float)n + args->eps);
    const vf factor = vf_set1(inverse), pull = vf_set1(-(along / (float)n * inverse * inverse * inverse));
    for (int64_t c = 0; c < n; c += V_LANES) {
        const int lanes = lanes_at(c, n);
        const vf value = vf_load_n(x + c, lanes), slope = vf_mul(factor, vf_load_n(dy + c, lanes));
        if (sums) vf_store_n(sums + c, vf_fma(value, slope, vf_load_n(sums + c, lanes)), lanes);
        vf out = vf_fma(value, pull, w ? vf_mul(slope, vf_load_n(w + c, lanes)) : slope);
        if (residual) out = vf_add(out, vf_load_n(residual + c, lanes));
        vf_store_n(dx + c, out, lanes);
    }
}

/* dw = the sums of all blocks; slices columns. */
static void add_blocks(const nlm_exec_v1 *x, const nlm_rms_norm_bwd_args *args, int64_t blocks) {
    const int64_t n = args->dw->shape[0];
    const nlm_kit_range columns = nlm_kit_slice(x, n, 16);
    const int adds = (args->flags & NLM_GRADIENT_ADD) != 0;
    float *dw = args->dw->data;
    for (int64_t c = columns.from; c < columns.to; c += V_LANES) {
        const int lanes = lanes_at(c, columns.to);
        vf sum = adds ? vf_load_n(dw + c, lanes) : vf_zero();
        for (int64_t b = 0; b < blocks; b++)
            sum = vf_add(sum, vf_load_n((const float *)x->workspace + b * n + c, lanes));
        vf_store_n(dw + c, sum, lanes);
    }
}

/* Slices blocks of rows and heads; with dw, then columns. */
nlm_status nlm_vector_rms_norm_bwd(const nlm_exec_v1 *x, const nlm_rms_norm_bwd_args *args) {
    const int64_t heads = args->x->rank == 3 ? args->x->shape[1] : 1, n = args->x->shape[args->x->rank - 1];
    const int64_t parts = nlm_live_rows(x, args->x) * heads;
    const nlm_kit_range blocks = nlm_kit_slice(x, blocks_of(parts), 1);
    for (int64_t b = blocks.from; b < blocks.to; b++) {
        float *sums = args->dw ? (float *)x->workspace + b * n : NULL;
        const int64_t first = b * BLOCK_ROWS, end = parts - first < BLOCK_ROWS ? parts : first + BLOCK_ROWS;
        if (sums) memset(sums, 0, (size_t)n * sizeof *sums);
        for (int64_t i = first; i < end; i++) norm_row(args, i / heads, i % heads, sums);
    }
    if (!args->dw) return NLM_OK;
    NLM_KIT_TRY(x->barrier(x));
    add_blocks(x, args, blocks_of(parts));
    return NLM_OK;
}
