/* Flash attention over the keys and values of the batch itself, for training. A block is some query rows, (token,
 * head) pairs of one sequence and key/value head; it walks its sequence in tiles. Positions are counted from the
 * sequence's first row: a row's bits depend on its place and the window alone. */
#include "cpu/vector/attention.h"
#include "cpu/vector/vector.h"

#define TILE ATTENTION_TILE
#define ROWS 64 /* of a block */

/* A worker's block, and what it has for it in its scratch. */
typedef struct plain_block {
    const nlm_attention_plain_args *args;
    int64_t begin, g, shared; /* the sequence's first row, the key/value head and how many heads share it */
    int64_t pair, rows;       /* the first (token, head) pair of the sequence, and how many */
    nlm_attention_tile tile;
    nlm_attention_state state;
    float *q, *zeros;
    int32_t *first, *end; /* [ROWS]: the positions each row sees */
} plain_block;

void nlm_vector_attention_plain_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t head = nlm_vector_attention_padded(nlm_dim(dims, 'D'));
    out->scratch_bytes = (uint64_t)(2 * TILE * head + 2 * ROWS * head + head + 4 * ROWS) * sizeof(float);
}

static plain_block divide(const nlm_attention_plain_args *args, float *scratch) {
    const int64_t size = args->q->shape[2], head = nlm_vector_attention_padded(size);
    plain_block b = {.args = args, .shared = args->q->shape[1] / args->k->shape[1]};
    b.tile = (nlm_attention_tile){.size = size, .head = head, .keys = scratch, .values = scratch + TILE * head};
    b.q = b.tile.values + TILE * head;
    b.state.sums = b.q + ROWS * head;
    b.zeros = b.state.sums + ROWS * head;
    b.state.greatest = b.zeros + head;
    b.state.weight = b.state.greatest + ROWS;
    b.first = (int32_t *)(void *)(b.state.weight + ROWS);
    b.end = b.first + ROWS;
    memset(b.zeros, 0, (size_t)head * sizeof(float));
    return b;
}

static void begin_rows(const plain_block *b) {
    const nlm_attention_plain_args *args = b->args;
    for (int64_t row = 0; row < b->rows; row++) {
        const int64_t token = (b->pair + row) / b->shared, h = b->g * b->shared + (b->pair + row) % b->shared;
        const int is_cut = args->window > 0 && token >= args->window;
        b->first[row] = (int32_t)(is_cut ? token - args->window + 1 : 0);
        b->end[row] = (int32_t)token + 1;
        nlm_vector_attention_scale_row(nlm_kit_at2(args->q, b->begin + token, h), b->tile.size, args->scale,
                                       b->q + row * b->tile.head);
    }
    nlm_vector_attention_clear(&b->state, b->rows, b->tile.head);
}

static void find_rows(const plain_block *b, int64_t tile, int64_t from, int64_t to, nlm_attention_rows *out) {
    out->tile = tile;
    out->from = from > tile ? from : tile;
    out->to = to < tile + TILE ? to : tile + TILE;
    for (int64_t j = tile; j < tile + TILE; j++) {
        const int is_there = j >= out->from && j < out->to;
        out->k[j - tile] = is_there ? nlm_kit_at2(b->args->k, b->begin + j, b->g) : b->zeros;
        out->v[j - tile] = is_there ? nlm_kit_at2(b->args->v, b->begin + j, b->g) : b->zeros;
    }
}

static void attend(plain_block *b) {
    const nlm_attention_plain_args *args = b->args;
    begin_rows(b);
    const int64_t from = b->first[0], to = b->end[b->rows - 1];
    for (int64_t tile = from / TILE * TILE; tile < to; tile += TILE) {
        nlm_attention_rows rows;
        find_rows(b, tile, from, to, &rows);
        b->tile.next_k = rows.k;
        b->tile.next_v = rows.v;
        nlm_vector_attention_load_keys(&rows, NLM_F32, &b->tile);
        nlm_vector_attention_load_values(&rows, NLM_F32, &b->tile);
        nlm_attention_group group = {.q = b->q, .first = b->first, .end = b->end};
        for (; group.row < b->rows; group.row += group.count) {
            group.count = nlm_vector_attention_group_size(b->rows - group.row);
            nlm_vector_attention_take(&group, &rows, &b->tile, &b->state);
        }
    }
    for (int64_t row = 0; row < b->rows; row++) {
        const int64_t token = b->begin + (b->pair + row) / b->shared;
        const int64_t h = b->g * b->shared + (b->pair + row) % b->shared;
        float *lse = args->lse ? nlm_kit_at2(args->lse, token, h) : NULL;
        nlm_vector_attention_finish_row(&b->state, row, b->tile.size, nlm_kit_at2(args->y, token, h), lse);
    }
}

/* Workers take blocks in turn: neighbours see about as much. */
nlm_status nlm_vector_attention_plain(const nlm_exec_v1 *x, const nlm_attention_plain_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_packed_read(x, "attention_plain", args->seq_start, nlm_live_rows(x, args->q), &batch));
    plain_block b = divide(args, x->scratch);
    int64_t turn = 0;
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        b.begin = batch.seq_start[s];
        const int64_t pairs = (batch.seq_start[s + 1] - b.begin) * b.shared;
        for (b.pair = 0; b.pair < pairs; b.pair += ROWS) {
            b.rows = pairs - b.pair < ROWS ? pairs - b.pair : ROWS;
            for (b.g = 0; b.g < args->k->shape[1]; b.g++) {
                if (turn++ % x->nth == x->ith) attend(&b);
            }
        }
    }
    return NLM_OK;
}
