/* The gradients of attention over the batch's own keys and values, the reference. */
#include <math.h>

#include "cpu/batch.h"
#include "dot.h"
#include "scalar.h"

/* dy . y of every row and head stands in the workspace. */
void nlm_scalar_attention_plain_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->workspace_bytes = sizeof(float) * (uint64_t)(nlm_dim(dims, 'T') * nlm_dim(dims, 'H'));
}

static float *row_product(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args, int64_t t, int64_t h) {
    return (float *)x->workspace + t * args->q->shape[1] + h;
}

/* How much of row j there is in row t and head h: p, and e as nlm/op_args.h has it. */
typedef struct weights {
    float p, e;
} weights;

static weights weights_of(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args, int64_t t, int64_t h,
                          int64_t j) {
    const int64_t size = args->q->shape[2], g = h / (args->q->shape[1] / args->k->shape[1]);
    const float score = args->scale * nlm_scalar_dot(nlm_kit_at2(args->q, t, h), nlm_kit_at2(args->k, j, g), size);
    const float p = expf(score - *(const float *)nlm_kit_at2(args->lse, t, h));
    const float dp = nlm_scalar_dot(nlm_kit_at2(args->dy, t, h), nlm_kit_at2(args->v, j, g), size);
    return (weights){p, p * (dp - *row_product(x, args, t, h))};
}

static void add_scaled(float *sum, float factor, const float *row, int64_t size) {
    for (int64_t c = 0; c < size; c++) sum[c] += factor * row[c];
}

static void query_gradient(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args, nlm_kit_range seen,
                           int64_t t, int64_t h) {
    const int64_t size = args->q->shape[2], g = h / (args->q->shape[1] / args->k->shape[1]);
    float *dq = nlm_kit_at2(args->dq, t, h);
    memset(dq, 0, (size_t)size * sizeof *dq);
    for (int64_t j = seen.from; j < seen.to; j++)
        add_scaled(dq, args->scale * weights_of(x, args, t, h, j).e, nlm_kit_at2(args->k, j, g), size);
}

/* Rows [seeing.from, seeing.to) see row j. */
static void key_value_gradients(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args, nlm_kit_range seeing,
                                int64_t j, int64_t g) {
    const int64_t size = args->q->shape[2], shared = args->q->shape[1] / args->k->shape[1];
    float *dk = nlm_kit_at2(args->dk, j, g), *dv = nlm_kit_at2(args->dv, j, g);
    memset(dk, 0, (size_t)size * sizeof *dk);
    memset(dv, 0, (size_t)size * sizeof *dv);
    for (int64_t t = seeing.from; t < seeing.to; t++) {
        for (int64_t h = g * shared; h < (g + 1) * shared; h++) {
            const weights of = weights_of(x, args, t, h, j);
            add_scaled(dk, args->scale * of.e, nlm_kit_at2(args->q, t, h), size);
            add_scaled(dv, of.p, nlm_kit_at2(args->dy, t, h), size);
        }
    }
}

/* Row n of the turn: rows come from both ends, as early ones are seen by many and late ones see many. */
static int64_t row_of_turn(int64_t n, int64_t n_tokens) {
    return n % 2 ? n_tokens - 1 - n / 2 : n / 2;
}

/* Slices (row, head) pairs for dq, (row, key head) pairs for dk and dv: each element has one owner. */
nlm_status nlm_scalar_attention_plain_bwd(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_packed_read(x, "attention_plain_bwd", args->seq_start, nlm_live_rows(x, args->q), &batch));
    const int64_t heads = args->q->shape[1], groups = args->k->shape[1], n_tokens = batch.n_tokens;
    const nlm_kit_range rows = nlm_kit_slice(x, n_tokens * heads, 1), keys = nlm_kit_slice(x, n_tokens * groups, 1);
    for (int64_t i = rows.from; i < rows.to; i++) {
        const int64_t t = i / heads, h = i % heads;
        *row_product(x, args, t, h) =
            nlm_scalar_dot(nlm_kit_at2(args->dy, t, h), nlm_kit_at2(args->y, t, h), args->q->shape[2]);
    }
    NLM_KIT_TRY(x->barrier(x));
    for (int64_t i = rows.from; i < rows.to; i++) {
        const int64_t t = row_of_turn(i / heads, n_tokens);
        const int64_t first = batch.seq_start[nlm_cpu_sequence_of(&batch, t, 0)], in_window = t - args->window + 1;
        const nlm_kit_range seen = {args->window > 0 && in_window > first ? in_window : first, t + 1};
        query_gradient(x, args, seen, t, i % heads);
    }
    for (int64_t i = keys.from; i < keys.to; i++) {
        const int64_t j = row_of_turn(i / groups, n_tokens), in_window = j + args->window;
        const int64_t end = batch.seq_start[nlm_cpu_sequence_of(&batch, j, 0) + 1];
        const nlm_kit_range seeing = {j, args->window > 0 && in_window < end ? in_window : end};
        key_value_gradients(x, args, seeing, j, i % groups);
    }
    return NLM_OK;
}
