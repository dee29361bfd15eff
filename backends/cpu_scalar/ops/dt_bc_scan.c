/* Mamba's projections of dt, B and C and the scan behind them, put together from the plain ops. */
#include "scalar.h"

/* low, b and c of the batch stand in the workspace, behind them dt. */
void nlm_scalar_dt_bc_scan_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t channels = nlm_dim(dims, 'C'), rank = nlm_dim(dims, 'R'), rows = nlm_dim(dims, 'U');
    out->scratch_bytes = nlm_scalar_matmul_scratch(channels > rank ? channels : rank);
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'T') * (rows + channels));
}

nlm_status nlm_scalar_dt_bc_scan(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args) {
    const int64_t rank = args->w_dt->shape[1], states = args->a->shape[1];
    const nlm_tensor low_b_c = nlm_cpu_matrix(args->x, x->workspace, args->w_x->shape[0]);
    float *behind = (float *)x->workspace + args->x->shape[0] * args->w_x->shape[0];
    const nlm_tensor dt = nlm_cpu_matrix(args->x, behind, args->x->shape[1]);
    const nlm_tensor low = nlm_cpu_columns(&low_b_c, 0, rank), b = nlm_cpu_columns(&low_b_c, rank, states);
    const nlm_tensor c = nlm_cpu_columns(&low_b_c, rank + states, states);
    const nlm_matmul_args select = {sizeof select, 0, args->x, args->w_x, NULL, NULL, &low_b_c};
    const nlm_matmul_args widen = {sizeof widen, 0, &low, args->w_dt, args->b_dt, NULL, &dt};
    const nlm_ssm_scan_args scan = {
        sizeof scan, 0,       args->x,        &dt, args->a, &b, &c, args->d, args->z, args->state, args->seq_start,
        args->slot,  args->y, args->state_out};
    NLM_KIT_TRY(nlm_scalar_matmul(x, &select));
    NLM_KIT_TRY(x->barrier(x));
    NLM_KIT_TRY(nlm_scalar_matmul(x, &widen));
    NLM_KIT_TRY(x->barrier(x));
    return nlm_scalar_ssm_scan(x, &scan);
}
