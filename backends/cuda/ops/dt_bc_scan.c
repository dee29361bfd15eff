/* Mamba's projections of dt, B and C and the scan behind them. */
#include "launch.h"

/* low, b and c of the batch stand in the workspace, behind them dt. */
void nlm_cuda_dt_bc_scan_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t tokens = nlm_dim(dims, 'T');
    out->workspace_bytes = nlm_cuda_between_bytes(dims->activation, tokens, nlm_dim(dims, 'U')) +
                           nlm_cuda_between_bytes(dims->activation, tokens, nlm_dim(dims, 'C'));
}

nlm_status nlm_cuda_dt_bc_scan(const nlm_exec_v1 *x, const nlm_dt_bc_scan_args *args) {
    const int64_t rank = args->w_dt->shape[1], states = args->a->shape[1], columns = args->w_x->shape[0];
    const uint64_t behind = nlm_cuda_between_bytes(args->x->dtype, args->x->shape[0], columns);
    const nlm_tensor low_b_c = nlm_cuda_between(x, 0, args->x, columns);
    const nlm_tensor dt = nlm_cuda_between(x, behind, args->x, args->x->shape[1]);
    const nlm_tensor low = nlm_cuda_columns(&low_b_c, 0, rank), b = nlm_cuda_columns(&low_b_c, rank, states);
    const nlm_tensor c = nlm_cuda_columns(&low_b_c, rank + states, states);
    const nlm_matmul_args select = {sizeof select, 0, args->x, args->w_x, NULL, NULL, &low_b_c};
    const nlm_matmul_args widen = {sizeof widen, 0, &low, args->w_dt, args->b_dt, NULL, &dt};
    const nlm_ssm_scan_args scan = {
        sizeof scan, 0,       args->x,        &dt, args->a, &b, &c, args->d, args->z, args->state, args->seq_start,
        args->slot,  args->y, args->state_out};
    NLM_KIT_TRY(nlm_cuda_matmul(x, &select));
    NLM_KIT_TRY(nlm_cuda_matmul(x, &widen));
    return nlm_cuda_ssm_scan(x, &scan);
}
