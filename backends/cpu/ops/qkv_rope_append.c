/* One product with three weights; k and v of the batch stand in the workspace, ahead of what the product
 * needs. Then a worker rotates and appends some groups of heads, token by token. */
#include "cpu/vector/vector.h"

static uint64_t kv_bytes(int64_t tokens, int64_t columns) {
    return (2 * sizeof(float) * (uint64_t)(tokens * columns) + 63) & ~(uint64_t)63;
}

void nlm_vector_qkv_rope_append_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const nlm_vector_device *device = self;
    (void)nth;
    const int64_t tokens = nlm_dim(dims, 'T'), columns = nlm_dim(dims, 'K');
    out->workspace_bytes =
        kv_bytes(tokens, nlm_dim(dims, 'U')) + nlm_vector_matmul_workspace_bytes(device->gemm, tokens, columns);
    out->scratch_bytes = nlm_vector_matmul_scratch_bytes(device->gemm, tokens, columns);
    const uint64_t rope = nlm_vector_rope_bytes(nlm_dim(dims, 'D'));
    if (rope > out->scratch_bytes) out->scratch_bytes = rope;
}

static nlm_status project(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args, const nlm_vector_rows *out) {
    nlm_exec_v1 rest = nlm_kit_exec(x);
    rest.workspace = (char *)x->workspace + kv_bytes(args->x->shape[0], out->columns[1]);
    nlm_matmul_job job = nlm_vector_job(&rest, args->x);
    const nlm_tensor *weights[3] = {args->w_q, args->w_k, args->w_v};
    job.sink = nlm_vector_store_rows;
    job.sink_args = out;
    job.n_weights = 3;
    for (int i = 0; i < 3; i++) job.weights[i] = nlm_vector_matmul_weight_of(weights[i]);
    job.may_claim = 1;
    if (nlm_vector_matmul_is_one_job(&job)) return nlm_vector_matmul_run(&job);
    /* weights whose kinds differ (plain and quantised) cannot share packed activations */
    for (int i = 0; i < 3; i++) {
        nlm_matmul_job one = nlm_vector_job(&rest, args->x);
        const nlm_vector_rows part = {{out->rows[i]}, {out->stride[i]}, {out->bias[i]}, {out->columns[i]}};
        one.weights[0] = job.weights[i];
        one.sink = nlm_vector_store_rows;
        one.sink_args = &part;
        NLM_KIT_TRY(nlm_vector_matmul_run(&one));
        NLM_KIT_TRY(x->barrier(x)); /* the next packs into the same workspace */
    }
    return NLM_OK;
}

nlm_status nlm_vector_qkv_rope_append(const nlm_exec_v1 *x, const nlm_qkv_rope_append_args *args) {
    const int64_t size = args->q->shape[2], heads = args->q->shape[1], groups = args->k_cache->shape[1];
    const int64_t columns = groups * size;
    float *k = x->workspace, *v = k + args->x->shape[0] * columns;
    const nlm_vector_rows out = {{args->q->data, k, v},
                                 {args->q->stride_bytes[0] / (int64_t)sizeof(float), columns, columns},
                                 {nlm_vector_data(args->b_q), nlm_vector_data(args->b_k), nlm_vector_data(args->b_v)},
                                 {heads * size, columns, columns}};
    const nlm_rope_args rotation = {
        sizeof rotation, args->flags,      NULL,        args->pos, args->freq_factors, NULL,
        args->freq_base, args->freq_scale, args->n_rot, 0};
    const nlm_kv_append_args append = {
        sizeof append,    0, NULL, NULL, args->k_cache, args->v_cache, args->pos, args->seq_start, args->slot,
        args->block_table};
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "qkv_rope_append", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->block_table->shape[0], &batch));
    NLM_KIT_TRY(project(x, args, &out));
    NLM_KIT_TRY(x->barrier(x));
    const nlm_kit_range mine = nlm_kit_slice(x, batch.n_tokens * groups, 1);
    if (mine.from >= mine.to) return NLM_OK;
    nlm_vector_rotation rope = nlm_vector_rope_begin(&rotation, x->scratch);
    nlm_vector_kv place = {0};
    int64_t sequence = 0;
    for (int64_t i = mine.from; i < mine.to; i++) {
        const int64_t t = i / groups, g = i % groups;
        if (g == 0 || i == mine.from) {
            sequence = nlm_cpu_sequence_of(&batch, t, sequence);
            NLM_KIT_TRY(nlm_vector_kv_place(x, &append, batch.slot[sequence], t, &place));
            nlm_vector_rope_at(&rope, nlm_cpu_i32(args->pos)[t]);
        }
        for (int64_t h = g * heads / groups; h < (g + 1) * heads / groups; h++) {
            float *q = nlm_kit_at2(args->q, t, h);
            nlm_vector_rope_head(&rope, size, q, q);
        }
        float *key = k + t * columns + g * size;
        nlm_vector_rope_head(&rope, size, key, key);
        nlm_vector_kv_store(&append, place, g, key, v + t * columns + g * size);
    }
    return NLM_OK;
}
