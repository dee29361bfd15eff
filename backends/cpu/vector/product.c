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
#define SPLIT_LEAST 8   /* less than this part of what a unit meets is not taken apart from the rest */
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
    uint32_t groups;            /* of workers, that have parts of their side; 0: not known yet */
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

/* Strips of the worker's side, and those of the shared side that they meet. */
typedef struct part {
    nlm_kit_range own, shared;
} part;

#define MOST_PARTS 3 /* of a worker: whole strips, and before and behind these some of which others have the rest */

typedef struct worker {
    const nlm_product *p;
    cut cut;
    part parts[MOST_PARTS];
    int n_parts;
    float *room, *shared, *chunk, *sums;
} worker;

/* Strips of one side that are not taken apart, and how many such units there are of both. */
typedef struct units {
    int64_t own, shared, of_own, of_shared;
    /* Of the own side and of a unit, in what takes time alike: the last unit may be narrower. */
    int64_t extent, width;
} units;

static units units_of(const worker *w) {
    const int64_t pairs = w->cut.b_strips / GEMM_PANELS, tiles = w->cut.a_strips;
    if (w->p->size.shares_b) return (units){tiles, pairs, 1, GEMM_PANELS, w->p->size.rows, GEMM_F32_TOKENS};
    return (units){pairs, tiles, GEMM_PANELS, 1, pairs, 1};
}

/* Where a share begins: at an own unit's meeting with a shared one. */
typedef struct place {
    int64_t own, shared;
} place;

/* Of share `i` of n. A few meetings of a unit are not worth packing it twice. */
static place share_begins(const units *u, int64_t i, int64_t n) {
    const int64_t at = u->extent * i, unit = at / (n * u->width), left = u->extent - unit * u->width;
    const int64_t width = left < u->width ? left : u->width, least = u->shared / SPLIT_LEAST;
    const int64_t met = width > 0 ? at % (n * u->width) * u->shared / (n * width) : 0;
    if (met <= least) return (place){unit, 0};
    return u->shared - met <= least ? (place){unit + 1, 0} : (place){unit, met};
}

/* Own units [from, to), and of what they meet the member's slice. */
static void add_part(worker *w, const units *u, int64_t from, int64_t to, nlm_kit_range shared) {
    const nlm_exec_v1 *x = w->p->exec;
    const nlm_exec_v1 member = {.ith = x->ith / w->cut.groups, .nth = x->nth / w->cut.groups};
    const nlm_kit_range mine = nlm_kit_slice(&member, shared.to - shared.from, 1);
    if (from >= to || mine.from >= mine.to) return;
    w->parts[w->n_parts++] =
        (part){{from * u->of_own, to * u->of_own},
               {(shared.from + mine.from) * u->of_shared, (shared.from + mine.to) * u->of_shared}};
}

/* Groups of workers have as much to do each; the members of one share out what its units meet. */
static void take_parts(worker *w) {
    const units u = units_of(w);
    const uint32_t group = w->p->exec->ith % w->cut.groups;
    const place begin = share_begins(&u, group, w->cut.groups), end = share_begins(&u, group + 1, w->cut.groups);
    if (begin.own == end.own) {
        add_part(w, &u, begin.own, begin.own + 1, (nlm_kit_range){begin.shared, end.shared});
        return;
    }
    const int is_cut = begin.shared > 0;
    if (is_cut) add_part(w, &u, begin.own, begin.own + 1, (nlm_kit_range){begin.shared, u.shared});
    add_part(w, &u, begin.own + is_cut, end.own, (nlm_kit_range){0, u.shared});
    if (end.shared > 0) add_part(w, &u, end.own, end.own + 1, (nlm_kit_range){0, end.shared});
}

/* As many as leave each enough of its side; if that leaves workers over, several have one part. */
static uint32_t groups_of(const worker *w) {
    const units u = units_of(w);
    const int64_t least = w->p->size.shares_b ? OWN_TILES / 2 : OWN_COLUMNS / (GEMM_PANELS * PANEL_ROWS);
    uint32_t groups = w->p->exec->nth;
    if (w->cut.is_few || u.shared < w->p->exec->nth) return groups;
    while (groups > 1 && (w->p->exec->nth % groups != 0 || u.own / groups < least)) groups--;
    return groups;
}

static worker worker_of(const nlm_product *p) {
    worker w = {.p = p, .cut = cut_of(&p->size, is_few(&p->size)), .room = p->exec->scratch};
    float *next = w.room + nlm_vector_pack_room();
    w.shared = w.cut.is_few ? next : p->workspace;
    if (w.cut.is_few) next += shared_floats(&p->size, &w.cut);
    w.chunk = next;
    w.sums = next + chunk_floats(&p->size, &w.cut);
    w.cut.groups = groups_of(&w);
    if (p->size.rows > 0 && p->size.columns > 0) take_parts(&w);
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

/* sum_d a[i,d] of packed tiles, d upwards. */
static void add_sums(const worker *w, nlm_kit_range tiles, int64_t block, const float *packed) {
    for (int64_t t = tiles.from; t < tiles.to; t++) {
        const int64_t row = t * GEMM_F32_TOKENS, left = w->p->size.rows - row;
        const int n = (int)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS);
        const float *a = packed + (t - tiles.from) * w->cut.a_pitch;
        float *sums = w->p->sums + row;
        vf sum = block == 0 && !w->p->adds_sums ? vf_zero() : vf_load_n(sums, n);
        for (int64_t d = 0; d < depth_of(w, block); d++) sum = vf_add(sum, vf_load(a + d * GEMM_F32_TOKENS));
        vf_store_n(sums, sum, n);
    }
}

static void pack_shared(const worker *w) {
    const int32_t is_b = w->p->size.shares_b;
    const int64_t strips = is_b ? w->cut.b_strips : w->cut.a_strips;
    const nlm_kit_range slice = nlm_kit_slice(w->p->exec, strips, 1);
    const nlm_kit_range mine = w->cut.is_few ? (nlm_kit_range){0, strips} : slice;
    for (int64_t block = 0; block < w->cut.blocks; block++) {
        pack(w, is_b, mine, block, shared_at(w, block, mine.from));
        if (w->p->sums && !is_b) add_sums(w, slice, block, shared_at(w, block, slice.from));
    }
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

/* `next` is what is packed after the chunk, and may be empty. */
static void multiply_chunk(const worker *w, const part *chunk, nlm_kit_range next) {
    const int32_t shares_b = w->p->size.shares_b;
    const nlm_kit_range own = chunk->own, shared = chunk->shared;
    const int64_t tiles = (shared.to - shared.from) * (own.to - own.from) / GEMM_PANELS;
    for (int64_t block = 0; block < w->cut.blocks; block++) {
        const float *packed = shared_at(w, block, shared.from);
        const int is_last = block + 1 == w->cut.blocks;
        meeting m = {shared, own, packed, w->chunk,
                     coming_of(w, is_last ? next : own, is_last ? 0 : block + 1, tiles)};
        if (shares_b) m = (meeting){own, shared, w->chunk, packed, m.next};
        pack(w, !shares_b, own, block, w->chunk);
        if (w->p->sums && shares_b && shared.from == 0) add_sums(w, own, block, w->chunk);
        multiply(w, &m, block);
    }
}

/* At most a chunk of the range, from `from` on. */
static nlm_kit_range chunk_at(const worker *w, nlm_kit_range range, int64_t from) {
    return (nlm_kit_range){from, range.to - from < w->cut.chunk ? range.to : from + w->cut.chunk};
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
    for (int i = 0; i < w.n_parts; i++) {
        const nlm_kit_range own = w.parts[i].own;
        const nlm_kit_range behind = i + 1 < w.n_parts ? w.parts[i + 1].own : (nlm_kit_range){0, 0};
        for (int64_t from = own.from; from < own.to; from += w.cut.chunk) {
            const part chunk = {chunk_at(&w, own, from), w.parts[i].shared};
            const int64_t to = chunk.own.to;
            multiply_chunk(&w, &chunk, to < own.to ? chunk_at(&w, own, to) : chunk_at(&w, behind, behind.from));
        }
    }
    return NLM_OK;
}
