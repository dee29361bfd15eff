/* Projections of attention, their rotation and the append put together from the plain ops. */
#include "scalar.h"

/* k and v of the batch stand in the workspace; matmul and rope take turns in the scratch. */
void nlm_scalar_qkv_rope_append_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    nlm_scalar_rope_needs(self, dims, nth, out);
    const uint64_t rope_bytes = out->scratch_bytes;
    nlm_scalar_matmul_needs(self, dims, nth, out);
    if (rope_bytes > out->scratch_bytes) out->scratch_bytes = rope_bytes;
    out->workspace_bytes = 2 * sizeof(float) * (uint64_t)(nlm_dim(dims, 'T') * nlm_dim(dims, 'U'));
}

/* [T, heads * size] as [T, heads, size] or the reverse, rows `stride` bytes apart. */
static nlm_tensor matrix_view(const nlm_tensor *rows, void *data, int64_t columns, int64_t stride) {
    nlm_tensor view = {data, 0, NLM_F32, 2, {rows->shape[0], columns, 1, 1}, {stride, sizeof(float), 0, 0}, 0, 0, 0};
    view.row_kind = rows->row_kind;
    return view;
}
static nlm_tensor heads_view(const nlm_tensor *matrix, int64_t heads, int64_t size) {
    nlm_tensor view = *matrix;
    view.rank = 3;
    view.shape[1] = heads, view.shape[2] = size;
    view.stride_bytes[1] = size * (int64_t)sizeof(float), view.stride_bytes[2] = sizeof(float);
    return view;
}

static nlm_status project(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_tensor *w,
                          const nlm_tensor *bias, const nlm_tensor *y) {
    const nlm_matmul_args matmul = {sizeof matmul, 0, args->x, w, bias, NULL, y};
    return nlm_scalar_matmul(x, &matmul);
}

static nlm_status rotate(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_tensor *heads) {
    const nlm_rope_args rope = {sizeof rope,     args->flags,      heads,       args->pos, args->freq_factors, heads,
                                args->freq_base, args->freq_scale, args->n_rot, 0};
    return nlm_scalar_rope(x, &rope);
}

nlm_status nlm_scalar_qkv_rope_append(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const int64_t size = args->q->shape[2], groups = args->k_cache->shape[1], columns = groups * size;
    const int64_t stride = columns * (int64_t)sizeof(float);
    float *workspace = x->workspace;
    const nlm_tensor q = matrix_view(args->x, args->q->data, args->q->shape[1] * size, args->q->stride_bytes[0]);
    const nlm_tensor k = matrix_view(args->x, workspace, columns, stride);
    const nlm_tensor v = matrix_view(args->x, workspace + args->x->shape[0] * columns, columns, stride);
    const nlm_tensor k_heads = heads_view(&k, groups, size), v_heads = heads_view(&v, groups, size);
    const nlm_kv_append_args append = {sizeof append, 0,         &k_heads,        &v_heads,   args->k_cache,
                                       args->v_cache, args->pos, args->seq_start, args->slot, args->block_table};
    NLM_KIT_TRY(project(x, args, args->w_q, args->b_q, &q));
    NLM_KIT_TRY(project(x, args, args->w_k, args->b_k, &k));
    NLM_KIT_TRY(project(x, args, args->w_v, args->b_v, &v));
    NLM_KIT_TRY(x->barrier(x));
    NLM_KIT_TRY(rotate(x, args, args->q));
    NLM_KIT_TRY(rotate(x, args, &k_heads));
    NLM_KIT_TRY(x->barrier(x));
    return nlm_scalar_kv_append(x, &append);
}
