/* attention_plain: causal attention over the batch's own keys and values, for training. */
#include <math.h>

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

static nlm_status check_starts(const nlm_exec_v1 *x, const int32_t *start, int64_t n_seqs, int64_t rows) {
    for (int64_t s = 0; s <= n_seqs; s++) {
        const int64_t least = s ? start[s - 1] : 0, most = s ? rows : 0;
        if (start[s] >= least && start[s] <= most) continue;
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "attention_plain",
                            "seq_start[%lld] is %d, expected %lld to %lld", (long long)s, start[s], (long long)least,
                            (long long)most);
    }
    return NLM_OK;
}

/* Slices (row, head) pairs. Rows come from both ends in turn: a late one sees more, and so slices cost alike. */
nlm_status nlm_scalar_attention_plain(const nlm_exec_v1 *x, const nlm_attention_plain_args *args) {
    const int32_t *start = nlm_cpu_i32(args->seq_start);
    const int64_t n_seqs = args->seq_start->shape[0] - 1, heads = args->q->shape[1];
    NLM_KIT_TRY(check_starts(x, start, n_seqs, nlm_live_rows(x, args->q)));
    const int64_t n_tokens = start[n_seqs];
    const nlm_kit_range pairs = nlm_kit_slice(x, n_tokens * heads, 1);
    for (int64_t pair = pairs.from; pair < pairs.to; pair++) {
        const int64_t turn = pair / heads, t = turn % 2 ? n_tokens - 1 - turn / 2 : turn / 2;
        int64_t s = 0;
        while (start[s + 1] <= t) s++;
        const int64_t seen = t - start[s] + 1;
        attend(args, args->window > 0 && seen > args->window ? t - args->window + 1 : start[s], t, pair % heads);
    }
    return NLM_OK;
}
