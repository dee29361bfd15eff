#include "cpu/vector/vector.h"

/* One product with three weights; k and v of the batch stand in the workspace, ahead of what the product
 * needs. The heads of a token are rotated and appended by one worker. */

static uint64_t kv_bytes(int64_t tokens, int64_t columns) {
    return (2 * sizeof(float) * (uint64_t)(tokens * columns) + 63) & ~(uint64_t)63;
}

void nlm_vector_qkv_rope_append_needs(const nlm_vector_device *device, const nlm_cpu_dims *dims, uint32_t nth,
                                      nlm_caps_v1 *out) {
    (void)nth;
    const int64_t tokens = nlm_cpu_dim(dims, 'T'), columns = nlm_cpu_dim(dims, 'K');
    out->workspace_bytes =
        kv_bytes(tokens, nlm_cpu_dim(dims, 'U')) + nlm_vector_matmul_workspace_bytes(device->gemm, tokens, columns);
    out->scratch_bytes = nlm_vector_matmul_scratch_bytes(device->gemm, tokens, columns);
    const uint64_t rope = nlm_vector_rope_bytes(nlm_cpu_dim(dims, 'D'));
    if (rope > out->scratch_bytes) out->scratch_bytes = rope;
}

/* Where the product's three parts go: rows of `stride` floats. */
typedef struct qkv_out {
    float *rows[3];
    int64_t stride[3];
    const float *bias[3];
    int64_t columns[3];
} qkv_out;

static void store_tile(const matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels, int64_t token,
                       int32_t n_tokens, int32_t tile_tokens, const float *tile) {
    const qkv_out *out = job->sink_args;
    for (int32_t p = 0; p < n_panels; p++) {
        const int64_t first = (panel + p) * PANEL_ROWS, left = out->columns[weight] - first;
        const int n = (int)(left < PANEL_ROWS ? left : PANEL_ROWS);
        const float *bias = out->bias[weight];
        for (int32_t m = 0; m < n_tokens; m++) {
            vf value = vf_load(tile + (p * tile_tokens + m) * PANEL_ROWS);
            if (bias) value = vf_add(value, vf_load_n(bias + first, n));
            vf_store_n(out->rows[weight] + (token + m) * out->stride[weight] + first, value, n);
        }
    }
}

static const float *data_of(const nlm_tensor *t) {
    return t ? t->data : NULL;
}

static nlm_status project(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const qkv_out *out) {
    nlm_exec_v1 rest = *x;
    rest.workspace = (char *)x->workspace + kv_bytes(args->x->shape[0], out->columns[1]);
    matmul_job job = nlm_vector_job(&rest, args->x);
    const nlm_tensor *weights[3] = {args->w_q, args->w_k, args->w_v};
    job.sink = store_tile;
    job.sink_args = out;
    job.n_weights = 3;
    for (int i = 0; i < 3; i++) job.weights[i] = nlm_vector_matmul_weight_of(weights[i]);
    if (nlm_vector_matmul_is_one_job(&job)) return nlm_vector_matmul_run(&job);
    /* weights whose kinds differ (plain and quantised) cannot share packed activations */
    for (int i = 0; i < 3; i++) {
        matmul_job one = nlm_vector_job(&rest, args->x);
        const qkv_out part = {{out->rows[i]}, {out->stride[i]}, {out->bias[i]}, {out->columns[i]}};
        one.weights[0] = job.weights[i];
        one.sink = store_tile;
        one.sink_args = &part;
        NLM_CPU_TRY(nlm_vector_matmul_run(&one));
        NLM_CPU_TRY(x->barrier(x)); /* the next packs into the same workspace */
    }
    return NLM_OK;
}

nlm_status nlm_vector_qkv_rope_append(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const int64_t size = args->q->shape[2], heads = args->q->shape[1], groups = args->k_cache->shape[1];
    const int64_t columns = groups * size;
    float *k = x->workspace, *v = k + args->x->shape[0] * columns;
    const qkv_out out = {{args->q->data, k, v},
                         {args->q->stride_bytes[0] / (int64_t)sizeof(float), columns, columns},
                         {data_of(args->b_q), data_of(args->b_k), data_of(args->b_v)},
                         {heads * size, columns, columns}};
    const nlm_rope_args rotation = {
        sizeof rotation, args->flags,      NULL,        args->pos, args->freq_factors, NULL,
        args->freq_base, args->freq_scale, args->n_rot, 0};
    const nlm_kv_append_args append = {
        sizeof append,    0, NULL, NULL, args->k_cache, args->v_cache, args->pos, args->seq_start, args->slot,
        args->block_table};
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "qkv_rope_append", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->block_table->shape[0], &batch));
    NLM_CPU_TRY(project(x, args, &out));
    NLM_CPU_TRY(x->barrier(x));
    const nlm_cpu_range tokens = nlm_cpu_slice(x, batch.n_tokens, 1);
    if (tokens.from >= tokens.to) return NLM_OK;
    nlm_vector_rotation rope = nlm_vector_rope_begin(&rotation, x->scratch);
    int64_t sequence = 0;
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        nlm_vector_kv place;
        sequence = nlm_cpu_sequence_of(&batch, t, sequence);
        NLM_CPU_TRY(nlm_vector_kv_place(x, &append, batch.slot[sequence], t, &place));
        nlm_vector_rope_at(&rope, nlm_cpu_i32(args->pos)[t]);
        for (int64_t h = 0; h < heads; h++) {
            float *q = nlm_cpu_at2(args->q, t, h);
            nlm_vector_rope_head(&rope, size, q, q);
        }
        for (int64_t g = 0; g < groups; g++) {
            float *key = k + t * columns + g * size;
            nlm_vector_rope_head(&rope, size, key, key);
            nlm_vector_kv_store(&append, place, g, key, v + t * columns + g * size);
        }
    }
    return NLM_OK;
}
