/* Projections of attention, their rotation and the append to the cache. */
#include "dense.h"
#include "products.h"

#define THREADS 256 /* these of qkv_rope_append.cu */
#define TOKENS  4
#define HEADS   8

#define FIRST_PART(part) ((uint32_t)(part) << 8)
#define LAST_PART(part)  ((uint32_t)(part) << 10)
#define TO_WORKSPACE     (1u << 12)

enum { Q, K, V, PARTS };

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

/* k or v in the workspace. */
static nlm_tensor between(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, int part) {
    const int64_t columns = args->w_k->shape[0];
    const uint64_t behind = nlm_cuda_between_bytes(args->x->dtype, args->x->shape[0], columns);
    return nlm_cuda_between(x, part == V ? behind : 0, args->x, columns);
}

/* ---- few rows ---- */

/* One kernel for parts [first, last], whose weights are of one type and layout. `told` has the kernel's own flags. */
static nlm_status project_parts(const nlm_exec_v1 *x, nlm_qkv_rope_append_args *told, int first, int last,
                                bool to_workspace) {
    const nlm_tensor *w[] = {told->w_q, told->w_k, told->w_v};
    const int64_t size = told->q->shape[2], rows_of_head = (size + 1) / 2 * 2;
    nlm_cuda_product_of product = {
        .op = NLM_OP_qkv_rope_append,
        .args = told,
        .x = told->x,
        .w = w[first],
        .source = "qkv_rope_append",
        .few = "qkv_rope_append_few",
    };
    for (int part = first; part <= last; part++) product.n += w[part]->shape[0] / size * rows_of_head;
    nlm_cuda_work work = nlm_cuda_product(x, &product);
    const nlm_tensor *keys = to_workspace ? told->x : told->k_cache, *values = to_workspace ? told->x : told->v_cache;
    work.kernel.defines[5] = (nlm_cuda_define){"KEY", nlm_cuda_type_name(keys), 0};
    work.kernel.defines[6] = (nlm_cuda_define){"VALUE", nlm_cuda_type_name(values), 0};
    told->flags &= NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE;
    told->flags |= FIRST_PART(first) | LAST_PART(last) | (to_workspace ? TO_WORKSPACE : 0);
    return nlm_cuda_launch(x, &work);
}

static nlm_status few_rows(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const nlm_tensor *w[] = {args->w_q, args->w_k, args->w_v};
    const bool to_workspace = args->k_cache->dtype == NLM_Q8_0 || args->v_cache->dtype == NLM_Q8_0;
    nlm_qkv_rope_append_args told = *args;
    for (int first = Q, end; first < PARTS; first = end) {
        end = first + 1;
        while (end < PARTS && w[end]->dtype == w[first]->dtype && w[end]->layout == w[first]->layout) end++;
        NLM_KIT_TRY(project_parts(x, &told, first, end - 1, to_workspace));
    }
    if (!to_workspace) return NLM_OK;
    const nlm_tensor k = between(x, args, K), v = between(x, args, V);
    const nlm_tensor k_heads = as_heads(&k, args->q->shape[2]), v_heads = as_heads(&v, args->q->shape[2]);
    const nlm_kv_append_args append = {sizeof append, 0,         &k_heads,        &v_heads,   args->k_cache,
                                       args->v_cache, args->pos, args->seq_start, args->slot, args->block_table};
    return nlm_cuda_kv_append(x, &append);
}

/* ---- many rows ---- */

/* `latest` is the last product by cuBLASLt: x may be what the next one wants of it. Its workspace is behind k and v.
 */
static nlm_status project(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_tensor *w,
                          const nlm_tensor *bias, const nlm_tensor *y, nlm_cuda_dense *latest) {
    const nlm_matmul_args product = {sizeof product, 0, args->x, w, bias, NULL, y};
    nlm_exec_v1 rest = nlm_kit_exec(x);
    nlm_cuda_dense dense;
    bool is_dense;
    rest.workspace = (void *)((uintptr_t)x->workspace +
                              2 * nlm_cuda_between_bytes(args->x->dtype, args->x->shape[0], args->w_k->shape[0]));
    NLM_KIT_TRY(nlm_cuda_dense_find(&rest, args->x, w, 1, &dense, &is_dense));
    if (!is_dense) return nlm_cuda_matmul(&rest, &product);
    if (!latest->rows || !nlm_cuda_dense_same_rows(latest, &dense)) {
        NLM_KIT_TRY(nlm_cuda_dense_rows(&rest, &dense, args->x, NULL, 0));
    }
    *latest = dense;
    return nlm_cuda_dense_matmul(&rest, &dense, &product);
}

static nlm_status many_rows(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const nlm_tensor q = as_matrix(args->q), k = between(x, args, K), v = between(x, args, V);
    const nlm_cuda_work work = {
        .op = NLM_OP_qkv_rope_append,
        .args = args,
        .kernel = {"qkv_rope_append",
                   "rotate_append",
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"KEY", nlm_cuda_type_name(args->k_cache), 0},
                    {"VALUE", nlm_cuda_type_name(args->v_cache), 0}}},
        .grid = {nlm_cuda_div_up(nlm_live_rows(x, args->x), TOKENS),
                 nlm_cuda_div_up(args->q->shape[1], HEADS) + 2 * nlm_cuda_div_up(args->k_cache->shape[1], HEADS)},
        .threads = THREADS,
    };
    nlm_cuda_dense latest = {.rows = 0};
    NLM_KIT_TRY(project(x, args, args->w_q, args->b_q, &q, &latest));
    NLM_KIT_TRY(project(x, args, args->w_k, args->b_k, &k, &latest));
    NLM_KIT_TRY(project(x, args, args->w_v, args->b_v, &v, &latest));
    return nlm_cuda_launch(x, &work);
}

nlm_status nlm_cuda_qkv_rope_append(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const nlm_cuda_product_of product = {.x = args->x, .w = args->w_q, .n = args->w_q->shape[0]};
    return nlm_cuda_rows_at_once(x->device, &product) ? few_rows(x, args) : many_rows(x, args);
}
