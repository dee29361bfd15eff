/* The gradients of attention over the batch's own keys and values, in tiles as ops/attention_plain.c takes them.
 *
 * A worker has all of a sequence and key/value head: dk and dv, which many rows add to, stand in the workspace until
 * its last block of query rows. In a tile the lanes are query rows: p and e of a key are then rows of a matrix, with
 * which dv and dk are products; of dq's the turned one is a factor. Positions are counted from the sequence's first
 * row, so that no other sequence tells in any bit. */
#include "cpu/vector/attention.h"
#include "cpu/vector/vector.h"

#define TILE ATTENTION_TILE

/* A sequence and key/value head, a block of up to TILE of its query rows, (token, head) pairs, and a tile of keys. */
typedef struct back_block {
    const nlm_attention_plain_bwd_args *args;
    int64_t begin, g, shared; /* the sequence's first row, the key/value head and how many heads share it */
    int64_t pair, rows;       /* the block's first pair, and how many */
    int64_t size, head;       /* elements of a head, and the same padded */
    float *dk, *dv;           /* of the sequence and head: [tokens][head] */
    /* the worker's own: */
    nlm_attention_tile q, dy, k, v; /* query rows as keys and as values; keys and values as values */
    float *p, *e;                   /* [TILE keys][TILE rows]: scores, then p; dy . v, then e */
    float *turned;                  /* e as [TILE rows][TILE keys] */
    float *dq;                      /* [TILE rows][head] */
    float *lse_log2, *dyy;          /* [TILE rows]: lse times log2(e), dy . y */
    float *zeros;
} back_block;

void nlm_vector_attention_plain_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t head = nlm_vector_attention_padded(nlm_dim(dims, 'D'));
    out->workspace_bytes = (uint64_t)(2 * nlm_dim(dims, 'T') * nlm_dim(dims, 'G') * head) * sizeof(float);
    out->scratch_bytes = (uint64_t)(7 * TILE * head + 3 * TILE * TILE + 2 * TILE + head) * sizeof(float);
}

static float *take(float **memory, int64_t floats) {
    float *taken = *memory;
    *memory += floats;
    return taken;
}

static back_block divide(const nlm_attention_plain_bwd_args *args, float *scratch) {
    back_block b = {.args = args, .shared = args->q->shape[1] / args->k->shape[1], .size = args->q->shape[2]};
    b.head = nlm_vector_attention_padded(b.size);
    b.q = b.dy = b.k = b.v = (nlm_attention_tile){.size = b.size, .head = b.head};
    b.q.keys = take(&scratch, TILE * b.head);
    b.q.values = take(&scratch, TILE * b.head);
    b.dy.keys = take(&scratch, TILE * b.head);
    b.dy.values = take(&scratch, TILE * b.head);
    b.k.values = take(&scratch, TILE * b.head);
    b.v.values = take(&scratch, TILE * b.head);
    b.dq = take(&scratch, TILE * b.head);
    b.p = take(&scratch, TILE * TILE);
    b.e = take(&scratch, TILE * TILE);
    b.turned = take(&scratch, TILE * TILE);
    b.lse_log2 = take(&scratch, TILE);
    b.dyy = take(&scratch, TILE);
    b.zeros = take(&scratch, b.head);
    memset(b.zeros, 0, (size_t)b.head * sizeof(float));
    return b;
}

/* Row `row` of the block, or the key at position `row` of the sequence, of a tensor. */
static float *query_row(const back_block *b, const nlm_tensor *t, int64_t row) {
    const int64_t pair = b->pair + row;
    return nlm_kit_at2(t, b->begin + pair / b->shared, b->g * b->shared + pair % b->shared);
}
static float *key_row(const back_block *b, const nlm_tensor *t, int64_t position) {
    return nlm_kit_at2(t, b->begin + position, b->g);
}

static float row_product(const float *a, const float *b, int64_t size) {
    vf sum = vf_zero();
    for (int64_t c = 0; c < size; c += V_LANES) {
        const int n = (int)(size - c < V_LANES ? size - c : V_LANES);
        sum = vf_fma(vf_load_n(a + c, n), vf_load_n(b + c, n), sum);
    }
    return vf_sum(sum);
}

/* The block's rows of q or dy, turned and as they are. */
static void load_query_rows(const back_block *b, const nlm_tensor *t, nlm_attention_tile *tile) {
    nlm_attention_rows rows = {.from = 0, .to = b->rows};
    for (int64_t r = 0; r < TILE; r++) rows.k[r] = rows.v[r] = r < b->rows ? query_row(b, t, r) : b->zeros;
    tile->next_k = rows.k;
    tile->next_v = rows.v;
    nlm_vector_attention_load_keys(&rows, NLM_F32, tile);
    nlm_vector_attention_load_values(&rows, NLM_F32, tile);
}

/* Keys or values [from, to) of the tile of keys. */
static void load_key_rows(const back_block *b, const nlm_tensor *t, nlm_kit_range keys, int64_t tile_at,
                          nlm_attention_tile *tile) {
    nlm_attention_rows rows = {.tile = tile_at, .from = keys.from, .to = keys.to};
    for (int64_t j = keys.from; j < keys.to; j++) rows.v[j - tile_at] = key_row(b, t, j);
    tile->next_v = rows.v;
    nlm_vector_attention_load_values(&rows, NLM_F32, tile);
}

/* The rows of the block that see position j. */
static nlm_kit_range seeing(const back_block *b, int64_t j) {
    const int64_t from = j * b->shared - b->pair, to = (j + b->args->window) * b->shared - b->pair;
    nlm_kit_range rows = {from > 0 ? from : 0, b->args->window > 0 && to < b->rows ? to : b->rows};
    if (rows.from > rows.to) rows.from = rows.to = 0;
    return rows;
}

/* Scores and dy . v of position j become p and e; 0 where a row does not see it. */
static void weigh_key(const back_block *b, int64_t j, float *p, float *e) {
    const nlm_kit_range rows = seeing(b, j);
    const vf scale = vf_set1((float)((double)b->args->scale * ATTENTION_LOG2E));
    for (int64_t r = rows.from / V_LANES * V_LANES; r < rows.to; r += V_LANES) {
        const vf weight = vf_exp2(vf_fma(vf_load(p + r), scale, vf_neg(vf_load(b->lse_log2 + r))));
        vf_store(p + r, weight);
        vf_store(e + r, vf_mul(weight, vf_sub(vf_load(e + r), vf_load(b->dyy + r))));
    }
    for (int64_t r = 0; r < rows.from; r++) p[r] = e[r] = 0.0f;
    for (int64_t r = rows.to; r < TILE; r++) p[r] = e[r] = 0.0f;
}

/* p and e of `count` keys from `key` of the tile, and what their dv and dk get of them. */
static void take_keys(const back_block *b, int64_t tile_at, int64_t key, int64_t count) {
    float *p = b->p + key * TILE, *e = b->e + key * TILE;
    nlm_vector_attention_products(count, b->k.values + key * b->head, &b->q, b->rows, p);
    nlm_vector_attention_products(count, b->v.values + key * b->head, &b->dy, b->rows, e);
    for (int64_t i = 0; i < count; i++) weigh_key(b, tile_at + key + i, p + i * TILE, e + i * TILE);
    const int64_t from = seeing(b, tile_at + key).from, to = seeing(b, tile_at + key + count - 1).to;
    nlm_vector_attention_add(count, p, &b->dy, from, to, b->dv + (tile_at + key) * b->head);
    nlm_vector_attention_add(count, e, &b->q, from, to, b->dk + (tile_at + key) * b->head);
}

static void turn(const float *from, float *to) {
    for (int j = 0; j < TILE; j += V_LANES) {
        for (int r = 0; r < TILE; r += V_LANES) {
            vf in[V_LANES];
            for (int i = 0; i < V_LANES; i++) in[i] = vf_load(from + (j + i) * TILE + r);
            v_transpose(in, to + r * TILE + j, TILE);
        }
    }
}

/* Keys [from, to) of a tile and the block's rows. */
static void take_tile(back_block *b, int64_t tile_at, nlm_kit_range keys) {
    load_key_rows(b, b->args->k, keys, tile_at, &b->k);
    load_key_rows(b, b->args->v, keys, tile_at, &b->v);
    const nlm_kit_range in_tile = {keys.from - tile_at, keys.to - tile_at};
    for (int64_t key = in_tile.from; key < in_tile.to;) {
        const int64_t count = nlm_vector_attention_group_size(in_tile.to - key);
        take_keys(b, tile_at, key, count);
        key += count;
    }
    turn(b->e, b->turned);
    for (int64_t row = 0; row < b->rows;) {
        const int64_t count = nlm_vector_attention_group_size(b->rows - row);
        nlm_vector_attention_add(count, b->turned + row * TILE, &b->k, in_tile.from, in_tile.to,
                                 b->dq + row * b->head);
        row += count;
    }
}

static void store_scaled(const float *from, float factor, int64_t size, float *to) {
    for (int64_t c = 0; c < size; c += V_LANES)
        vf_store_n(to + c, vf_mul(vf_load(from + c), vf_set1(factor)),
                   (int)(size - c < V_LANES ? size - c : V_LANES));
}

static void take_block(back_block *b) {
    const nlm_attention_plain_bwd_args *args = b->args;
    const int64_t first = b->pair / b->shared, end = (b->pair + b->rows - 1) / b->shared + 1;
    const int64_t from = args->window > 0 && first >= args->window ? first - args->window + 1 : 0;
    load_query_rows(b, args->q, &b->q);
    load_query_rows(b, args->dy, &b->dy);
    memset(b->dq, 0, (size_t)(TILE * b->head) * sizeof(float));
    for (int64_t r = 0; r < TILE; r++) {
        const int is_row = r < b->rows;
        b->lse_log2[r] = is_row ? *query_row(b, args->lse, r) * (float)ATTENTION_LOG2E : 0.0f;
        b->dyy[r] = is_row ? row_product(query_row(b, args->dy, r), query_row(b, args->y, r), b->size) : 0.0f;
    }
    for (int64_t tile = from / TILE * TILE; tile < end; tile += TILE) {
        const nlm_kit_range keys = {from > tile ? from : tile, end < tile + TILE ? end : tile + TILE};
        take_tile(b, tile, keys);
    }
    for (int64_t r = 0; r < b->rows; r++)
        store_scaled(b->dq + r * b->head, args->scale, b->size, query_row(b, args->dq, r));
}

/* A sequence of `tokens` rows and one key/value head. */
static void take_sequence(back_block *b, int64_t tokens) {
    const size_t bytes = (size_t)(tokens * b->head) * sizeof(float);
    if (tokens == 0) return; /* there may be no memory then */
    memset(b->dk, 0, bytes);
    memset(b->dv, 0, bytes);
    for (b->pair = 0; b->pair < tokens * b->shared; b->pair += TILE) {
        const int64_t left = tokens * b->shared - b->pair;
        b->rows = left < TILE ? left : TILE;
        take_block(b);
    }
    for (int64_t j = 0; j < tokens; j++) {
        store_scaled(b->dk + j * b->head, b->args->scale, b->size, key_row(b, b->args->dk, j));
        store_scaled(b->dv + j * b->head, 1.0f, b->size, key_row(b, b->args->dv, j));
    }
}

/* Workers take (sequence, key/value head) pairs in turn: each element has one owner. */
nlm_status nlm_vector_attention_plain_bwd(const nlm_exec_v1 *x, const nlm_attention_plain_bwd_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_packed_read(x, "attention_plain_bwd", args->seq_start, nlm_live_rows(x, args->q), &batch));
    back_block b = divide(args, x->scratch);
    const int64_t groups = args->k->shape[1], rows = args->q->shape[0];
    int64_t number = 0;
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        b.begin = batch.seq_start[s];
        for (b.g = 0; b.g < groups; b.g++) {
            if (number++ % x->nth != x->ith) continue;
            b.dk = (float *)x->workspace + (b.g * rows + b.begin) * b.head;
            b.dv = b.dk + groups * rows * b.head;
            take_sequence(&b, batch.seq_start[s + 1] - b.begin);
        }
    }
    return NLM_OK;
}
