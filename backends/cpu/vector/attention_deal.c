/* Which worker takes which chunk of which block of query rows, found by each from the batch alone. */
#include "cpu/vector/attention_deal.h"

#include "cpu/vector/attention.h"
#include "cpu/view.h"

#define TILE       ATTENTION_TILE
#define CHUNK      ATTENTION_CHUNK
#define BLOCK_ROWS 96
#define SPLIT_ROWS 32
#define LOAD_ROWS  8 /* loading a tile costs about as much as taking so many rows through it */

static int64_t greater(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t lesser(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t nlm_vector_attention_block_rows(int64_t shared) {
    return greater(shared, BLOCK_ROWS);
}

int64_t nlm_vector_attention_split_rows(int64_t shared) {
    return greater(shared, SPLIT_ROWS);
}

/* Two workers meet in each. */
int64_t nlm_vector_attention_most_split(int64_t blocks, int64_t positions, uint32_t nth) {
    return positions > CHUNK ? lesser(blocks, (int64_t)nth - 1) : 0;
}

nlm_attention_seen nlm_vector_attention_seen(const nlm_attention_deal *deal, int64_t t) {
    const int64_t pos = nlm_cpu_i32(deal->args->pos)[t], window = deal->args->window;
    return (nlm_attention_seen){window > 0 ? greater(0, pos - window + 1) : 0, pos + 1};
}

static int64_t tiles_of(const nlm_attention_block *b) {
    return (b->end + TILE - 1) / TILE - b->first / TILE;
}

static uint64_t cost_of(const nlm_attention_block *b, int64_t tiles) {
    return (uint64_t)(tiles * (b->rows + LOAD_ROWS));
}

/* The worker that has what begins where so much of the cost is done. */
static uint32_t owner_of(const nlm_attention_deal *deal, uint64_t cost) {
    return (uint32_t)(cost * deal->x->nth / deal->cost);
}

static uint32_t owner_of_chunk(const nlm_attention_deal *deal, const nlm_attention_walk *walk,
                               const nlm_attention_block *b, int64_t chunk) {
    const int64_t tile = greater(chunk * CHUNK / TILE, b->first / TILE);
    return owner_of(deal, walk->cost + cost_of(b, tile - b->first / TILE));
}

/* A worker has the chunks that begin in its share of the cost. */
static void share(const nlm_attention_deal *deal, nlm_attention_walk *walk, nlm_attention_block *b) {
    const uint32_t ith = deal->x->ith, owner = owner_of(deal, walk->cost);
    const int64_t from = b->first / CHUNK, to = nlm_vector_attention_chunks(b->end);
    b->split = -1;
    b->chunk_from = from;
    b->chunk_to = owner == ith ? to : from;
    if (b->rows > nlm_vector_attention_split_rows(deal->shared)) return;
    if (owner_of_chunk(deal, walk, b, to - 1) == owner) return;
    b->split = walk->n_split++;
    while (b->chunk_from < to && owner_of_chunk(deal, walk, b, b->chunk_from) < ith) b->chunk_from++;
    b->chunk_to = b->chunk_from;
    while (b->chunk_to < to && owner_of_chunk(deal, walk, b, b->chunk_to) == ith) b->chunk_to++;
}

/* To the first token that is left; 0 at the end. */
static int find_token(const nlm_attention_deal *deal, nlm_attention_walk *walk) {
    const nlm_cpu_batch *batch = &deal->batch;
    while (walk->sequence < batch->n_seqs && walk->token >= batch->seq_start[walk->sequence + 1]) {
        if (++walk->g == deal->groups) {
            walk->g = 0;
            walk->sequence++;
        }
        walk->token = batch->seq_start[walk->sequence];
    }
    return walk->sequence < batch->n_seqs;
}

int nlm_vector_attention_next(const nlm_attention_deal *deal, nlm_attention_walk *walk, nlm_attention_block *out) {
    if (!find_token(deal, walk)) return 0;
    const int64_t left = deal->batch.seq_start[walk->sequence + 1] - walk->token;
    const int64_t tokens = lesser(left, nlm_vector_attention_block_rows(deal->shared) / deal->shared);
    *out = (nlm_attention_block){.slot = deal->batch.slot[walk->sequence],
                                 .token = walk->token,
                                 .rows = tokens * deal->shared,
                                 .g = walk->g,
                                 .first = INT64_MAX};
    for (int64_t t = walk->token; t < walk->token + tokens; t++) {
        const nlm_attention_seen seen = nlm_vector_attention_seen(deal, t);
        out->first = lesser(out->first, seen.first);
        out->end = greater(out->end, seen.end);
    }
    if (deal->cost) share(deal, walk, out);
    walk->cost += cost_of(out, tiles_of(out));
    walk->token += tokens;
    return 1;
}

nlm_status nlm_vector_attention_deal(const nlm_exec_v1 *x, const nlm_attention_args *args, nlm_attention_deal *out) {
    const int64_t groups = args->k_cache->shape[1];
    *out = (nlm_attention_deal){.x = x, .args = args, .groups = groups, .shared = args->q->shape[1] / groups};
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "attention", args->seq_start, args->slot, nlm_live_rows(x, args->q),
                                   args->block_table->shape[0], &out->batch));
    const int64_t positions = args->block_table->shape[1] * args->k_cache->shape[2];
    for (int64_t t = 0; t < out->batch.n_tokens; t++) {
        const int32_t pos = nlm_cpu_i32(args->pos)[t];
        if (pos < 0 || pos >= positions)
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "attention", "pos[%lld] is %d, expected 0 to %lld",
                                (long long)t, pos, (long long)positions - 1);
    }
    nlm_attention_walk walk = {0};
    nlm_attention_block block;
    while (nlm_vector_attention_next(out, &walk, &block)) continue;
    out->cost = walk.cost;
    return NLM_OK;
}
