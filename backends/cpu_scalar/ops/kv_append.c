/* New keys and values into the pages of the cache, the reference. */
#include "cpu/batch.h"
#include "cpu/decode.h"
#include "scalar.h"

/* Slices tokens: two tokens of a batch never share a place in the cache. */
nlm_status nlm_scalar_kv_append(const nlm_exec_v1 *x, const nlm_kv_append_args *args) {
    const nlm_tensor *k_cache = args->k_cache, *v_cache = args->v_cache;
    const int32_t *pos = nlm_cpu_i32(args->pos);
    const int64_t page_tokens = k_cache->shape[2];
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "kv_append", args->seq_start, args->slot, nlm_live_rows(x, args->k),
                                   args->block_table->shape[0], &batch));
    const nlm_kit_range tokens = nlm_kit_slice(x, batch.n_tokens, 1);
    int64_t sequence = 0;
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        int64_t page;
        sequence = nlm_cpu_sequence_of(&batch, t, sequence);
        NLM_KIT_TRY(nlm_cpu_page(x, "kv_append", args->block_table, batch.slot[sequence], pos[t], page_tokens,
                                 k_cache->shape[0], &page));
        const int64_t row = pos[t] % page_tokens;
        for (int64_t g = 0; g < k_cache->shape[1]; g++) {
            nlm_cpu_encode(k_cache->dtype, nlm_kit_at2(args->k, t, g), nlm_kit_at3(k_cache, page, g, row),
                           k_cache->shape[3]);
            nlm_cpu_encode(v_cache->dtype, nlm_kit_at2(args->v, t, g), nlm_kit_at3(v_cache, page, g, row),
                           v_cache->shape[3]);
        }
    }
    return NLM_OK;
}
