/* What attention_plain would have left for its gradients: y and lse, from q, k and v of the case. */
#include <math.h>
#include <stdlib.h>

#include "spec.h"

typedef struct attention_case {
    const nlm_tensor *q, *k, *v, *y, *lse;
    double scale;
} attention_case;

static double head_at(const nlm_tensor *t, int64_t row, int64_t head, int64_t c) {
    const char *at = (const char *)t->data + row * t->stride_bytes[0] + head * t->stride_bytes[1];
    return (double)((const float *)(const void *)at)[c];
}
static void *head_of(const nlm_tensor *t, int64_t row, int64_t head) {
    return (char *)t->data + row * t->stride_bytes[0] + head * t->stride_bytes[1];
}

/* Row t and head h, seeing rows from `first`; scores has room for them. */
static void attend(const attention_case *in, int64_t first, int64_t t, int64_t h, double *scores) {
    const int64_t size = in->q->shape[2], g = h / (in->q->shape[1] / in->k->shape[1]);
    double greatest = -INFINITY, total = 0;
    for (int64_t j = first; j <= t; j++) {
        double sum = 0;
        for (int64_t c = 0; c < size; c++) sum += head_at(in->q, t, h, c) * head_at(in->k, j, g, c);
        scores[j - first] = in->scale * sum;
        greatest = fmax(greatest, scores[j - first]);
    }
    for (int64_t j = first; j <= t; j++) total += exp(scores[j - first] - greatest);
    const double lse = greatest + log(total);
    spec_store(NLM_F32, head_of(in->lse, t, h), lse);
    for (int64_t c = 0; c < size; c++) {
        double sum = 0;
        for (int64_t j = first; j <= t; j++) sum += exp(scores[j - first] - lse) * head_at(in->v, j, g, c);
        spec_store(NLM_F32, (float *)head_of(in->y, t, h) + c, sum);
    }
}

void spec_fill_attention(spec_instance *in) {
    const attention_case attention = {&spec_find(in, "q")->desc,   &spec_find(in, "k")->desc,
                                      &spec_find(in, "v")->desc,   &spec_find(in, "y")->desc,
                                      &spec_find(in, "lse")->desc, (double)in->c.args.attention_plain_bwd.scale};
    const int32_t *start = spec_find(in, "seq_start")->desc.data;
    const int64_t window = in->c.args.attention_plain_bwd.window;
    double *scores = malloc(((size_t)in->live_rows + 1) * sizeof *scores);
    for (int s = 0; scores && s < in->c.n_seqs; s++) {
        for (int64_t t = start[s]; t < start[s + 1]; t++) {
            const int64_t first = window > 0 && t - window + 1 > start[s] ? t - window + 1 : start[s];
            for (int64_t h = 0; h < attention.q->shape[1]; h++) attend(&attention, first, t, h, scores);
        }
    }
    free(scores);
}
