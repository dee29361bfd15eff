/* rope, kv_append, attention with and without a cache, and qkv_rope_append that is made of them. */
#include "oracle_impl.h"

typedef struct rotation {
    double base, scale;
    int32_t n_rot;
    uint32_t flags;
    const nlm_tensor *factors;
} rotation;

/* Element c of a head at a position, rotated; *out_scale receives |a| + |b| of its pair. head(user, c) is
 * the head before. */
typedef double (*head_fn)(const void *user, int64_t c);

static double rotated(const rotation *r, double pos, int64_t c, head_fn head, const void *user, double *out_scale) {
    *out_scale = 0;
    if (c >= r->n_rot) return head(user, c);
    const int64_t pairs = r->n_rot / 2;
    const bool half_split = (r->flags & NLM_ROPE_HALF_SPLIT) != 0;
    const int64_t pair = half_split ? c % pairs : c / 2;
    const bool is_first = half_split ? c < pairs : c % 2 == 0;
    double angle = pos * r->scale * pow(r->base, -2.0 * (double)pair / r->n_rot);
    if (r->factors) angle /= oracle_at(r->factors, pair, 0, 0, 0);
    if (r->flags & NLM_ROPE_INVERSE) angle = -angle;
    const double first = head(user, half_split ? pair : 2 * pair);
    const double second = head(user, half_split ? pair + pairs : 2 * pair + 1);
    *out_scale = fabs(first) + fabs(second);
    return is_first ? first * cos(angle) - second * sin(angle) : first * sin(angle) + second * cos(angle);
}

typedef struct tensor_head {
    const nlm_tensor *t;
    int64_t row, head;
} tensor_head;

static double tensor_head_at(const void *user, int64_t c) {
    const tensor_head *h = user;
    return oracle_at(h->t, h->row, h->head, c, 0);
}

ORACLE_OP(rope) {
    oracle_result *y = oracle_output(run, a->y);
    const rotation r = {(double)a->freq_base, (double)a->freq_scale, a->n_rot, a->flags, a->freq_factors};
    const int64_t heads = a->x->shape[1], size = a->x->shape[2];
    for (int64_t i = 0; i < run->live_rows * heads * size; i++) {
        const tensor_head head = {a->x, i / size / heads, i / size % heads};
        double scale;
        const double value =
            rotated(&r, oracle_at(a->pos, head.row, 0, 0, 0), i % size, tensor_head_at, &head, &scale);
        oracle_set(y, i, value, scale);
    }
}

/* The number in row-major order of [page of pos, g, pos % B, c] in the slot's cache. */
static int64_t cache_index(const nlm_tensor *cache, const nlm_tensor *block_table, int64_t slot, int64_t pos,
                           int64_t g, int64_t c) {
    const int64_t page_tokens = cache->shape[2];
    const int64_t page = (int64_t)oracle_at(block_table, slot, pos / page_tokens, 0, 0);
    return ((page * cache->shape[1] + g) * page_tokens + pos % page_tokens) * cache->shape[3] + c;
}

/* A head's row goes into the cache: f32 keeps it, f16 rounds, q8_0 has a step of max|x|/127 a block.
 * errors[c] is how far off values[c] may be before. */
static void store(oracle_result *cache, int64_t index, const double *values, const double *errors, int64_t size) {
    const int32_t dtype = cache->tensor->dtype;
    for (int64_t c = 0; c < size; c++) {
        double bound = errors[c];
        if (dtype == NLM_F16) bound += fabs(values[c]) * 0x1p-11 + 0x1p-25;
        if (dtype == NLM_Q8_0) {
            double greatest = 0;
            for (int64_t i = c / 32 * 32; i < c / 32 * 32 + 32; i++) greatest = fmax(greatest, fabs(values[i]));
            bound += greatest * (0.505 / 127 + 0x1p-11) + 0x1p-24;
        }
        oracle_set(cache, index + c, values[c], bound);
    }
}

static oracle_result *cache_result(oracle_run *run, const nlm_tensor *cache) {
    oracle_result *result = oracle_state(run, cache);
    result->is_absolute = true;
    return result;
}

ORACLE_OP(kv_append) {
    const nlm_tensor *from[2] = {a->k, a->v};
    oracle_result *caches[2] = {cache_result(run, a->k_cache), cache_result(run, a->v_cache)};
    const int64_t groups = a->k->shape[1], size = a->k->shape[2];
    double *values = calloc((size_t)size * 2 + 1, sizeof *values), *zeros = values + size;
    if (!values) run->has_failed = true;
    for (int64_t s = 0; values && s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t i = q.from * groups * 2; i < q.to * groups * 2; i++) {
            const int64_t which = i % 2, g = i / 2 % groups, t = i / 2 / groups;
            for (int64_t c = 0; c < size; c++) values[c] = oracle_at(from[which], t, g, c, 0);
            const int64_t pos = (int64_t)oracle_at(a->pos, t, 0, 0, 0);
            store(caches[which], cache_index(a->k_cache, a->block_table, q.slot, pos, g, 0), values, zeros, size);
        }
    }
    free(values);
}

/* What one row of attention sees for one head: positions [first, last] of a slot of the cache, or rows of the batch.
 */
typedef struct seen {
    const nlm_tensor *q, *keys;
    const double *k, *v;           /* every element, in row-major order */
    const nlm_tensor *block_table; /* NULL: k and v are [T, G, D] */
    int64_t slot, first, last;
    float scale;
} seen;

static double *open_tensor(oracle_run *run, const nlm_tensor *t) {
    const int64_t count = oracle_count(t);
    double *opened = calloc((size_t)count + 1, sizeof *opened);
    if (!opened) run->has_failed = true;
    for (int64_t i = 0; opened && i < count; i++) opened[i] = oracle_element(t, i);
    return opened;
}

/* Where the head of k or v at position j stands. */
static int64_t seen_index(const seen *in, int64_t j, int64_t g) {
    if (in->block_table) return cache_index(in->keys, in->block_table, in->slot, j, g, 0);
    return (j * in->keys->shape[1] + g) * in->keys->shape[2];
}

/* Values over the positions, and the log of the sum. */
static void attend(oracle_run *run, const seen *in, int64_t t, int64_t h, oracle_result *y, oracle_result *lse) {
    const int64_t heads = in->q->shape[1], size = in->q->shape[2], g = h / (heads / in->keys->shape[1]);
    const int64_t count = in->last - in->first + 1;
    double *query = calloc((size_t)(3 * size + count), sizeof *query), *sums = query + size,
           *magnitudes = sums + size, *scores = magnitudes + size;
    double greatest = -INFINITY, total = 0, score_scale = 1;
    if (!query) {
        run->has_failed = true;
        return;
    }
    for (int64_t c = 0; c < size; c++) query[c] = oracle_at(in->q, t, h, c, 0);
    for (int64_t j = 0; j < count; j++) {
        double sum = 0, magnitude = 0;
        const double *row = in->k + seen_index(in, in->first + j, g);
        for (int64_t c = 0; c < size; c++) {
            sum += query[c] * row[c];
            magnitude += fabs(query[c] * row[c]);
        }
        scores[j] = (double)in->scale * sum;
        greatest = fmax(greatest, scores[j]);
        score_scale = fmax(score_scale, 1 + fabs((double)in->scale) * magnitude);
    }
    for (int64_t j = 0; j < count; j++) total += scores[j] = exp(scores[j] - greatest);
    for (int64_t j = 0; j < count; j++) {
        const double *row = in->v + seen_index(in, in->first + j, g);
        for (int64_t c = 0; c < size; c++) {
            sums[c] += scores[j] / total * row[c];
            magnitudes[c] += scores[j] / total * fabs(row[c]);
        }
    }
    for (int64_t c = 0; c < size; c++)
        oracle_set(y, (t * heads + h) * size + c, sums[c], magnitudes[c] * score_scale);
    oracle_set(lse, t * heads + h, greatest + log(total), score_scale + fabs(greatest) + log(total));
    free(query);
}

/* The first of the positions up to `last` that a window leaves. */
static int64_t first_seen(int64_t begin, int64_t last, int32_t window) {
    return window > 0 && last - window + 1 > begin ? last - window + 1 : begin;
}

ORACLE_OP(attention) {
    oracle_result *y = oracle_output(run, a->y), *lse = oracle_output(run, a->lse);
    /* Queries and probabilities may both be rounded. */
    y->rounding = lse->rounding = 2 * oracle_rounding(run, a->k_cache->dtype);
    y->terms = lse->terms = a->q->shape[2];
    double *k = open_tensor(run, a->k_cache), *v = open_tensor(run, a->v_cache);
    for (int64_t s = 0; k && v && s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t t = q.from; t < q.to; t++) {
            const int64_t pos = (int64_t)oracle_at(a->pos, t, 0, 0, 0);
            const seen in = {a->q, a->k_cache, k, v, a->block_table, q.slot, first_seen(0, pos, a->window),
                             pos,  a->scale};
            for (int64_t h = 0; h < a->q->shape[1]; h++) attend(run, &in, t, h, y, lse);
        }
    }
    free(k);
    free(v);
}

ORACLE_OP(attention_plain) {
    oracle_result *y = oracle_output(run, a->y), *lse = oracle_output(run, a->lse);
    y->terms = lse->terms = a->q->shape[2];
    double *k = open_tensor(run, a->k), *v = open_tensor(run, a->v);
    for (int64_t s = 0; k && v && s + 1 < a->seq_start->shape[0]; s++) {
        const int64_t from = (int64_t)oracle_at(a->seq_start, s, 0, 0, 0);
        for (int64_t t = from; t < (int64_t)oracle_at(a->seq_start, s + 1, 0, 0, 0); t++) {
            const seen in = {a->q, a->k, k, v, NULL, 0, first_seen(from, t, a->window), t, a->scale};
            for (int64_t h = 0; h < a->q->shape[1]; h++) attend(run, &in, t, h, y, lse);
        }
    }
    free(k);
    free(v);
}

/* A head of x w^T + b. */
typedef struct projected_head {
    const oracle_factors *factors;
    const nlm_tensor *bias;
    int64_t row, first;
} projected_head;

static oracle_product projected(const projected_head *h, int64_t c) {
    oracle_product sum = oracle_multiply(h->factors, h->row, h->first + c);
    const double bias = h->bias ? oracle_at(h->bias, h->first + c, 0, 0, 0) : 0;
    sum.value += bias;
    sum.scale += fabs(bias);
    return sum;
}
static double projected_at(const void *user, int64_t c) {
    return projected(user, c).value;
}

/* values[c] and the scale of the error of each: that of the products of a pair, for a rotated head. */
static void project(const projected_head *head, const rotation *r, double pos, int64_t size, double *values,
                    double *scales) {
    double greatest = 0, unused;
    for (int64_t c = 0; c < size; c++) greatest = fmax(greatest, projected(head, c).scale);
    for (int64_t c = 0; c < size; c++) {
        values[c] = r ? rotated(r, pos, c, projected_at, head, &unused) : projected_at(head, c);
        scales[c] = 2 * greatest + 1e-30;
    }
}

static void to_errors(const oracle_run *run, double *scales, int64_t size, const nlm_tensor *w) {
    for (int64_t c = 0; c < size; c++)
        scales[c] = oracle_bound(scales[c], oracle_rounding(run, w->dtype), w->shape[1]);
}

ORACLE_OP(qkv_rope_append) {
    oracle_result *q_result = oracle_output(run, a->q);
    oracle_result *k_result = cache_result(run, a->k_cache), *v_result = cache_result(run, a->v_cache);
    const rotation r = {(double)a->freq_base, (double)a->freq_scale, a->n_rot, a->flags, a->freq_factors};
    const int64_t heads = a->q->shape[1], size = a->q->shape[2], groups = a->k_cache->shape[1];
    double *values = calloc((size_t)size * 2 + 1, sizeof *values), *scales = values + size;
    oracle_factors of_q = oracle_open(run, a->x, a->w_q), of_k = oracle_open(run, a->x, a->w_k),
                   of_v = oracle_open(run, a->x, a->w_v);
    if (!values) run->has_failed = true;
    q_result->rounding = oracle_rounding(run, a->w_q->dtype);
    q_result->terms = a->x->shape[1];
    for (int64_t s = 0; !run->has_failed && s < run->live_seqs; s++) {
        const oracle_sequence seq = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t t = seq.from; t < seq.to; t++) {
            const double pos = oracle_at(a->pos, t, 0, 0, 0);
            for (int64_t h = 0; h < heads; h++) {
                const projected_head head = {&of_q, a->b_q, t, h * size};
                project(&head, &r, pos, size, values, scales);
                for (int64_t c = 0; c < size; c++)
                    oracle_set(q_result, (t * heads + h) * size + c, values[c], scales[c]);
            }
            for (int64_t g = 0; g < groups; g++) {
                const int64_t at = cache_index(a->k_cache, a->block_table, seq.slot, (int64_t)pos, g, 0);
                const projected_head k = {&of_k, a->b_k, t, g * size}, v = {&of_v, a->b_v, t, g * size};
                project(&k, &r, pos, size, values, scales);
                to_errors(run, scales, size, a->w_k);
                store(k_result, at, values, scales, size);
                project(&v, NULL, pos, size, values, scales);
                to_errors(run, scales, size, a->w_k);
                store(v_result, at, values, scales, size);
            }
        }
    }
    oracle_close(&of_q);
    oracle_close(&of_k);
    oracle_close(&of_v);
    free(values);
}
