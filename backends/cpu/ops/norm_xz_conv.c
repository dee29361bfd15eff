/* Norm, input projection and convolution of a Mamba layer; a worker convolves channels it projected. */
#include "cpu/vector/vector.h"

void nlm_vector_norm_xz_conv_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const nlm_vector_device *device = self;
    (void)nth;
    const int64_t tokens = nlm_dim(dims, 'T'), columns = nlm_dim(dims, 'K');
    out->workspace_bytes = nlm_vector_matmul_workspace_bytes(device->gemm, tokens, columns);
    out->scratch_bytes = nlm_vector_matmul_scratch_bytes(device->gemm, tokens, columns);
    nlm_vector_norm_rows_needs(tokens, columns, out);
}

/* The worker's channels of x, and of z as many, so that no two workers meet over a channel. */
static void give_channels(nlm_matmul_job *job, const nlm_tensor *w, nlm_kit_range channels) {
    const nlm_matmul_weight both = nlm_vector_matmul_weight_of(w);
    const int64_t half = both.rows / 2, panels = half / PANEL_ROWS;
    job->n_weights = 2;
    job->is_interleaved = 1;
    job->weights[0] = job->weights[1] = both;
    job->weights[0].rows = job->weights[1].rows = half;
    job->weights[1].panels += (uint64_t)panels * panel_bytes(both.format, job->columns);
    job->has_panels = 1;
    job->panel_from = 2 * channels.from / PANEL_ROWS;
    job->panel_to = 2 * channels.to / PANEL_ROWS;
}

/* A few tokens have no barrier between product and convolution, unless a panel holds the last of x and the
 * first of z. Many cross one sooner than their product takes the panels of x and z in turn. */
nlm_status nlm_vector_norm_xz_conv(const nlm_exec_v1 *x, const nlm_norm_xz_conv_args *args) {
    const int64_t n_channels = args->y->shape[1], stride = args->xz->stride_bytes[0] / (int64_t)sizeof(float);
    const int is_apart = n_channels % PANEL_ROWS == 0 && nlm_live_rows(x, args->x) < MATMUL_GEMM_TOKENS;
    const nlm_kit_range channels = nlm_kit_slice(x, n_channels, PANEL_ROWS);
    const nlm_tensor conv_x = nlm_cpu_columns(args->xz, 0, n_channels);
    const nlm_conv1d_causal_args conv = {sizeof conv, args->flags,     &conv_x,    args->conv_w, args->conv_bias,
                                         args->state, args->seq_start, args->slot, args->y,      args->state_out};
    float *xz = args->xz->data;
    const nlm_vector_rows halves = {{xz, xz + n_channels}, {stride, stride}, {NULL}, {n_channels, n_channels}};
    const nlm_vector_rows whole = {{xz}, {stride}, {NULL}, {2 * n_channels}};
    nlm_cpu_batch batch;
    nlm_exec_v1 rest;
    nlm_tensor normed;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "norm_xz_conv", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    NLM_KIT_TRY(nlm_vector_norm_rows(x, args->x, args->norm_w->data, args->eps, &rest, &normed));
    nlm_matmul_job job = nlm_vector_job(&rest, &normed);
    job.weights[0] = nlm_vector_matmul_weight_of(args->w);
    job.sink = nlm_vector_store_rows;
    job.sink_args = is_apart ? &halves : &whole;
    job.may_claim = 1;
    if (is_apart) give_channels(&job, args->w, channels);
    NLM_KIT_TRY(nlm_vector_matmul_run(&job));
    if (!is_apart) NLM_KIT_TRY(x->barrier(x));
    nlm_vector_conv_channels(&conv, &batch, channels);
    return NLM_OK;
}
