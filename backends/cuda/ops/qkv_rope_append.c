/* Projections of attention, their rotation and the append to the cache. */
#include "launch.h"

/* k and v of the batch stand in the workspace. */
void nlm_cuda_qkv_rope_append_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = 2 * nlm_cuda_between_bytes(dims->activation, nlm_dim(dims, 'T'), nlm_dim(dims, 'U'));
}

/* [T, heads * size] of [T, heads, size], or the reverse. */
static nlm_tensor as_matrix(const nlm_tensor *heads) {
    nlm_tensor view = *heads;
    view.rank = 2;
    view.shape[1] = heads->shape[1] * heads->shape[2];
    view.shape[2] = 1;
    view.stride_bytes[1] = heads->stride_bytes[2];
    view.stride_bytes[2] = 0;
    return view;
}
static nlm_tensor as_heads(const nlm_tensor *matrix, int64_t size) {
    nlm_tensor view = *matrix;
    view.rank = 3;
    view.shape[1] = matrix->shape[1] / size;
    view.shape[2] = size;
    view.stride_bytes[1] = size * matrix->stride_bytes[1];
    view.stride_bytes[2] = matrix->stride_bytes[1];
    return view;
}

static nlm_status project(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_tensor *w,
                          const nlm_tensor *bias, const nlm_tensor *y) {
    const nlm_matmul_args product = {sizeof product, 0, args->x, w, bias, NULL, y};
    return nlm_cuda_matmul(x, &product);
}

static nlm_status rotate(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_tensor *heads) {
    const nlm_rope_args rope = {sizeof rope,     args->flags,      heads,       args->pos, args->freq_factors, heads,
                                args->freq_base, args->freq_scale, args->n_rot, 0};
    return nlm_cuda_rope(x, &rope);
}

nlm_status nlm_cuda_qkv_rope_append(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const int64_t size = args->q->shape[2], columns = args->w_k->shape[0];
    const uint64_t behind = nlm_cuda_between_bytes(args->x->dtype, args->x->shape[0], columns);
    const nlm_tensor q = as_matrix(args->q), k = nlm_cuda_between(x, 0, args->x, columns);
    const nlm_tensor v = nlm_cuda_between(x, behind, args->x, columns);
    const nlm_tensor k_heads = as_heads(&k, size), v_heads = as_heads(&v, size);
    const nlm_kv_append_args append = {sizeof append, 0,         &k_heads,        &v_heads,   args->k_cache,
                                       args->v_cache, args->pos, args->seq_start, args->slot, args->block_table};
    NLM_KIT_TRY(project(x, args, args->w_q, args->b_q, &q));
    NLM_KIT_TRY(project(x, args, args->w_k, args->b_k, &k));
    NLM_KIT_TRY(project(x, args, args->w_v, args->b_v, &v));
    NLM_KIT_TRY(rotate(x, args, args->q));
    NLM_KIT_TRY(rotate(x, args, &k_heads));
    return nlm_cuda_kv_append(x, &append);
}
