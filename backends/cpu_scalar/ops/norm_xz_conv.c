/* Norm, input projection and convolution of a Mamba layer put together from the plain ops. */
#include "scalar.h"

void nlm_scalar_norm_xz_conv_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    nlm_scalar_matmul_needs(self, dims, nth, out);
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'T') * nlm_dim(dims, 'K'));
}

/* The normalised rows go through the workspace. */
nlm_status nlm_scalar_norm_xz_conv(const nlm_exec_v1 *x, const nlm_norm_xz_conv_args *args) {
    const nlm_tensor normed = nlm_cpu_matrix(args->x, x->workspace, args->x->shape[1]);
    const nlm_tensor conv_x = nlm_cpu_columns(args->xz, 0, args->y->shape[1]);
    const nlm_rms_norm_args norm = {sizeof norm, 0, args->x, NULL, args->norm_w, &normed, NULL, args->eps, 0};
    const nlm_matmul_args matmul = {sizeof matmul, 0, &normed, args->w, NULL, NULL, args->xz};
    const nlm_conv1d_causal_args conv = {sizeof conv, args->flags,     &conv_x,    args->conv_w, args->conv_bias,
                                         args->state, args->seq_start, args->slot, args->y,      args->state_out};
    NLM_KIT_TRY(nlm_scalar_rms_norm(x, &norm));
    NLM_KIT_TRY(x->barrier(x));
    NLM_KIT_TRY(nlm_scalar_matmul(x, &matmul));
    NLM_KIT_TRY(x->barrier(x));
    return nlm_scalar_conv1d_causal(x, &conv);
}
