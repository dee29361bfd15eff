/* Many tokens over plain weights. A pair of panels, or DEPTH columns of it, meets the tiles of a chunk of
 * tokens, whose activations stay in L2; meanwhile the next pair comes from memory. Rows longer than WHOLE
 * keep their sums in the scratch, a run of panels at a time. */
#include "cpu/vector/matmul_impl.h"

#define WHOLE       1024         /* columns of a row that is not cut */
#define DEPTH       512          /* columns of a block of others at most */
#define CHUNK_BYTES (768 * 1024) /* of a block of a chunk's activations */
#define LINE        64
#define RUN_PAIRS   (OPEN_MAX_PANELS / GEMM_PANELS)
#define TILE_FLOATS (GEMM_PANELS * GEMM_F32_TOKENS * PANEL_ROWS)
#define STAGED      64 /* columns of rows that are copied before they are packed */

/* How a product is cut. */
typedef struct plain_shape {
    int64_t blocks, depth; /* of columns; the last block may be shorter */
    int64_t tiles;         /* of all tokens */
    int64_t most;          /* tiles that a chunk may have */
    int64_t chunk;         /* tiles of a chunk, so that the last is not a small one */
} plain_shape;

static plain_shape shape_of(int64_t tokens, int64_t columns) {
    plain_shape s = {.blocks = columns > WHOLE ? (columns + DEPTH - 1) / DEPTH : 1};
    s.depth = (columns + s.blocks - 1) / s.blocks;
    s.tiles = tiles_of(tokens, GEMM_F32_TOKENS);
    s.most = CHUNK_BYTES / (GEMM_F32_TOKENS * (int64_t)sizeof(float) * (s.depth > 0 ? s.depth : 1));
    if (s.most > s.tiles) s.most = s.tiles;
    const int64_t chunks = s.most > 0 ? (s.tiles + s.most - 1) / s.most : 1;
    s.chunk = (s.tiles + chunks - 1) / chunks;
    return s;
}

uint64_t nlm_vector_plain_workspace_bytes(int64_t tokens, int64_t columns) {
    return (uint64_t)tiles_of(tokens, GEMM_F32_TOKENS) * GEMM_F32_TOKENS * (uint64_t)columns * sizeof(float);
}

/* Sums: of one tile, or of a run and a chunk. */
static uint64_t sums_bytes(const plain_shape *s) {
    return (uint64_t)(s->blocks > 1 ? RUN_PAIRS * s->most : 1) * TILE_FLOATS * sizeof(float);
}

/* A pair of opened panels, then sums. */
#define OPENED_BYTES (GEMM_PANELS * WHOLE * PANEL_ROWS * sizeof(float))

uint64_t nlm_vector_plain_scratch_bytes(int64_t tokens, int64_t columns) {
    const plain_shape shape = shape_of(tokens, columns);
    return OPENED_BYTES + sums_bytes(&shape);
}

/* ---- activations: [tile][column][token of the tile] --------------------------------------------- */

/* Columns of V_LANES rows, of which a tile takes the first. */
static void pack_columns(const float *rows, int64_t stride, int64_t columns, float *out) {
    for (int64_t k = 0; k < columns; k += 4) {
        vi quads[4];
        v_quads((const uint8_t *)(rows + k), stride * (int64_t)sizeof(float), quads);
        for (int64_t i = 0; i < 4 && k + i < columns; i++)
            vf_store_n(out + (k + i) * GEMM_F32_TOKENS, vf_bits(quads[i]), GEMM_F32_TOKENS);
    }
}

/* The same, of fewer rows or of columns that are no multiple of 4: by way of a copy, zeros for what lacks. */
static void pack_edge(const float *rows, int64_t stride, int64_t n_rows, int64_t columns, float *out) {
    float staged[V_LANES * STAGED];
    memset(staged, 0, sizeof staged);
    for (int64_t k = 0; k < columns; k += STAGED) {
        const int64_t n = columns - k < STAGED ? columns - k : STAGED;
        for (int64_t m = 0; m < n_rows && m < GEMM_F32_TOKENS; m++)
            memcpy(staged + m * STAGED, rows + m * stride + k, (size_t)n * sizeof(float));
        pack_columns(staged, STAGED, n, out + k * GEMM_F32_TOKENS);
    }
}

void nlm_vector_pack_plain(const nlm_matmul_job *job) {
    const int64_t tiles = tiles_of(job->tokens, GEMM_F32_TOKENS);
    for (int64_t t = job->exec->ith; t < tiles; t += job->exec->nth) {
        const int64_t first = t * GEMM_F32_TOKENS, left = job->tokens - first;
        const float *rows = job->x + first * job->x_stride;
        float *out = (float *)job->exec->workspace + first * job->columns;
        const int64_t whole = left >= V_LANES ? job->columns / 4 * 4 : 0;
        pack_columns(rows, job->x_stride, whole, out);
        pack_edge(rows + whole, job->x_stride, left, job->columns - whole, out + whole * GEMM_F32_TOKENS);
    }
}

/* ---- the product -------------------------------------------------------------------------------- */

/* Where a worker is: a pair of panels of a run, a block of its columns. */
typedef struct plain_cursor {
    int64_t at, end; /* panels */
    nlm_panel_run run;
    int64_t block;
    int32_t pair;
} plain_cursor;

static int32_t pairs_of(const plain_cursor *c) {
    return (c->run.count + GEMM_PANELS - 1) / GEMM_PANELS;
}

static plain_cursor start_at(const nlm_matmul_job *job, int64_t at, int64_t end) {
    plain_cursor c = {.at = at, .end = end};
    if (at < end) c.run = nlm_vector_matmul_next_run(job, at, end, OPEN_MAX_PANELS);
    return c;
}

/* All pairs of a block, all blocks of a run, all runs. */
static plain_cursor next_of(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *now) {
    plain_cursor c = *now;
    if (++c.pair < pairs_of(now)) return c;
    c.pair = 0;
    if (++c.block < shape->blocks) return c;
    return start_at(job, c.at + c.run.count, c.end);
}

/* The panel of an odd run that has no partner is multiplied twice. */
static void pair_of(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *c, const uint8_t **out) {
    const uint64_t skipped = (uint64_t)(c->block * shape->depth) * job->weights[c->run.weight].format->bytes;
    for (int32_t p = 0; p < GEMM_PANELS; p++) {
        const int32_t i = GEMM_PANELS * c->pair + p;
        out[p] = c->run.data[i < c->run.count ? i : c->run.count - 1] + skipped;
    }
}

static int64_t depth_of(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *c) {
    const int64_t left = job->columns - c->block * shape->depth;
    return left < shape->depth ? left : shape->depth;
}

/* The pair as f32: where it is, or opened into the scratch. */
static void open_pair(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *c,
                      nlm_gemm_f32_call *call) {
    const nlm_matmul_kernels *kernels = job->weights[c->run.weight].kernels;
    const uint8_t *raw[GEMM_PANELS];
    pair_of(job, shape, c, raw);
    for (int32_t p = 0; p < GEMM_PANELS; p++) {
        call->panels[p] = (const float *)(const void *)raw[p];
        if (kernels->dtype == NLM_F32) continue;
        float *to = (float *)job->exec->scratch + p * WHOLE * PANEL_ROWS;
        kernels->open_plain(raw[p], call->columns, to);
        call->panels[p] = to;
    }
}

/* What each of `tiles` calls brings of the pair that follows. */
static void set_ahead(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *c,
                      const plain_cursor *next, int64_t tiles, nlm_gemm_f32_call *call) {
    pair_of(job, shape, next->at < next->end ? next : c, call->ahead[0].data);
    if (next->at >= next->end) return;
    const int64_t bytes = depth_of(job, shape, next) * job->weights[next->run.weight].format->bytes;
    const int64_t lines = ((bytes + LINE - 1) / LINE + tiles - 1) / tiles;
    call->ahead[0].lines = lines < call->columns ? lines : call->columns;
}

/* Tiles [from, to) of the tokens. */
static void run_pair(const nlm_matmul_job *job, const plain_shape *shape, const plain_cursor *c,
                     const plain_cursor *next, int64_t from, int64_t to) {
    nlm_gemm_f32_call call = {.columns = depth_of(job, shape, c), .is_first = c->block == 0, .ahead[0].rows = 1};
    float *sums = (float *)(void *)((uint8_t *)job->exec->scratch + OPENED_BYTES);
    const int32_t panels = c->run.count - GEMM_PANELS * c->pair;
    open_pair(job, shape, c, &call);
    set_ahead(job, shape, c, next, to - from, &call);
    for (int64_t t = from; t < to; t++) {
        const int64_t first = t * GEMM_F32_TOKENS, left = job->tokens - first;
        const int32_t tokens = (int32_t)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS);
        call.x = (const float *)job->exec->workspace + (t * job->columns + c->block * shape->depth) * GEMM_F32_TOKENS;
        call.out = sums;
        if (shape->blocks > 1) call.out += (c->pair * shape->chunk + t - from) * TILE_FLOATS;
        nlm_vector_gemm_f32(&call, tokens);
        for (int32_t p = 0; p < GEMM_PANELS; p++) call.ahead[0].data[p] += call.ahead[0].lines * LINE;
        if (c->block + 1 < shape->blocks) continue;
        job->sink(job, c->run.weight, c->run.panel + (job->is_interleaved ? c->pair : GEMM_PANELS * c->pair),
                  panels < GEMM_PANELS ? panels : GEMM_PANELS, first, tokens, GEMM_F32_TOKENS, call.out);
    }
}

/* A chunk of the tokens, which stays in the second cache, meets all panels before the next. */
void nlm_vector_run_gemm_plain(const nlm_matmul_job *job) {
    const plain_shape shape = shape_of(job->tokens, job->columns);
    const int64_t chunks = (shape.tiles + shape.chunk - 1) / shape.chunk;
    for (nlm_panel_share s = {0}; nlm_vector_matmul_next_share(job, GEMM_PANELS, chunks, &s);) {
        const int64_t from = s.round * shape.chunk;
        const int64_t to = shape.tiles - from < shape.chunk ? shape.tiles : from + shape.chunk;
        plain_cursor now = start_at(job, s.from, s.to);
        while (now.at < now.end) {
            const plain_cursor next = next_of(job, &shape, &now);
            run_pair(job, &shape, &now, &next, from, to);
            now = next;
        }
    }
}
