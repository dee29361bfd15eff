/* Causal attention over pages in chunks of positions, the reference. */
#include <math.h>

#include "cpu/batch.h"
#include "cpu/decode.h"
#include "dot.h"
#include "scalar.h"

/* Positions handled at once, counted from the first one a query sees. */
#define CHUNK 32

/* Of one head while it walks the cache: the greatest score so far, the sum of exp(score - greatest), and
 * the sum of exp(score - greatest) * v. */
typedef struct head_state {
    float greatest;
    double weight;
    float *values; /* [D] */
    const float *q;
} head_state;

/* A chunk of keys and values in f32, then the running sums of the heads that share them. */
void nlm_scalar_attention_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const uint64_t head = (uint64_t)nlm_dim(dims, 'D');
    const uint64_t shared = (uint64_t)(nlm_dim(dims, 'H') / nlm_dim(dims, 'G'));
    out->scratch_bytes = shared * sizeof(head_state) + (2 * CHUNK + shared) * head * sizeof(float);
}

/* Adds `count` positions. Source: Milakov & Gimelshein 2018 (online softmax). */
static void add_chunk(head_state *head, const float *k, const float *v, int64_t count, int64_t size, float scale) {
    float scores[CHUNK];
    float greatest = head->greatest;
    for (int64_t j = 0; j < count; j++) {
        scores[j] = scale * nlm_scalar_dot(head->q, k + j * size, size);
        greatest = fmaxf(greatest, scores[j]);
    }
    const float shrink = expf(head->greatest - greatest);
    head->weight *= (double)shrink;
    for (int64_t c = 0; c < size; c++) head->values[c] *= shrink;
    for (int64_t j = 0; j < count; j++) {
        const float p = expf(scores[j] - greatest);
        head->weight += (double)p;
        for (int64_t c = 0; c < size; c++) head->values[c] += p * v[j * size + c];
    }
    head->greatest = greatest;
}

/* Decodes keys and values of positions [from, to) of key/value head g. */
static nlm_status load_chunk(const nlm_exec_v1 *x, const nlm_attention_args *args, int32_t slot, int64_t g,
                             int64_t from, int64_t to, float *k, float *v) {
    const nlm_tensor *k_cache = args->k_cache, *v_cache = args->v_cache;
    const int64_t page_tokens = k_cache->shape[2], size = k_cache->shape[3];
    for (int64_t j = from; j < to; j++) {
        int64_t page;
        NLM_KIT_TRY(nlm_cpu_page(x, "attention", args->block_table, slot, j, page_tokens, k_cache->shape[0], &page));
        nlm_cpu_decode(k_cache->dtype, nlm_kit_at3(k_cache, page, g, j % page_tokens), k + (j - from) * size, size);
        nlm_cpu_decode(v_cache->dtype, nlm_kit_at3(v_cache, page, g, j % page_tokens), v + (j - from) * size, size);
    }
    return NLM_OK;
}

/* Heads [h, h + count) of token t, which share key/value head g: each is computed as if alone. */
static nlm_status attend(const nlm_exec_v1 *x, const nlm_attention_args *args, int32_t slot, int64_t t, int64_t h,
                         int64_t count, int64_t g) {
    const int64_t size = args->q->shape[2], page_tokens = args->k_cache->shape[2];
    int64_t page;
    const int64_t last = nlm_cpu_i32(args->pos)[t];
    const int64_t first = args->window > 0 && last >= args->window ? last - args->window + 1 : 0;
    NLM_KIT_TRY(
        nlm_cpu_page(x, "attention", args->block_table, slot, last, page_tokens, args->k_cache->shape[0], &page));
    head_state *heads = x->scratch;
    float *sums = (float *)(heads + args->q->shape[1] / args->k_cache->shape[1]);
    float *k = sums + count * size, *v = k + CHUNK * size;
    for (int64_t i = 0; i < count; i++) {
        heads[i] = (head_state){-INFINITY, 0, sums + i * size, nlm_kit_at2(args->q, t, h + i)};
        for (int64_t c = 0; c < size; c++) heads[i].values[c] = 0;
    }
    for (int64_t j = first; j <= last; j += CHUNK) {
        const int64_t end = last + 1 - j < CHUNK ? last + 1 : j + CHUNK;
        NLM_KIT_TRY(load_chunk(x, args, slot, g, j, end, k, v));
        for (int64_t i = 0; i < count; i++) add_chunk(&heads[i], k, v, end - j, size, args->scale);
    }
    for (int64_t i = 0; i < count; i++) {
        float *y = nlm_kit_at2(args->y, t, h + i);
        for (int64_t c = 0; c < size; c++) y[c] = (float)((double)heads[i].values[c] / heads[i].weight);
        if (args->lse) *(float *)nlm_kit_at2(args->lse, t, h + i) = (float)(heads[i].greatest + log(heads[i].weight));
    }
    return NLM_OK;
}

/* Slices (token, head) pairs; heads that share keys and values are taken together. Tokens come from both
 * ends in turn: a late one sees more positions, and so slices cost alike. */
nlm_status nlm_scalar_attention(const nlm_exec_v1 *x, const nlm_attention_args *args) {
    const int64_t heads = args->q->shape[1], shared = heads / args->k_cache->shape[1];
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "attention", args->seq_start, args->slot, nlm_live_rows(x, args->q),
                                   args->block_table->shape[0], &batch));
    const nlm_kit_range pairs = nlm_kit_slice(x, batch.n_tokens * heads, 1);
    for (int64_t pair = pairs.from; pair < pairs.to;) {
        const int64_t turn = pair / heads, h = pair % heads;
        const int64_t t = turn % 2 ? batch.n_tokens - 1 - turn / 2 : turn / 2;
        const int64_t left = pairs.to - pair, in_group = shared - h % shared;
        const int64_t count = left < in_group ? left : in_group;
        const int64_t sequence = nlm_cpu_sequence_of(&batch, t, 0);
        NLM_KIT_TRY(attend(x, args, batch.slot[sequence], t, h, count, h / shared));
        pair += count;
    }
    return NLM_OK;
}
