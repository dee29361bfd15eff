/* Mamba's way in: norm, input projection and convolution. */
#include "products.h"

void nlm_cuda_norm_xz_conv_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = nlm_cuda_between_bytes(dims->activation, nlm_dim(dims, 'T'), nlm_dim(dims, 'K'));
}

/* The normalised rows go through the workspace. */
static nlm_status in_parts(const nlm_exec_v1 *x, const nlm_norm_xz_conv_args *args) {
    const nlm_tensor normed = nlm_cuda_between(x, 0, args->x, args->x->shape[1]);
    const nlm_tensor conv_x = nlm_cuda_columns(args->xz, 0, args->y->shape[1]);
    const nlm_rms_norm_args norm = {sizeof norm, 0, args->x, NULL, args->norm_w, &normed, NULL, args->eps, 0};
    const nlm_matmul_args product = {sizeof product, 0, &normed, args->w, NULL, NULL, args->xz};
    const nlm_conv1d_causal_args conv = {sizeof conv, args->flags,     &conv_x,    args->conv_w, args->conv_bias,
                                         args->state, args->seq_start, args->slot, args->y,      args->state_out};
    nlm_exec_v1 rest = nlm_kit_exec(x);
    rest.workspace =
        (void *)((uintptr_t)x->workspace + nlm_cuda_between_bytes(normed.dtype, normed.shape[0], normed.shape[1]));
    NLM_KIT_TRY(nlm_cuda_rms_norm(x, &norm));
    NLM_KIT_TRY(nlm_cuda_matmul(&rest, &product));
    return nlm_cuda_conv1d_causal(x, &conv);
}

/* Few rows are one kernel, if a block can have all of them. */
nlm_status nlm_cuda_norm_xz_conv(const nlm_exec_v1 *x, const nlm_norm_xz_conv_args *args) {
    const nlm_cuda_device *d = x->device;
    const int64_t rows = args->x->shape[0];
    const nlm_cuda_product_of product = {
        .op = NLM_OP_norm_xz_conv,
        .args = args,
        .x = args->x,
        .w = args->w,
        .n = args->w->shape[0],
        .source = "norm_xz_conv",
        .few = "norm_xz_conv_few",
    };
    if (rows > nlm_cuda_rows_at_once(d, &product) || d->is_batch_invariant) return in_parts(x, args);
    nlm_cuda_work work = nlm_cuda_product(x, &product);
    work.kernel.defines[5] = (nlm_cuda_define){"WIDTH", NULL, (int)args->conv_w->shape[1]};
    work.grid[1] = 1;
    return nlm_cuda_launch(x, &work);
}
