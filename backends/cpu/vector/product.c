/* Products of f32 that pack both sides while they run: how they are cut, and what is multiplied with what.
 *
 * The shared side is packed whole, in blocks of the depth, by all workers. A worker packs a chunk of its strips of
 * the other side, a block at a time, and multiplies it with the shared side's: a pair of panels, which stays in the
 * first cache, with a row of tiles, which stays in the second. Sums wait in the scratch from block to block. */
#include "cpu/vector/product.h"

#include "cpu/vector/matmul_impl.h"
#include "cpu/vector/vector.h"

#define DEPTH       256 /* of a block: a pair of panels then takes half of the first cache */
#define OWN_COLUMNS 128 /* of a chunk, and least of a worker */
#define ROW_TILES   64  /* of a block of rows */
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

static cut cut_of(const nlm_product_size *size, int is_few) {
    const int64_t most = is_few ? FEW_DEPTH : DEPTH;
    cut c = {.is_few = is_few, .depth = size->depth < most ? size->depth : most};
    c.blocks = c.depth ? (size->depth + c.depth - 1) / c.depth : 1;
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

static int64_t shared_floats(const nlm_product_size *size, const cut *c) {
    return c->blocks * (size->shares_b ? c->b_strips * c->b_pitch : c->a_strips * c->a_pitch);
}

/* Of the shared side with so many strips and a chunk of the other, between blocks; else of one tile. */
static int64_t sums_floats(const nlm_product_size *size, const cut *c) {
    if (c->blocks == 1) return TILE_FLOATS;
    return TILE_FLOATS * c->chunk * (size->shares_b ? c->b_strips : c->a_strips) / GEMM_PANELS;
}

static int64_t chunk_floats(const nlm_product_size *size, const cut *c) {
    return c->chunk * (size->shares_b ? c->a_pitch : c->b_pitch);
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
    while (!w->cut.is_few && parts > 1 && (p->exec->nth % parts != 0 || own / parts < least)) parts--;
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

/* Where a tile goes, which comes nearer while it is computed. */
static void expect_tile(const nlm_product *p, int64_t row, int64_t column) {
    const int64_t rows = p->size.rows - row < GEMM_F32_TOKENS ? p->size.rows - row : GEMM_F32_TOKENS;
    for (int64_t m = 0; m < rows; m++) {
        nlm_vector_expect(p->c + (row + m) * p->c_stride + column);
        if (p->residual) nlm_vector_expect(p->residual + (row + m) * p->residual_stride + column);
    }
}

/* Packed strips that meet: of a and of b, and where their first ones are. */
typedef struct meeting {
    nlm_kit_range a, b;
    const float *a_data, *b_data;
} meeting;

/* A pair of panels and tiles [from, to). */
static void multiply_pair(const worker *w, const meeting *m, int64_t block, int64_t pair, int64_t from, int64_t to) {
    const int64_t tiles = m->a.to - m->a.from, panel = GEMM_PANELS * pair;
    const float *b = m->b_data + panel * w->cut.b_pitch;
    nlm_gemm_f32_call call = {.columns = depth_of(w, block), .is_first = block == 0, .is_near = 1};
    for (int i = 0; i < GEMM_PANELS; i++) {
        call.panels[i] = b + i * w->cut.b_pitch;
        call.ahead[i] = (const uint8_t *)(call.panels[i] + GEMM_PANELS * w->cut.b_pitch);
    }
    if (m->b.from + panel + GEMM_PANELS < m->b.to) {
        const int64_t lines = call.columns * PANEL_ROWS * (int64_t)sizeof(float) / LINE;
        call.ahead_lines = (lines + to - from - 1) / (to - from);
    }
    for (int64_t t = from; t < to; t++) {
        const int64_t row = t * GEMM_F32_TOKENS, left = w->p->size.rows - row;
        const int64_t at = pair * tiles + t - m->a.from;
        call.x = m->a_data + (t - m->a.from) * w->cut.a_pitch;
        call.out = w->sums + (w->cut.blocks > 1 ? at * TILE_FLOATS : 0);
        if (block + 1 == w->cut.blocks) expect_tile(w->p, row, (m->b.from + panel) * PANEL_ROWS);
        nlm_vector_gemm_f32(&call, (int32_t)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS));
        for (int i = 0; i < GEMM_PANELS; i++) call.ahead[i] += call.ahead_lines * LINE;
        if (block + 1 == w->cut.blocks) store_tile(w->p, row, (m->b.from + panel) * PANEL_ROWS, call.out);
    }
}

static void multiply(const worker *w, const meeting *m, int64_t block) {
    for (int64_t from = m->a.from; from < m->a.to; from += ROW_TILES) {
        const int64_t to = m->a.to - from < ROW_TILES ? m->a.to : from + ROW_TILES;
        for (int64_t pair = 0; pair < (m->b.to - m->b.from) / GEMM_PANELS; pair++)
            multiply_pair(w, m, block, pair, from, to);
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

static void multiply_chunk(const worker *w, nlm_kit_range chunk) {
    const int32_t shares_b = w->p->size.shares_b;
    for (int64_t block = 0; block < w->cut.blocks; block++) {
        const float *shared = shared_at(w, block, w->shared_part.from);
        meeting m = {w->shared_part, chunk, shared, w->chunk};
        if (shares_b) m = (meeting){chunk, w->shared_part, w->chunk, shared};
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
        multiply_chunk(&w, (nlm_kit_range){from, to});
    }
    return NLM_OK;
}
