/* A product of normed rows put together from the plain ops. */
#include "scalar.h"

void nlm_scalar_norm_matmul_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    nlm_scalar_matmul_needs(self, dims, nth, out);
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'M') * nlm_dim(dims, 'K'));
}

/* The normalised rows go through the workspace. */
nlm_status nlm_scalar_norm_matmul(const nlm_exec_v1 *x, const nlm_norm_matmul_args *args) {
    nlm_tensor normed = *args->x;
    normed.data = x->workspace;
    normed.stride_bytes[0] = normed.shape[1] * (int64_t)sizeof(float);
    const nlm_rms_norm_args norm = {sizeof norm, 0, args->x, NULL, args->norm_w, &normed, NULL, args->eps, 0};
    const nlm_matmul_args matmul = {sizeof matmul, 0, &normed, args->w, args->bias, NULL, args->y};
    NLM_KIT_TRY(nlm_scalar_rms_norm(x, &norm));
    NLM_KIT_TRY(x->barrier(x));
    return nlm_scalar_matmul(x, &matmul);
}
