/* Mamba's projections of dt, B and C and the scan behind them. */
#include "launch.h"

#define FEW 8 /* rows; as in dt_bc_scan.cu */

/* low, b and c of the batch stand in the workspace, behind them dt, behind that what ssm_scan or a product needs. */
void nlm_cuda_dt_bc_scan_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const int64_t tokens = nlm_dim(dims, 'T');
    nlm_cuda_ssm_scan_needs(self, dims, nth, out);
    out->workspace_bytes += nlm_cuda_between_bytes(dims->activation, tokens, nlm_dim(dims, 'U')) +
                            nlm_cuda_between_bytes(dims->activation, tokens, nlm_dim(dims, 'C'));
}

/* The scan with the product that makes dt, of few rows. */
static nlm_status scan_few(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args) {
    const nlm_cuda_work work = {
        .op = NLM_OP_dt_bc_scan,
        .args = args,
        .kernel = {"dt_bc_scan",
                   "dt_bc_scan_few",
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"W", nlm_cuda_type_name(args->w_dt), 0},
                    {"PACKED", NULL, args->w_dt->layout != NLM_LAYOUT_ROW_MAJOR},
                    {"STATES", NULL, (int)args->a->shape[1]}}},
        .grid = {nlm_live_rows(x, args->slot), args->state->shape[1]},
        .threads = 128,
        .is_early = true,
    };
    return nlm_cuda_launch(x, &work);
}

/* The scan behind a product that makes dt. */
static nlm_status scan_many(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args, const nlm_tensor *low_b_c) {
    const int64_t rank = args->w_dt->shape[1], states = args->a->shape[1];
    const uint64_t behind = nlm_cuda_between_bytes(args->x->dtype, args->x->shape[0], low_b_c->shape[1]);
    const nlm_tensor dt = nlm_cuda_between(x, behind, args->x, args->x->shape[1]);
    const nlm_tensor low = nlm_cuda_columns(low_b_c, 0, rank), b = nlm_cuda_columns(low_b_c, rank, states);
    const nlm_tensor c = nlm_cuda_columns(low_b_c, rank + states, states);
    const nlm_matmul_args widen = {sizeof widen, 0, &low, args->w_dt, args->b_dt, NULL, &dt};
    const nlm_ssm_scan_args scan = {
        sizeof scan, 0,       args->x,        &dt, args->a, &b, &c, args->d, args->z, args->state, args->seq_start,
        args->slot,  args->y, args->state_out};
    nlm_exec_v1 rest = nlm_kit_exec(x);
    rest.workspace = (void *)((uintptr_t)dt.data + nlm_cuda_between_bytes(dt.dtype, dt.shape[0], dt.shape[1]));
    NLM_KIT_TRY(nlm_cuda_matmul(&rest, &widen));
    return nlm_cuda_ssm_scan(&rest, &scan);
}

nlm_status nlm_cuda_dt_bc_scan(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args) {
    const nlm_cuda_device *d = x->device;
    const int64_t rows = args->x->shape[0];
    const nlm_tensor low_b_c = nlm_cuda_between(x, 0, args->x, args->w_x->shape[0]);
    const nlm_matmul_args select = {sizeof select, 0, args->x, args->w_x, NULL, NULL, &low_b_c};
    nlm_exec_v1 rest = nlm_kit_exec(x);
    rest.workspace =
        (void *)((uintptr_t)low_b_c.data + nlm_cuda_between_bytes(low_b_c.dtype, rows, low_b_c.shape[1]) +
                 nlm_cuda_between_bytes(low_b_c.dtype, rows, args->x->shape[1]));
    NLM_KIT_TRY(nlm_cuda_matmul(&rest, &select));
    if (rows <= FEW && !d->is_batch_invariant) return scan_few(x, args);
    return scan_many(x, args, &low_b_c);
}
