/* Products of f32 that pack both sides while they run: how they are cut, and what is multiplied with what.
 *
 * The shared side is packed whole, in blocks of the depth, by all workers. A worker packs a chunk of its strips of
 * the other side, a block at a time, and multiplies it with the shared side's: a pair of panels, which stays in the
 * first cache, with a row of tiles, which stays in the second. Sums wait in the scratch from block to block. */
#include "cpu/vector/product.h"

#include "cpu/vector/matmul_impl.h"
#include "cpu/vector/vector.h"

#define DEPTH       256 /* of a block: a pair of panels then takes half of the first cache */
#define LEAST_DEPTH 64  /* of a last block; what is less is spread over the others */
#define UNIT        32  /* of the depth of blocks, if there are several; panels of weights are cut at such places */
#define OWN_COLUMNS 128 /* of a chunk, and least of a worker */
#define ROW_TILES   96  /* of a block of rows */
#define OWN_TILES   32  /* of a chunk */
#define LINE        64
#define TILE_FLOATS (GEMM_PANELS * GEMM_F32_TOKENS * PANEL_ROWS)

/* Fewer tokens: the shared side is so small that each worker packs it for itself, sooner than at a barrier. */
#define FEW_TOKENS  16
#define FEW_DEPTH   512
#define FEW_COLUMNS (GEMM_PANELS * PANEL_ROWS)

/* How a product is cut. Strips of a are tiles, those of b panels. */
typedef struct cut {
    int32_t is_few;
    int64_t depth, blocks; /* the last block may be shorter */
    int64_t a_pitch, b_pitch;
    int64_t a_strips, b_strips; /* all */
    int64_t chunk;              /* strips of the worker's side that are packed together */
} cut;

static int64_t pitch_of(int64_t depth, int32_t width) {
    const int64_t line = LINE / (int64_t)sizeof(float);
    return (depth * width + V_LANES + line - 1) / line * line;
}

/* What a block has at most, and how much deeper one may be so that none is left that is hardly anything. */
static int64_t most_depth(int is_few) {
    return is_few ? FEW_DEPTH : DEPTH;
}
static int64_t over_depth(int is_few) {
    return is_few ? 0 : LEAST_DEPTH;
}

/* Of a product in so many blocks. */
static int64_t block_depth(int64_t depth, int64_t blocks) {
    return blocks == 1 ? depth : ((depth + blocks - 1) / blocks + UNIT - 1) / UNIT * UNIT;
}

static cut cut_of(const nlm_product_size *size, int is_few) {
    const int64_t most = most_depth(is_few), over = over_depth(is_few);
    cut c = {.is_few = is_few, .blocks = size->depth > most + over ? (size->depth - over + most - 1) / most : 1};
    c.depth = block_depth(size->depth, c.blocks);
    if (c.blocks > 1) c.blocks = (size->depth + c.depth - 1) / c.depth;
    c.a_pitch = pitch_of(c.depth, GEMM_F32_TOKENS);
    c.b_pitch = pitch_of(c.depth, PANEL_ROWS);
    c.a_strips = tiles_of(size->rows, GEMM_F32_TOKENS);
    c.b_strips = tiles_of(size->columns, GEMM_PANELS * PANEL_ROWS) * GEMM_PANELS;
    c.chunk = size->shares_b ? OWN_TILES : (is_few ? FEW_COLUMNS : OWN_COLUMNS) / PANEL_ROWS;
    return c;
}

static int is_few(const nlm_product_size *size) {
    return (size->shares_b ? size->depth : size->rows) < FEW_TOKENS;
}

/* ---- memory ------------------------------------------------------------------------------------ */

/* The most that a product of at most this size packs of it: one that is less deep may be in fewer, deeper blocks. */
static int64_t shared_floats(const nlm_product_size *size, const cut *c) {
    const int64_t strips = size->shares_b ? c->b_strips : c->a_strips;
    const int32_t width = size->shares_b ? PANEL_ROWS : GEMM_F32_TOKENS;
    int64_t most = 0;
    for (int64_t blocks = 1, end = 0; end < size->depth; blocks++) {
        end = blocks * most_depth(c->is_few) + over_depth(c->is_few);
        const int64_t depth = size->depth < end ? size->depth : end;
        const int64_t floats = strips * blocks * pitch_of(block_depth(depth, blocks), width);
        if (floats > most) most = floats;
    }
    return most;
}

/* Of the shared side with so many strips and a chunk of the other, between blocks; else of one tile. */
static int64_t sums_floats(const nlm_product_size *size, const cut *c) {
    if (c->blocks == 1) return TILE_FLOATS;
    return TILE_FLOATS * c->chunk * (size->shares_b ? c->b_strips : c->a_strips) / GEMM_PANELS;
}

static int64_t chunk_floats(const nlm_product_size *size, const cut *c) {
    const int64_t most = most_depth(c->is_few) + over_depth(c->is_few);
    const int32_t width = size->shares_b ? GEMM_F32_TOKENS : PANEL_ROWS;
    return c->chunk * pitch_of(size->depth < most ? size->depth : most, width);
}

static uint64_t scratch_of(const nlm_product_size *size, int few) {
    const cut c = cut_of(size, few);
    const int64_t shared = few ? shared_floats(size, &c) : 0;
    return (uint64_t)(nlm_vector_pack_room() + shared + chunk_floats(size, &c) + sums_floats(size, &c)) *
           sizeof(float);
}

uint64_t nlm_vector_product_workspace(const nlm_product_size *most) {
    if (is_few(most)) return 0;
    const cut c = cut_of(most, 0);
    return (uint64_t)shared_floats(most, &c) * sizeof(float);
}

/* Of the product itself, or of one with few tokens. */
uint64_t nlm_vector_product_scratch(const nlm_product_size *most) {
    nlm_product_size size = *most;
    int64_t *tokens = size.shares_b ? &size.depth : &size.rows;
    const uint64_t many = is_few(most) ? 0 : scratch_of(most, 0);
    if (*tokens >= FEW_TOKENS) *tokens = FEW_TOKENS - 1;
    const uint64_t few = scratch_of(&size, 1);
    return many > few ? many : few;
}

/* ---- one worker -------------------------------------------------------------------------------- */

typedef struct worker {
    const nlm_product *p;
    cut cut;
    nlm_kit_range own, shared_part; /* strips */
    float *room, *shared, *chunk, *sums;
} worker;

/* A worker has a part of its side, and if that leaves workers over, a part of the shared side too. */
static void take_parts(worker *w) {
    const nlm_product *p = w->p;
    const int32_t shares_b = p->size.shares_b;
    const int64_t own = shares_b ? w->cut.a_strips : w->cut.b_strips / GEMM_PANELS;
    const int64_t shared = shares_b ? w->cut.b_strips / GEMM_PANELS : w->cut.a_strips;
    const int64_t least = shares_b ? OWN_TILES / 2 : OWN_COLUMNS / (GEMM_PANELS * PANEL_ROWS);
    const int64_t own_unit = shares_b ? 1 : GEMM_PANELS, shared_unit = shares_b ? GEMM_PANELS : 1;
    uint32_t parts = p->exec->nth;
    if (!w->cut.is_few && shared >= p->exec->nth) {
        while (parts > 1 && (p->exec->nth % parts != 0 || own / parts < least)) parts--;
    }
    nlm_exec_v1 along = {.ith = p->exec->ith % parts, .nth = parts};
    const nlm_kit_range mine = nlm_kit_slice(&along, own, 1);
    w->own = (nlm_kit_range){mine.from * own_unit, mine.to * own_unit};
    along = (nlm_exec_v1){.ith = p->exec->ith / parts, .nth = p->exec->nth / parts};
    const nlm_kit_range part = nlm_kit_slice(&along, shared, 1);
    w->shared_part = (nlm_kit_range){part.from * shared_unit, part.to * shared_unit};
}

static worker worker_of(const nlm_product *p) {
    worker w = {.p = p, .cut = cut_of(&p->size, is_few(&p->size)), .room = p->exec->scratch};
    float *next = w.room + nlm_vector_pack_room();
    w.shared = w.cut.is_few ? next : p->workspace;
    if (w.cut.is_few) next += shared_floats(&p->size, &w.cut);
    w.chunk = next;
    w.sums = next + chunk_floats(&p->size, &w.cut);
    take_parts(&w);
    return w;
}

static int64_t depth_of(const worker *w, int64_t block) {
    const int64_t left = w->p->size.depth - block * w->cut.depth;
    return left < w->cut.depth ? left : w->cut.depth;
}

/* A block of strips of a, or of b. */
static void pack(const worker *w, int is_b, nlm_kit_range strips, int64_t block, float *out) {
    const nlm_product *p = w->p;
    const nlm_strips s = {.side = is_b ? &p->b : &p->a,
                          .limit = is_b ? p->size.columns : p->size.rows,
                          .width = is_b ? PANEL_ROWS : GEMM_F32_TOKENS,
                          .from = strips.from,
                          .to = strips.to,
                          .first = block * w->cut.depth,
                          .columns = depth_of(w, block),
                          .out = out,
                          .pitch = is_b ? w->cut.b_pitch : w->cut.a_pitch,
                          .room = w->room};
    nlm_vector_pack_strips(&s);
}

/* Where a block of the shared side begins. */
static float *shared_at(const worker *w, int64_t block, int64_t strip) {
    const cut *c = &w->cut;
    return w->shared + (w->p->size.shares_b ? (block * c->b_strips + strip) * c->b_pitch
                                            : (block * c->a_strips + strip) * c->a_pitch);
}

static void pack_shared(const worker *w) {
    const int32_t is_b = w->p->size.shares_b;
    const int64_t strips = is_b ? w->cut.b_strips : w->cut.a_strips;
    const nlm_kit_range mine = w->cut.is_few ? (nlm_kit_range){0, strips} : nlm_kit_slice(w->p->exec, strips, 1);
    for (int64_t block = 0; block < w->cut.blocks; block++)
        pack(w, is_b, mine, block, shared_at(w, block, mine.from));
}

/* ---- tiles ------------------------------------------------------------------------------------- */

static void store_tile(const nlm_product *p, int64_t row, int64_t column, const float *tile) {
    const int64_t rows = p->size.rows - row < GEMM_F32_TOKENS ? p->size.rows - row : GEMM_F32_TOKENS;
    for (int64_t m = 0; m < rows; m++) {
        float *c = p->c + (row + m) * p->c_stride;
        const float *residual = p->residual ? p->residual + (row + m) * p->residual_stride : NULL;
        for (int64_t i = 0; i < GEMM_PANELS; i++) {
            const int64_t at = column + i * PANEL_ROWS, left = p->size.columns - at;
            const int n = (int)(left < PANEL_ROWS ? left : PANEL_ROWS);
            if (n <= 0) break;
            vf value = vf_load(tile + (i * GEMM_F32_TOKENS + m) * PANEL_ROWS);
            if (p->bias) value = vf_add(value, vf_load_n(p->bias + at, n));
            if (residual) value = vf_add(value, vf_load_n(residual + at, n));
            vf_store_n(c + at, value, n);
        }
    }
}

/* Half the rows of a tile, or as many as it has columns for, from each of two places. */
static nlm_gemm_ahead half_rows(const float *data, int64_t stride, int64_t rows, int64_t columns) {
    const int64_t half = rows / 2, bytes = GEMM_PANELS * PANEL_ROWS * (int64_t)sizeof(float);
    const int64_t lines = ((int64_t)((uintptr_t)data % LINE) + bytes + LINE - 1) / LINE;
    return (nlm_gemm_ahead){.data = {(const uint8_t *)data, (const uint8_t *)(data + half * stride)},
                            .rows = rows - half < columns / lines ? rows - half : columns / lines,
                            .lines = lines,
                            .stride_bytes = stride * (int64_t)sizeof(float)};
}

/* Where a tile goes. */
static nlm_gemm_ahead tile_ahead(const nlm_product *p, int64_t row, int64_t column, int64_t columns) {
    const int64_t left = p->size.rows - row, rows = left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS;
    const float *to = p->residual ? p->residual : p->c;
    const int64_t stride = p->residual ? p->residual_stride : p->c_stride;
    return half_rows(to + row * stride + column, stride, rows, columns);
}

/* Rows that are packed next. They come from memory, which takes as long as packing itself: so they come nearer while
 * tiles are computed, some with each. */
typedef struct coming {
    const uint8_t *data;
    int64_t stride_bytes, lines; /* of a row */
    int64_t rows, each;          /* left, and with a tile from each of two places */
} coming;

/* Packed strips that meet: of a and of b, and where their first ones are. */
typedef struct meeting {
    nlm_kit_range a, b;
    const float *a_data, *b_data;
    coming next;
} meeting;

/* What a block of strips of a worker's side is packed from, with so many tiles to come. */
static coming coming_of(const worker *w, nlm_kit_range strips, int64_t block, int64_t tiles) {
    const nlm_product_side *side = w->p->size.shares_b ? &w->p->a : &w->p->b;
    const int64_t width = w->p->size.shares_b ? GEMM_F32_TOKENS : PANEL_ROWS;
    const int64_t limit = w->p->size.shares_b ? w->p->size.rows : w->p->size.columns;
    const int64_t last = strips.to * width < limit ? strips.to * width : limit;
    const nlm_kit_range own = {strips.from * width, last},
                        deep = {block * w->cut.depth, block * w->cut.depth + depth_of(w, block)};
    const nlm_kit_range rows = side->is_turned ? deep : own, columns = side->is_turned ? own : deep;
    if (side->t.layout != NLM_LAYOUT_ROW_MAJOR || side->t.dtype != NLM_F32 || rows.from >= rows.to)
        return (coming){0};
    coming next = {.data = (const uint8_t *)nlm_kit_at(&side->t, rows.from) + columns.from * (int64_t)sizeof(float),
                   .stride_bytes = side->t.stride_bytes[0],
                   .rows = rows.to - rows.from};
    const int64_t skipped = (int64_t)((uintptr_t)next.data % LINE);
    next.lines = (skipped + (columns.to - columns.from) * (int64_t)sizeof(float) + LINE - 1) / LINE;
    next.each = (next.rows + 2 * tiles - 1) / (2 * tiles);
    return next;
}

/* As much as a tile of so many columns can bring. */
static nlm_gemm_ahead rows_ahead(coming *next, int64_t columns) {
    const int64_t fit = columns / (next->lines ? next->lines : 1), half = (next->rows + 1) / 2;
    const int64_t most = next->each < fit ? next->each : fit, rows = most < half ? most : half;
    const uint8_t *second = next->data + (next->rows > rows ? rows : 0) * next->stride_bytes;
    const nlm_gemm_ahead ahead = {{next->data, second}, rows, next->lines, next->stride_bytes};
    next->data += 2 * rows * next->stride_bytes;
    next->rows = next->rows > 2 * rows ? next->rows - 2 * rows : 0;
    return ahead;
}

/* A pair of panels and tiles [from, to). */
static void multiply_pair(const worker *w, meeting *m, int64_t block, int64_t pair, int64_t from, int64_t to) {
    const int64_t tiles = m->a.to - m->a.from, panel = GEMM_PANELS * pair;
    const float *b = m->b_data + panel * w->cut.b_pitch;
    nlm_gemm_f32_call call = {.columns = depth_of(w, block), .is_first = block == 0, .is_near = 1};
    for (int i = 0; i < GEMM_PANELS; i++) call.panels[i] = b + i * w->cut.b_pitch;
    for (int64_t t = from; t < to; t++) {
        const int64_t row = t * GEMM_F32_TOKENS, left = w->p->size.rows - row;
        const int64_t at = pair * tiles + t - m->a.from;
        call.x = m->a_data + (t - m->a.from) * w->cut.a_pitch;
        call.out = w->sums + (w->cut.blocks > 1 ? at * TILE_FLOATS : 0);
        const int is_last = block + 1 == w->cut.blocks;
        call.ahead[0] =
            is_last ? tile_ahead(w->p, row, (m->b.from + panel) * PANEL_ROWS, call.columns) : (nlm_gemm_ahead){0};
        call.ahead[1] = rows_ahead(&m->next, call.columns - call.ahead[0].rows * call.ahead[0].lines);
        nlm_vector_gemm_f32(&call, (int32_t)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS));
        if (is_last) store_tile(w->p, row, (m->b.from + panel) * PANEL_ROWS, call.out);
    }
}

/* A pair of panels stays and rows of tiles pass by. A product of few columns and one block, as the gradient of a
 * vocabulary's weights is, moves more of c than of anything else: then rows of c are filled from left to right, and
 * memory brings them without being asked. */
static void multiply(const worker *w, meeting *m, int64_t block) {
    const int64_t pairs = (m->b.to - m->b.from) / GEMM_PANELS;
    const int64_t step = w->p->size.shares_b && w->cut.blocks == 1 ? 1 : ROW_TILES;
    for (int64_t from = m->a.from; from < m->a.to; from += step) {
        const int64_t to = m->a.to - from < step ? m->a.to : from + step;
        for (int64_t pair = 0; pair < pairs; pair++) multiply_pair(w, m, block, pair, from, to);
    }
}

/* sum_d a[i,d] of a packed chunk, d upwards. */
static void add_sums(const worker *w, nlm_kit_range tiles, int64_t block) {
    for (int64_t t = tiles.from; t < tiles.to; t++) {
        const int64_t row = t * GEMM_F32_TOKENS, left = w->p->size.rows - row;
        const int n = (int)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS);
        const float *a = w->chunk + (t - tiles.from) * w->cut.a_pitch;
        float *sums = w->p->sums + row;
        vf sum = block == 0 && !w->p->adds_sums ? vf_zero() : vf_load_n(sums, n);
        for (int64_t d = 0; d < depth_of(w, block); d++) sum = vf_add(sum, vf_load(a + d * GEMM_F32_TOKENS));
        vf_store_n(sums, sum, n);
    }
}

/* `next` is the chunk that follows, and may be empty. */
static void multiply_chunk(const worker *w, nlm_kit_range chunk, nlm_kit_range next) {
    const int32_t shares_b = w->p->size.shares_b;
    const int64_t shared = w->shared_part.to - w->shared_part.from;
    const int64_t tiles = shared * (chunk.to - chunk.from) / GEMM_PANELS;
    for (int64_t block = 0; block < w->cut.blocks; block++) {
        const float *packed = shared_at(w, block, w->shared_part.from);
        const int is_last = block + 1 == w->cut.blocks;
        meeting m = {w->shared_part, chunk, packed, w->chunk,
                     coming_of(w, is_last ? next : chunk, is_last ? 0 : block + 1, tiles)};
        if (shares_b) m = (meeting){chunk, w->shared_part, w->chunk, packed, m.next};
        pack(w, !shares_b, chunk, block, w->chunk);
        if (w->p->sums && w->shared_part.from == 0) add_sums(w, chunk, block);
        multiply(w, &m, block);
    }
}

void nlm_vector_product_into(nlm_product *p, const nlm_tensor *c, const nlm_tensor *bias,
                             const nlm_tensor *residual) {
    p->c = c->data;
    p->c_stride = c->stride_bytes[0] / (int64_t)sizeof(float);
    p->bias = nlm_vector_data(bias);
    p->residual = nlm_vector_data(residual);
    p->residual_stride = residual ? residual->stride_bytes[0] / (int64_t)sizeof(float) : 0;
}

nlm_status nlm_vector_product(const nlm_product *p) {
    const worker w = worker_of(p);
    if (p->size.rows == 0 || p->size.columns == 0) return NLM_OK;
    pack_shared(&w);
    if (!w.cut.is_few) NLM_KIT_TRY(p->exec->barrier(p->exec));
    if (w.shared_part.from >= w.shared_part.to) return NLM_OK;
    for (int64_t from = w.own.from; from < w.own.to; from += w.cut.chunk) {
        const int64_t to = w.own.to - from < w.cut.chunk ? w.own.to : from + w.cut.chunk;
        const int64_t end = w.own.to - to < w.cut.chunk ? w.own.to : to + w.cut.chunk;
        multiply_chunk(&w, (nlm_kit_range){from, to}, (nlm_kit_range){to, end});
    }
    return NLM_OK;
}
