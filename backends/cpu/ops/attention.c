/* Flash attention over the paged cache. A block of query rows, tokens of one sequence times the heads of
 * one key/value head, walks the cache in tiles. Positions are cut in chunks at multiples of CHUNK: a chunk
 * is summed by itself, from its first position on, and the chunks are then folded in ascending order. A row's
 * bits depend on its position and window alone, however chunks are dealt out.
 *
 * Where a block's chunks went to several workers, these leave their sums in the workspace and fold them
 * after a barrier; how the work is dealt (attention_deal.h) tells every worker alike whether there is one. */
#include <math.h>

#include "cpu/vector/attention.h"
#include "cpu/vector/attention_deal.h"
#include "cpu/vector/vector.h"

#define TILE  ATTENTION_TILE
#define CHUNK ATTENTION_CHUNK
#define GROUP ATTENTION_GROUP

/* What a worker has for itself, in its scratch. */
typedef struct attention_memory {
    nlm_attention_tile tile;
    nlm_attention_state part, total; /* of a chunk, and of those before it */
    float *q;
    int32_t *first, *end; /* [rows] */
    void *zeros;          /* a row of the cache */
} attention_memory;

/* A run of the op: the same for all workers but for x and mem. */
typedef struct attention_run {
    const nlm_exec_v1 *x;
    const nlm_attention_args *args;
    nlm_attention_deal deal;
    attention_memory mem;
    int64_t head, shared;
} attention_run;

static int64_t state_floats(int64_t head, int64_t rows) {
    return rows * head + (2 * rows + V_LANES - 1) / V_LANES * V_LANES;
}

static nlm_attention_state state_at(float *memory, int64_t head, int64_t rows) {
    return (nlm_attention_state){memory, memory + rows * head, memory + rows * head + rows};
}

void nlm_vector_attention_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    const int64_t size = nlm_dim(dims, 'D'), head = nlm_vector_attention_padded(size), groups = nlm_dim(dims, 'G');
    const int64_t shared = nlm_dim(dims, 'H') / groups, rows = nlm_vector_attention_block_rows(shared);
    const int64_t tile = 3 * TILE * head, others = 2 * state_floats(head, rows) + rows * head + 2 * rows + head;
    out->scratch_bytes = (uint64_t)(tile + others) * sizeof(float);

    const int64_t positions = nlm_dim(dims, 'M') * nlm_dim(dims, 'B');
    const int64_t blocks = nlm_vector_attention_most_split(nlm_dim(dims, 'T') * groups, positions, nth);
    const int64_t split_rows = nlm_vector_attention_split_rows(shared);
    out->workspace_bytes =
        (uint64_t)(blocks * nlm_vector_attention_chunks(positions) * state_floats(head, split_rows)) * sizeof(float);
}

static attention_memory divide(float *scratch, int64_t size, int64_t shared) {
    const int64_t head = nlm_vector_attention_padded(size), rows = nlm_vector_attention_block_rows(shared);
    attention_memory mem = {.tile = {.size = size, .head = head}};
    mem.tile.keys = scratch;
    mem.tile.values = mem.tile.keys + TILE * head;
    mem.tile.half_keys = (uint16_t *)(void *)(mem.tile.values + TILE * head);
    mem.tile.scales = mem.tile.values + TILE * head; /* one type has halves, another scales */
    mem.part = state_at(mem.tile.scales + TILE * head, head, rows);
    mem.total = state_at(mem.part.sums + state_floats(head, rows), head, rows);
    mem.q = mem.total.sums + state_floats(head, rows);
    mem.first = (int32_t *)(void *)(mem.q + rows * head);
    mem.end = mem.first + rows;
    mem.zeros = mem.end + rows;
    memset(mem.zeros, 0, (size_t)head * sizeof(float));
    return mem;
}

/* ---- the rows of a block ------------------------------------------------------------------ */

static void begin_rows(const attention_run *run, const nlm_attention_block *b) {
    const nlm_attention_args *args = run->args;
    const int64_t shared = run->shared;
    for (int64_t row = 0; row < b->rows; row++) {
        const int64_t token = b->token + row / shared;
        const float *q = nlm_kit_at2(args->q, token, b->g * shared + row % shared);
        const nlm_attention_seen seen = nlm_vector_attention_seen(&run->deal, token);
        run->mem.first[row] = (int32_t)seen.first;
        run->mem.end[row] = (int32_t)seen.end;
        nlm_vector_attention_scale_row(q, args->q->shape[2], args->scale, run->mem.q + row * run->head);
    }
}

static void move_row(const nlm_attention_state *to, int64_t to_row, const nlm_attention_state *from, int64_t row,
                     int64_t head) {
    memcpy(to->sums + to_row * head, from->sums + row * head, (size_t)head * sizeof(float));
    to->greatest[to_row] = from->greatest[row];
    to->weight[to_row] = from->weight[row];
}

/* total row = total row + part row, of a later chunk. */
static void fold_row(const nlm_attention_state *total, int64_t total_row, const nlm_attention_state *part,
                     int64_t row, int64_t head) {
    const float ours = total->greatest[total_row], theirs = part->greatest[row];
    const float greatest = theirs > ours ? theirs : ours;
    float shrink[V_LANES] = {ours - greatest, theirs - greatest};
    vf_store(shrink, vf_exp2(vf_load(shrink)));
    const vf keep = vf_set1(shrink[0]), add = vf_set1(shrink[1]);
    float *sums = total->sums + total_row * head;
    for (int64_t c = 0; c < head; c += V_LANES)
        vf_store(sums + c, vf_fma(vf_load(part->sums + row * head + c), add, vf_mul(vf_load(sums + c), keep)));
    total->greatest[total_row] = greatest;
    total->weight[total_row] = total->weight[total_row] * shrink[0] + part->weight[row] * shrink[1];
}

static void finish_row(const attention_run *run, const nlm_attention_block *b, int64_t row,
                       const nlm_attention_state *state, int64_t state_row) {
    const nlm_attention_args *args = run->args;
    const int64_t token = b->token + row / run->shared, h = b->g * run->shared + row % run->shared;
    float *lse = args->lse ? nlm_kit_at2(args->lse, token, h) : NULL;
    nlm_vector_attention_finish_row(state, state_row, args->q->shape[2], nlm_kit_at2(args->y, token, h), lse);
}

/* ---- walking the cache -------------------------------------------------------------------- */

/* The tile at `tile` as far as the block sees it; a page is looked up once. */
static nlm_status find_rows(const attention_run *run, const nlm_attention_block *b, int64_t tile,
                            nlm_attention_rows *out) {
    const nlm_tensor *k = run->args->k_cache, *v = run->args->v_cache;
    const int64_t page_tokens = k->shape[2];
    out->tile = tile;
    out->from = b->first > tile ? b->first : tile;
    out->to = b->end < tile + TILE ? b->end : tile + TILE;
    for (int64_t j = tile; j < out->from; j++) out->k[j - tile] = out->v[j - tile] = run->mem.zeros;
    for (int64_t j = out->from; j < out->to;) {
        const int64_t row = j % page_tokens, left = out->to - j;
        const int64_t count = page_tokens - row < left ? page_tokens - row : left;
        int64_t page;
        NLM_KIT_TRY(
            nlm_cpu_page(run->x, "attention", run->args->block_table, b->slot, j, page_tokens, k->shape[0], &page));
        const char *key = nlm_kit_at3(k, page, b->g, row), *value = nlm_kit_at3(v, page, b->g, row);
        for (int64_t i = 0; i < count; i++, j++) {
            out->k[j - tile] = key + i * k->stride_bytes[2];
            out->v[j - tile] = value + i * v->stride_bytes[2];
        }
    }
    for (int64_t j = out->to; j < tile + TILE; j++) out->k[j - tile] = out->v[j - tile] = run->mem.zeros;
    return NLM_OK;
}

static void take_tile(const attention_run *run, const nlm_attention_block *b, const nlm_attention_rows *rows,
                      const nlm_attention_rows *next, const nlm_attention_state *state) {
    const nlm_dtype k_type = run->args->k_cache->dtype, v_type = run->args->v_cache->dtype;
    nlm_attention_tile tile = run->mem.tile;
    tile.is_half = nlm_vector_attention_takes_halves(b->rows, tile.size, k_type, v_type);
    tile.next_k = next->k;
    tile.next_v = next->v;
    nlm_vector_attention_load_keys(rows, k_type, &tile);
    nlm_vector_attention_load_values(rows, v_type, &tile);
    nlm_attention_group group = {.q = run->mem.q, .first = run->mem.first, .end = run->mem.end};
    for (; group.row < b->rows; group.row += group.count) {
        group.count = nlm_vector_attention_group_size(b->rows - group.row);
        nlm_vector_attention_take(&group, rows, &tile, state);
    }
}

/* The chunk's sums in a split block's part of the workspace. */
static nlm_attention_state split_state(const attention_run *run, const nlm_attention_block *b, int64_t chunk) {
    const int64_t rows = nlm_vector_attention_split_rows(run->shared);
    const int64_t positions = run->args->block_table->shape[1] * run->args->k_cache->shape[2];
    const int64_t number = b->split * nlm_vector_attention_chunks(positions) + chunk - b->first / CHUNK;
    return state_at((float *)run->x->workspace + number * state_floats(run->head, rows), run->head, rows);
}

static void fold_chunk(const attention_run *run, const nlm_attention_block *b, int64_t chunk) {
    const attention_memory *mem = &run->mem;
    for (int64_t row = 0; row < b->rows; row++) {
        if (mem->first[row] >= (chunk + 1) * CHUNK || mem->end[row] <= chunk * CHUNK) continue;
        if (mem->first[row] / CHUNK == chunk) {
            move_row(&mem->total, row, &mem->part, row, run->head);
        } else {
            fold_row(&mem->total, row, &mem->part, row, run->head);
        }
    }
}

/* Takes the block through this worker's chunks of it, which it leaves in the workspace where others have
 * some too. */
static nlm_status attend(const attention_run *run, const nlm_attention_block *b) {
    const int64_t first = b->first / TILE * TILE,
                  begin = b->chunk_from * CHUNK > first ? b->chunk_from * CHUNK : first;
    const int64_t end = b->chunk_to * CHUNK < b->end ? b->chunk_to * CHUNK : b->end;
    nlm_attention_rows rows[2];
    const int is_folded = b->split < 0 && b->end > (b->first / CHUNK + 1) * CHUNK;
    nlm_attention_state state = is_folded ? run->mem.part : run->mem.total;
    int turn = 0;
    begin_rows(run, b);
    NLM_KIT_TRY(find_rows(run, b, begin, &rows[turn]));
    for (int64_t tile = begin; tile < end; tile += TILE, turn = !turn) {
        const int is_last = tile + TILE >= end;
        if (!is_last) NLM_KIT_TRY(find_rows(run, b, tile + TILE, &rows[!turn]));
        if (b->split >= 0) state = split_state(run, b, tile / CHUNK);
        if (tile == begin || tile % CHUNK == 0) nlm_vector_attention_clear(&state, b->rows, run->head);
        take_tile(run, b, &rows[turn], &rows[is_last ? turn : !turn], &state);
        if (is_folded && (is_last || (tile + TILE) % CHUNK == 0)) fold_chunk(run, b, tile / CHUNK);
    }
    if (b->split >= 0) return NLM_OK;
    for (int64_t row = 0; row < b->rows; row++) finish_row(run, b, row, &run->mem.total, row);
    return NLM_OK;
}

/* Folds this worker's rows of a split block. */
static void fold_block(const attention_run *run, const nlm_attention_block *b) {
    const nlm_kit_range rows = nlm_kit_slice(run->x, b->rows, 1);
    for (int64_t row = rows.from; row < rows.to; row++) {
        const nlm_attention_seen seen = nlm_vector_attention_seen(&run->deal, b->token + row / run->shared);
        const int64_t from = seen.first / CHUNK, to = nlm_vector_attention_chunks(seen.end);
        for (int64_t chunk = from; chunk < to; chunk++) {
            const nlm_attention_state part = split_state(run, b, chunk);
            if (chunk == from) {
                move_row(&run->mem.total, 0, &part, row, run->head);
            } else {
                fold_row(&run->mem.total, 0, &part, row, run->head);
            }
        }
        finish_row(run, b, row, &run->mem.total, 0);
    }
}

nlm_status nlm_vector_attention(const nlm_exec_v1 *x, const nlm_attention_args *args) {
    attention_run run = {.x = x, .args = args};
    nlm_attention_block block;
    NLM_KIT_TRY(nlm_vector_attention_deal(x, args, &run.deal));
    run.shared = run.deal.shared;
    run.head = nlm_vector_attention_padded(args->q->shape[2]);
    run.mem = divide(x->scratch, args->q->shape[2], run.shared);
    nlm_attention_walk walk = {0};
    while (nlm_vector_attention_next(&run.deal, &walk, &block)) {
        if (block.chunk_from < block.chunk_to) NLM_KIT_TRY(attend(&run, &block));
    }
    if (walk.n_split == 0) return NLM_OK;
    NLM_KIT_TRY(x->barrier(x));
    walk = (nlm_attention_walk){0};
    while (nlm_vector_attention_next(&run.deal, &walk, &block)) {
        if (block.split >= 0) fold_block(&run, &block);
    }
    return NLM_OK;
}
