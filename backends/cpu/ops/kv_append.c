/* New keys and values into the pages of the cache, in the cache's type. */
#include "cpu/decode.h"
#include "cpu/vector/vector.h"

#define Q8 32 /* elements of a block of q8_0 */

static void store_f16(const float *row, uint16_t *out, int64_t size) {
    int64_t c = 0;
    for (; c + V_LANES <= size; c += V_LANES) vf_store_f16(out + c, vf_load(row + c));
    nlm_cpu_encode(NLM_F16, row + c, out + c, size - c);
}

/* The bytes of nlm_cpu_encode where all is finite: a scale of max|x|/127. A block with a NaN has a scale of NaN, one
 * with an infinity an infinite one. */
static void store_q8_0(const float *row, uint8_t *out, int64_t size) {
    const vf limit = vf_set1(127.0f);
    for (int64_t b = 0; b < size / Q8; b++, row += Q8, out += 2 + Q8) {
        vf largest = vf_zero();
        for (int c = 0; c < Q8; c += V_LANES) largest = vf_max_magnitude(largest, vf_abs(vf_load(row + c)));
        const float scale = vf_hmax_magnitude(largest) / 127;
        const vf inverse = vf_set1(scale > 0 ? 1 / scale : 0);
        const uint16_t half = nlm_f16_from_f32(scale);
        memcpy(out, &half, sizeof half);
        for (int c = 0; c < Q8; c += V_LANES) {
            const vf q = vf_mul(vf_load(row + c), inverse);
            vf_store_i8(out + 2 + c, vf_max(vf_min(q, limit), vf_neg(limit)));
        }
    }
}

static void store_row(nlm_dtype dtype, const float *row, void *out, int64_t size) {
    switch (dtype) {
        case NLM_F16: store_f16(row, out, size); break;
        case NLM_Q8_0: store_q8_0(row, out, size); break;
        default: nlm_cpu_encode(dtype, row, out, size); break;
    }
}

nlm_status nlm_vector_kv_place(const nlm_exec_v1 *x, const nlm_kv_append_args *args, int32_t slot, int64_t t,
                               nlm_vector_kv *out) {
    const nlm_tensor *cache = args->k_cache;
    const int32_t pos = nlm_cpu_i32(args->pos)[t];
    int64_t page;
    NLM_KIT_TRY(nlm_cpu_page(x, "kv_append", args->block_table, slot, pos, cache->shape[2], cache->shape[0], &page));
    *out = (nlm_vector_kv){page, pos % cache->shape[2]};
    return NLM_OK;
}

void nlm_vector_kv_store(const nlm_kv_append_args *args, nlm_vector_kv place, int64_t g, const float *k,
                         const float *v) {
    const int64_t size = args->k_cache->shape[3];
    store_row(args->k_cache->dtype, k, nlm_kit_at3(args->k_cache, place.page, g, place.row), size);
    store_row(args->v_cache->dtype, v, nlm_kit_at3(args->v_cache, place.page, g, place.row), size);
}

/* Slices tokens: two tokens of a batch never share a place in the cache. */
nlm_status nlm_vector_kv_append(const nlm_exec_v1 *x, const nlm_kv_append_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "kv_append", args->seq_start, args->slot, nlm_live_rows(x, args->k),
                                   args->block_table->shape[0], &batch));
    const nlm_kit_range tokens = nlm_kit_slice(x, batch.n_tokens, 1);
    int64_t sequence = 0;
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        nlm_vector_kv place;
        sequence = nlm_cpu_sequence_of(&batch, t, sequence);
        NLM_KIT_TRY(nlm_vector_kv_place(x, args, batch.slot[sequence], t, &place));
        for (int64_t g = 0; g < args->k->shape[1]; g++)
            nlm_vector_kv_store(args, place, g, nlm_kit_at2(args->k, t, g), nlm_kit_at2(args->v, t, g));
    }
    return NLM_OK;
}
