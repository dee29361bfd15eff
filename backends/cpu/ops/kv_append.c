#include "cpu/decode.h"
#include "cpu/vector/vector.h"

static void store_row(nlm_dtype dtype, const float *row, void *out, int64_t size) {
    if (dtype != NLM_F16) {
        nlm_cpu_encode(dtype, row, out, size);
        return;
    }
    int64_t c = 0;
    for (; c + V_LANES <= size; c += V_LANES) vf_store_f16((uint16_t *)out + c, vf_load(row + c));
    nlm_cpu_encode(dtype, row + c, (uint16_t *)out + c, size - c);
}

nlm_status nlm_vector_kv_place(const nlm_exec_v1 *x, const nlm_kv_append_args *args, int32_t slot, int64_t t,
                               nlm_vector_kv *out) {
    const nlm_tensor *cache = args->k_cache;
    const int32_t pos = nlm_cpu_i32(args->pos)[t];
    int64_t page;
    NLM_CPU_TRY(nlm_cpu_page(x, "kv_append", args->block_table, slot, pos, cache->shape[2], cache->shape[0], &page));
    *out = (nlm_vector_kv){page, pos % cache->shape[2]};
    return NLM_OK;
}

void nlm_vector_kv_store(const nlm_kv_append_args *args, nlm_vector_kv place, int64_t g, const float *k,
                         const float *v) {
    const int64_t size = args->k_cache->shape[3];
    store_row(args->k_cache->dtype, k, nlm_cpu_at3(args->k_cache, place.page, g, place.row), size);
    store_row(args->v_cache->dtype, v, nlm_cpu_at3(args->v_cache, place.page, g, place.row), size);
}

/* Slices tokens: two tokens of a batch never share a place in the cache. */
nlm_status nlm_vector_kv_append(const nlm_exec_v1 *x, const nlm_kv_append_args *args) {
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "kv_append", args->seq_start, args->slot, nlm_live_rows(x, args->k),
                                   args->block_table->shape[0], &batch));
    const nlm_cpu_range tokens = nlm_cpu_slice(x, batch.n_tokens, 1);
    int64_t sequence = 0;
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        nlm_vector_kv place;
        sequence = nlm_cpu_sequence_of(&batch, t, sequence);
        NLM_CPU_TRY(nlm_vector_kv_place(x, args, batch.slot[sequence], t, &place));
        for (int64_t g = 0; g < args->k->shape[1]; g++)
            nlm_vector_kv_store(args, place, g, nlm_cpu_at2(args->k, t, g), nlm_cpu_at2(args->v, t, g));
    }
    return NLM_OK;
}
