/* A worker owns channels: rows of w_dt, then the scan. All need low, b and c, which are few: for a few tokens,
 * if w_x is small, each worker computes all of them for itself, which is sooner done than a barrier. */
#include "cpu/vector/vector.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)
#define SMALL_BYTES     (64 * 1024) /* of w_x */

static uint64_t matrix_bytes(int64_t rows, int64_t columns) {
    return ROUND_UP((uint64_t)(rows * columns) * sizeof(float));
}

/* Workspace: low, b, c; dt; what the products need. Scratch: low, b, c of a few tokens; the same. */
void nlm_vector_dt_bc_scan_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const nlm_vector_device *device = self;
    (void)nth;
    const int64_t tokens = nlm_dim(dims, 'T'), rows = nlm_dim(dims, 'U');
    const int64_t channels = nlm_dim(dims, 'C'), rank = nlm_dim(dims, 'R');
    const int64_t columns = channels > rank ? channels : rank;
    out->workspace_bytes = matrix_bytes(tokens, rows) + matrix_bytes(tokens, channels) +
                           nlm_vector_matmul_workspace_bytes(device->gemm, tokens, columns);
    out->scratch_bytes =
        matrix_bytes(MATMUL_GEMM_TOKENS - 1, rows) + nlm_vector_matmul_scratch_bytes(device->gemm, tokens, columns);
}

static int is_small(const nlm_matmul_weight *w, int64_t columns) {
    return (uint64_t)panel_count(w->rows) * panel_bytes(w->format, columns) <= SMALL_BYTES;
}

/* low, b and c of all tokens, where this worker finds them. */
static nlm_status select_all(const nlm_exec_v1 *rest, const nlm_dt_bc_scan_args *args, void *shared, void *own,
                             nlm_tensor *out) {
    nlm_matmul_job job = nlm_vector_job(rest, args->x);
    job.weights[0] = nlm_vector_matmul_weight_of(args->w_x);
    const int64_t columns = job.weights[0].rows;
    const int is_own = job.tokens < MATMUL_GEMM_TOKENS && is_small(&job.weights[0], job.columns);
    *out = nlm_cpu_matrix(args->x, is_own ? own : shared, columns);
    const nlm_vector_rows rows = {{out->data}, {columns}, {NULL}, {columns}};
    job.sink = nlm_vector_store_rows;
    job.sink_args = &rows;
    job.has_panels = is_own;
    job.panel_to = panel_count(columns);
    job.may_claim = 1;
    NLM_KIT_TRY(nlm_vector_matmul_run(&job));
    return is_own ? NLM_OK : rest->barrier(rest);
}

/* dt of this worker's channels. */
static nlm_status widen(const nlm_exec_v1 *rest, const nlm_dt_bc_scan_args *args, const nlm_tensor *low,
                        nlm_kit_range channels, const nlm_tensor *dt) {
    nlm_matmul_job job = nlm_vector_job(rest, low);
    const nlm_vector_rows rows = {{dt->data}, {dt->shape[1]}, {nlm_vector_data(args->b_dt)}, {dt->shape[1]}};
    job.weights[0] = nlm_vector_matmul_weight_of(args->w_dt);
    job.sink = nlm_vector_store_rows;
    job.sink_args = &rows;
    job.has_panels = 1;
    job.panel_from = panel_count(channels.from);
    job.panel_to = panel_count(channels.to);
    return nlm_vector_matmul_run(&job);
}

nlm_status nlm_vector_dt_bc_scan(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args) {
    const int64_t n_channels = args->x->shape[1], rank = args->w_dt->shape[1], states = args->a->shape[1];
    const int64_t rows = args->w_x->shape[0], tokens = args->x->shape[0];
    char *dt_at = (char *)x->workspace + matrix_bytes(tokens, rows);
    const nlm_tensor dt = nlm_cpu_matrix(args->x, dt_at, n_channels);
    const nlm_kit_range channels = nlm_kit_slice(x, n_channels, NLM_SSM_TILE);
    nlm_exec_v1 rest = nlm_kit_exec(x);
    rest.workspace = dt_at + matrix_bytes(tokens, n_channels);
    rest.scratch = (char *)x->scratch + matrix_bytes(MATMUL_GEMM_TOKENS - 1, rows);
    nlm_cpu_batch batch;
    nlm_tensor low_b_c;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "dt_bc_scan", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    NLM_KIT_TRY(select_all(&rest, args, x->workspace, x->scratch, &low_b_c));
    const nlm_tensor low = nlm_cpu_columns(&low_b_c, 0, rank), b = nlm_cpu_columns(&low_b_c, rank, states);
    const nlm_tensor c = nlm_cpu_columns(&low_b_c, rank + states, states);
    const nlm_ssm_scan_args scan = {
        sizeof scan, 0,       args->x,        &dt, args->a, &b, &c, args->d, args->z, args->state, args->seq_start,
        args->slot,  args->y, args->state_out};
    NLM_KIT_TRY(widen(&rest, args, &low, channels, &dt));
    nlm_vector_scan_channels(&scan, &batch, channels);
    return NLM_OK;
}
