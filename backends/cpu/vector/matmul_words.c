/* Many tokens over quantised weights: a group of columns of the panels of a tile is opened into the first cache and
 * meets all tokens; the sums wait in the second. */
#include "cpu/vector/activations.h"
#include "cpu/vector/gemm_words.h"
#include "cpu/vector/matmul_impl.h"

/* Scratch of a worker: sums[tiles][panels][tokens][PANEL_ROWS]. */
typedef struct words_scratch {
    nlm_open_words opened;
    float sums[];
} words_scratch;

#define TILE_FLOATS (V_WORD_PANELS * V_WORD_TOKENS * PANEL_ROWS)

/* ---- activations ------------------------------------------------------------------------------- */

/* The kernels for a job's weights, which are of one kind: see nlm_vector_matmul_is_one_job. */
static const nlm_gemm_words *words_of(const nlm_matmul_job *job) {
    return job->weights[0].kernels->is_small ? job->gemm->small : job->gemm->words;
}

/* The workspace: q[groups][rows][GROUP_COLUMNS], sum[groups][rows][GROUP_BLOCKS], d[groups][rows]. Rows are tokens,
 * up to a whole number of tiles; groups of columns as panels count them, up to whole super-blocks. */
typedef struct words_rows {
    int64_t rows, groups;
    int64_t q_bytes; /* of a group of a row */
    uint8_t *q;
    float *sum, *d;
} words_rows;

static words_rows rows_of(const nlm_matmul_job *job) {
    words_rows r = {.rows = tiles_of(job->tokens, V_WORD_TOKENS) * V_WORD_TOKENS,
                    .groups = padded_blocks(job->columns) / GROUP_BLOCKS,
                    .q_bytes = GROUP_COLUMNS * words_of(job)->column_bytes,
                    .q = job->exec->workspace};
    r.sum = (float *)(void *)(r.q + r.groups * r.rows * r.q_bytes);
    r.d = r.sum + r.groups * r.rows * GROUP_BLOCKS;
    return r;
}

static uint64_t workspace_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    const int64_t rows = tiles_of(tokens, V_WORD_TOKENS) * V_WORD_TOKENS;
    const uint64_t q_bytes = GROUP_COLUMNS * (uint64_t)gemm->words->column_bytes; /* not less than of the small */
    return (uint64_t)(rows * padded_blocks(columns) / GROUP_BLOCKS) * (q_bytes + (GROUP_BLOCKS + 1) * sizeof(float));
}

static uint64_t scratch_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    (void)gemm;
    (void)columns;
    return sizeof(words_scratch) + (uint64_t)tiles_of(tokens, V_WORD_TOKENS) * TILE_FLOATS * sizeof(float);
}

static void pack(const nlm_matmul_job *job) {
    const nlm_gemm_words *words = words_of(job);
    const words_rows r = rows_of(job);
    const int32_t plane_bits = job->weights[0].kernels->plane_bits;
    const int64_t end = r.rows * (job->exec->ith + 1) / job->exec->nth;
    for (int64_t m = r.rows * job->exec->ith / job->exec->nth; m < end; m++) {
        for (int64_t g = 0; g < r.groups; g++) {
            const int64_t at = g * r.rows + m;
            r.d[at] = words->pack(job->x + m * job->x_stride + g * GROUP_COLUMNS,
                                  m < job->tokens ? whole_blocks(job->columns, g) : 0, plane_bits,
                                  r.q + at * r.q_bytes, r.sum + at * GROUP_BLOCKS);
        }
    }
}

/* ---- the product ------------------------------------------------------------------------------- */

/* Where a worker is: the panels of a tile, and the first block of a group of their columns. */
typedef struct words_cursor {
    nlm_panel_share left; /* after those panels */
    nlm_panel_run run;    /* none: it is done */
    int64_t block, blocks;
} words_cursor;

static words_cursor start_at(const nlm_matmul_job *job, nlm_panel_share left) {
    words_cursor c = {.left = left};
    if (left.from == left.to && !nlm_vector_matmul_next_share(job, V_WORD_PANELS, 1, &c.left)) return c;
    c.run = nlm_vector_matmul_next_run(job, c.left.from, c.left.to, V_WORD_PANELS);
    c.left.from += c.run.count;
    const nlm_panel_format *format = job->weights[c.run.weight].format;
    c.blocks = panel_records(format, job->columns) * format->columns / BLOCK;
    return c;
}

static words_cursor next_of(const nlm_matmul_job *job, const words_cursor *now) {
    words_cursor c = *now;
    c.block += GROUP_BLOCKS;
    return c.block < c.blocks ? c : start_at(job, c.left);
}

/* All tokens against one group. */
static void run_group(const nlm_matmul_job *job, const words_rows *r, const words_cursor *c,
                      const words_cursor *next) {
    const nlm_gemm_words *words = words_of(job);
    const nlm_matmul_kernels *kernels = job->weights[c->run.weight].kernels;
    words_scratch *scratch = job->exec->scratch;
    const int64_t tiles = r->rows / V_WORD_TOKENS, left = c->blocks - c->block;
    const int32_t n_blocks = (int32_t)(left < GROUP_BLOCKS ? left : GROUP_BLOCKS);
    for (int32_t p = 0; p < V_WORD_PANELS; p++) { /* what a short run lacks is its last panel again */
        const uint8_t *panel = c->run.data[p < c->run.count ? p : c->run.count - 1];
        words->open[kernels - nlm_vector_quant_kernels](panel, c->block, n_blocks, p, &scratch->opened);
    }
    nlm_panel_ahead ahead = {.panels = 0};
    if (next->run.count > 0) ahead = nlm_vector_matmul_ahead(job, &next->run, next->block, tiles);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t at = c->block / GROUP_BLOCKS * r->rows + t * V_WORD_TOKENS;
        const nlm_words_tile x = {r->q + at * r->q_bytes, r->d + at, r->sum + at * GROUP_BLOCKS};
        nlm_vector_matmul_bring(&ahead);
        words->run(kernels, &scratch->opened, n_blocks, &x, c->block == 0, scratch->sums + t * TILE_FLOATS);
    }
}

static void sink_tiles(const nlm_matmul_job *job, const nlm_panel_run *run) {
    const float *sums = ((words_scratch *)job->exec->scratch)->sums;
    for (int64_t m = 0; m < job->tokens; m += V_WORD_TOKENS, sums += TILE_FLOATS) {
        const int64_t left = job->tokens - m;
        job->sink(job, run->weight, run->panel, run->count, m, (int32_t)(left < V_WORD_TOKENS ? left : V_WORD_TOKENS),
                  V_WORD_TOKENS, sums);
    }
}

/* What comes next is known, and claimed, before the last group of a tile: its weights are on their way then. */
static void run(const nlm_matmul_job *job) {
    const words_rows r = rows_of(job);
    words_cursor now = start_at(job, (nlm_panel_share){0});
    while (now.run.count > 0) {
        const words_cursor next = next_of(job, &now);
        run_group(job, &r, &now, &next);
        if (next.block == 0) sink_tiles(job, &now.run);
        now = next;
    }
}

const nlm_gemm_way nlm_vector_gemm_by_words = {workspace_bytes, scratch_bytes, pack, run};
