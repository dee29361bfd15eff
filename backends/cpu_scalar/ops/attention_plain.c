/* attention_plain: causal attention over the batch's own keys and values, for training. */
#include <math.h>

#include "cpu/batch.h"
#include "dot.h"
#include "scalar.h"

/* Head h of row t, which sees rows from `first`. y holds the weighted sum of values so far. Source: Milakov &
 * Gimelshein 2018 (online softmax). */
static void attend(const nlm_attention_plain_args *args, int64_t first, int64_t t, int64_t h) {
    const int64_t size = args->q->shape[2], g = h / (args->q->shape[1] / args->k->shape[1]);
    const float *q = nlm_kit_at2(args->q, t, h);
    float *y = nlm_kit_at2(args->y, t, h);
    float greatest = -INFINITY;
    double total = 0;
    for (int64_t c = 0; c < size; c++) y[c] = 0;
    for (int64_t j = first; j <= t; j++) {
        const float *v = nlm_kit_at2(args->v, j, g);
        const float score = args->scale * nlm_scalar_dot(q, nlm_kit_at2(args->k, j, g), size);
        const float next = fmaxf(greatest, score), shrink = expf(greatest - next), p = expf(score - next);
        total = total * (double)shrink + (double)p;
        for (int64_t c = 0; c < size; c++) y[c] = y[c] * shrink + p * v[c];
        greatest = next;
    }
    for (int64_t c = 0; c < size; c++) y[c] = (float)((double)y[c] / total);
    if (args->lse) *(float *)nlm_kit_at2(args->lse, t, h) = (float)((double)greatest + log(total));
}

/* Slices (row, head) pairs. Rows come from both ends in turn: a late one sees more, and so slices cost alike. */
nlm_status nlm_scalar_attention_plain(const nlm_exec_v1 *x, const nlm_attention_plain_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_packed_read(x, "attention_plain", args->seq_start, nlm_live_rows(x, args->q), &batch));
    const int64_t heads = args->q->shape[1], n_tokens = batch.n_tokens;
    const nlm_kit_range pairs = nlm_kit_slice(x, n_tokens * heads, 1);
    for (int64_t pair = pairs.from; pair < pairs.to; pair++) {
        const int64_t turn = pair / heads, t = turn % 2 ? n_tokens - 1 - turn / 2 : turn / 2;
        const int64_t first = batch.seq_start[nlm_cpu_sequence_of(&batch, t, 0)], seen = t - first + 1;
        attend(args, args->window > 0 && seen > args->window ? t - args->window + 1 : first, t, pair % heads);
    }
    return NLM_OK;
}
