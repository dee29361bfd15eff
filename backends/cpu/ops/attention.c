#include <math.h>

#include "cpu/decode.h"
#include "cpu/vector/vector.h"

/* Flash attention over the paged cache. A worker takes the query rows (token, head) of one key/value head
 * and a block of tokens of one sequence, and walks the cache in tiles of TILE positions, each converted
 * once for all rows: keys transposed, so that a row's scores are a small GEMM. Tiles begin at multiples of
 * TILE, so that a row's sums depend on its position and window alone.
 * Source: Dao et al. 2022; Milakov & Gimelshein 2018 (online softmax). */
#define TILE       64
#define BLOCK_ROWS 96
#define ROWS       6 /* query rows a kernel call takes at most */

typedef struct attention_memory {
    float *keys;     /* [Dp][TILE] */
    float *values;   /* [TILE][Dp] */
    float *q;        /* [rows][Dp], scaled */
    float *sums;     /* [rows][Dp]: sum of p v */
    float *greatest; /* [rows] */
    float *weight;   /* [rows]: sum of p */
} attention_memory;

static int64_t padded(int64_t head) {
    return (head + V_CHUNK * V_LANES - 1) / (V_CHUNK * V_LANES) * (V_CHUNK * V_LANES);
}

static int64_t block_rows(int64_t shared) {
    return shared > BLOCK_ROWS ? shared : BLOCK_ROWS;
}

void nlm_vector_attention_needs(const nlm_vector_device *device, const nlm_cpu_dims *dims, uint32_t nth,
                                nlm_caps_v1 *out) {
    (void)device;
    (void)nth;
    const int64_t head = padded(nlm_cpu_dim(dims, 'D'));
    const int64_t rows = block_rows(nlm_cpu_dim(dims, 'H') / nlm_cpu_dim(dims, 'G'));
    out->scratch_bytes = (uint64_t)(2 * TILE * head + rows * (2 * head + 2)) * sizeof(float);
}

static attention_memory divide(float *scratch, int64_t head, int64_t rows) {
    attention_memory mem;
    mem.keys = scratch;
    mem.values = mem.keys + TILE * head;
    mem.q = mem.values + TILE * head;
    mem.sums = mem.q + rows * head;
    mem.greatest = mem.sums + rows * head;
    mem.weight = mem.greatest + rows;
    return mem;
}

/* Tokens [from, to) of a sequence and the heads of key/value head g. */
typedef struct attention_block {
    int32_t slot;
    int64_t from, to, g, shared, head;
} attention_block;

/* One row of the cache as f32; out past `size` stays as it is. */
static void load_row(nlm_dtype dtype, const void *row, float *out, int64_t size) {
    if (dtype != NLM_F16) {
        nlm_cpu_decode(dtype, row, out, size);
        return;
    }
    int64_t c = 0;
    for (; c + V_LANES <= size; c += V_LANES) vf_store(out + c, vf_load_f16((const uint16_t *)row + c));
    for (; c < size; c++) out[c] = nlm_cpu_f16_to_f32(((const uint16_t *)row)[c]);
}

/* Positions [from, to) of the tile that begins at `tile` as its rows; the other rows are zeros, as nobody
 * may see them and their memory may hold anything. */
static nlm_status load_positions(const nlm_exec_v1 *x, const nlm_attention_args *args, const nlm_tensor *cache,
                                 const attention_block *b, int64_t tile, int64_t from, int64_t to, float *out) {
    const int64_t page_tokens = cache->shape[2], size = cache->shape[3], head = b->head;
    memset(out, 0, (size_t)((from - tile) * head) * sizeof(float));
    for (int64_t j = from; j < to; j++) {
        int64_t page;
        float *row = out + (j - tile) * head;
        NLM_CPU_TRY(nlm_cpu_page(x, "attention", args->block_table, b->slot, j, page_tokens, cache->shape[0], &page));
        load_row(cache->dtype, nlm_cpu_at3(cache, page, b->g, j % page_tokens), row, size);
        for (int64_t c = size; c < head; c++) row[c] = 0.0f;
    }
    memset(out + (to - tile) * head, 0, (size_t)((tile + TILE - to) * head) * sizeof(float));
    return NLM_OK;
}

/* scores[r][TILE] = q[r] . keys for R rows, each sum in the order of the head's elements. */
#define SCORES(R)                                                                                           \
    static void scores_##R(const float *q, const float *keys, int64_t head, float *scores) {                \
        for (int64_t j = 0; j < TILE; j += V_CHUNK * V_LANES) {                                             \
            vf acc[R][V_CHUNK];                                                                             \
            for (int r = 0; r < R; r++)                                                                     \
                for (int v = 0; v < V_CHUNK; v++) acc[r][v] = vf_zero();                                    \
            for (int64_t d = 0; d < head; d++) {                                                            \
                vf k[V_CHUNK];                                                                              \
                for (int v = 0; v < V_CHUNK; v++) k[v] = vf_load(keys + d * TILE + j + v * V_LANES);        \
                _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) {                                       \
                    const vf value = vf_set1(q[r * head + d]);                                              \
                    _Pragma("GCC unroll 4") for (int v = 0; v < V_CHUNK; v++) acc[r][v] =                   \
                        vf_fma(k[v], value, acc[r][v]);                                                     \
                }                                                                                           \
            }                                                                                               \
            for (int r = 0; r < R; r++)                                                                     \
                for (int v = 0; v < V_CHUNK; v++) vf_store(scores + r * TILE + j + v * V_LANES, acc[r][v]); \
        }                                                                                                   \
    }
SCORES(1)
SCORES(2)
SCORES(4)
SCORES(6)

/* sums[r] = sums[r] * shrink[r] + p[r] . values for R rows, positions in ascending order. */
#define SUMS(R)                                                                                                 \
    static void sums_##R(const float *p, const float *shrink, const float *values, int64_t head, float *sums) { \
        for (int64_t c = 0; c < head; c += V_CHUNK * V_LANES) {                                                 \
            vf acc[R][V_CHUNK];                                                                                 \
            for (int r = 0; r < R; r++)                                                                         \
                for (int v = 0; v < V_CHUNK; v++)                                                               \
                    acc[r][v] = vf_mul(vf_load(sums + r * head + c + v * V_LANES), vf_set1(shrink[r]));         \
            for (int64_t j = 0; j < TILE; j++) {                                                                \
                vf row[V_CHUNK];                                                                                \
                for (int v = 0; v < V_CHUNK; v++) row[v] = vf_load(values + j * head + c + v * V_LANES);        \
                _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) {                                           \
                    const vf weight = vf_set1(p[r * TILE + j]);                                                 \
                    _Pragma("GCC unroll 4") for (int v = 0; v < V_CHUNK; v++) acc[r][v] =                       \
                        vf_fma(row[v], weight, acc[r][v]);                                                      \
                }                                                                                               \
            }                                                                                                   \
            for (int r = 0; r < R; r++)                                                                         \
                for (int v = 0; v < V_CHUNK; v++) vf_store(sums + r * head + c + v * V_LANES, acc[r][v]);       \
        }                                                                                                       \
    }
SUMS(1)
SUMS(2)
SUMS(4)
SUMS(6)

/* Scores outside [from, to) do not count; the others become p = exp(score - greatest). */
static void weigh(float *scores, int64_t from, int64_t to, float *greatest, float *weight, float *shrink) {
    for (int64_t j = 0; j < from; j++) scores[j] = -INFINITY;
    for (int64_t j = to; j < TILE; j++) scores[j] = -INFINITY;
    vf largest = vf_load(scores);
    for (int64_t j = V_LANES; j < TILE; j += V_LANES) largest = vf_max(largest, vf_load(scores + j));
    const float new_greatest = fmaxf(*greatest, vf_hmax(largest));
    float factor[V_LANES];
    vf_store(factor, vf_exp(vf_set1(*greatest - new_greatest)));
    vf total = vf_zero();
    for (int64_t j = 0; j < TILE; j += V_LANES) {
        const vf p = vf_exp(vf_sub(vf_load(scores + j), vf_set1(new_greatest)));
        total = vf_add(total, p);
        vf_store(scores + j, p);
    }
    *shrink = factor[0];
    *weight = *weight * *shrink + vf_sum(total);
    *greatest = new_greatest;
}

/* Takes rows row .. row + count of the block through one tile that begins at position `tile`. */
static void tile_rows(const nlm_attention_args *args, const attention_block *b, const attention_memory *mem,
                      int64_t row, int64_t count, int64_t tile) {
    float scores[ROWS * TILE], shrink[ROWS];
    const float *q = mem->q + row * b->head;
    if (count == 6) scores_6(q, mem->keys, b->head, scores);
    if (count == 4) scores_4(q, mem->keys, b->head, scores);
    if (count == 2) scores_2(q, mem->keys, b->head, scores);
    if (count == 1) scores_1(q, mem->keys, b->head, scores);
    int is_seen = 0;
    for (int64_t r = 0; r < count; r++) {
        const int64_t pos = nlm_cpu_i32(args->pos)[b->from + (row + r) / b->shared];
        const int64_t first = args->window > 0 && pos >= args->window ? pos - args->window + 1 : 0;
        const int64_t from = first > tile ? first - tile : 0, to = pos + 1 - tile;
        shrink[r] = 1.0f;
        if (from < TILE && to > from) {
            weigh(scores + r * TILE, from, to < TILE ? to : TILE, &mem->greatest[row + r], &mem->weight[row + r],
                  &shrink[r]);
            is_seen = 1;
        } else {
            memset(scores + r * TILE, 0, TILE * sizeof(float));
        }
    }
    float *sums = mem->sums + row * b->head;
    if (!is_seen) return;
    if (count == 6) sums_6(scores, shrink, mem->values, b->head, sums);
    if (count == 4) sums_4(scores, shrink, mem->values, b->head, sums);
    if (count == 2) sums_2(scores, shrink, mem->values, b->head, sums);
    if (count == 1) sums_1(scores, shrink, mem->values, b->head, sums);
}

static void begin_rows(const nlm_attention_args *args, const attention_block *b, const attention_memory *mem) {
    const int64_t size = args->q->shape[2];
    for (int64_t row = 0; row < (b->to - b->from) * b->shared; row++) {
        const float *q = nlm_cpu_at2(args->q, b->from + row / b->shared, b->g * b->shared + row % b->shared);
        float *scaled = mem->q + row * b->head;
        for (int64_t c = 0; c < size; c++) scaled[c] = q[c] * args->scale;
        for (int64_t c = size; c < b->head; c++) scaled[c] = 0.0f;
        memset(mem->sums + row * b->head, 0, (size_t)b->head * sizeof(float));
        mem->greatest[row] = -INFINITY;
        mem->weight[row] = 0.0f;
    }
}

static void finish_rows(const nlm_attention_args *args, const attention_block *b, const attention_memory *mem) {
    const int64_t size = args->q->shape[2];
    for (int64_t row = 0; row < (b->to - b->from) * b->shared; row++) {
        const int64_t token = b->from + row / b->shared, h = b->g * b->shared + row % b->shared;
        float *y = nlm_cpu_at2(args->y, token, h);
        const float inverse = 1.0f / mem->weight[row];
        for (int64_t c = 0; c < size; c++) y[c] = mem->sums[row * b->head + c] * inverse;
        if (args->lse) *(float *)nlm_cpu_at2(args->lse, token, h) = mem->greatest[row] + logf(mem->weight[row]);
    }
}

static nlm_status attend(const nlm_exec_v1 *x, const nlm_attention_args *args, const attention_block *b) {
    const attention_memory mem = divide(x->scratch, b->head, block_rows(b->shared));
    const int64_t rows = (b->to - b->from) * b->shared;
    int64_t first = INT64_MAX, last = -1;
    for (int64_t t = b->from; t < b->to; t++) {
        const int64_t pos = nlm_cpu_i32(args->pos)[t];
        const int64_t seen = args->window > 0 && pos >= args->window ? pos - args->window + 1 : 0;
        if (pos < 0)
            return nlm_cpu_fail(x->error, NLM_INVALID_ARGUMENT, "attention", "pos[%lld] is %lld", (long long)t,
                                (long long)pos);
        first = seen < first ? seen : first;
        last = pos > last ? pos : last;
    }
    begin_rows(args, b, &mem);
    for (int64_t tile = first / TILE * TILE; tile <= last; tile += TILE) {
        const int64_t from = first > tile ? first : tile, to = last + 1 < tile + TILE ? last + 1 : tile + TILE;
        /* the keys pass through the values' place on their way to be transposed */
        NLM_CPU_TRY(load_positions(x, args, args->k_cache, b, tile, from, to, mem.values));
        for (int64_t j = 0; j < TILE; j += V_LANES) {
            for (int64_t d = 0; d < b->head; d += V_LANES)
                v_transpose(mem.values + j * b->head + d, b->head, mem.keys + d * TILE + j, TILE);
        }
        NLM_CPU_TRY(load_positions(x, args, args->v_cache, b, tile, from, to, mem.values));
        for (int64_t row = 0; row < rows;) {
            const int64_t left = rows - row, take = left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            tile_rows(args, b, &mem, row, take, tile);
            row += take;
        }
    }
    finish_rows(args, b, &mem);
    return NLM_OK;
}

/* Slices (sequence, key/value head, block of tokens), dealt out in turn: later blocks see more positions. */
nlm_status nlm_vector_attention(const nlm_exec_v1 *x, const nlm_attention_args *args) {
    const int64_t groups = args->k_cache->shape[1], shared = args->q->shape[1] / groups;
    const int64_t block_tokens = block_rows(shared) / shared;
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "attention", args->seq_start, args->slot, nlm_live_rows(x, args->q),
                                   args->block_table->shape[0], &batch));
    uint32_t turn = 0;
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        for (int64_t from = batch.seq_start[s]; from < batch.seq_start[s + 1]; from += block_tokens) {
            const int64_t left = batch.seq_start[s + 1] - from;
            for (int64_t g = 0; g < groups; g++) {
                if (turn++ % x->nth != x->ith) continue;
                const attention_block block = {batch.slot[s],
                                               from,
                                               from + (left < block_tokens ? left : block_tokens),
                                               g,
                                               shared,
                                               padded(args->q->shape[2])};
                NLM_CPU_TRY(attend(x, args, &block));
            }
        }
    }
    return NLM_OK;
}
