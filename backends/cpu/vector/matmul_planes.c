/* Many tokens over quantised weights: a group of columns of a run of panels is opened, then meets every tile of
 * tokens, so that what is opened and a tile's part stay in the first cache; the sums wait in memory. */
#include "cpu/vector/activations.h"
#include "cpu/vector/gemm_planes.h"
#include "cpu/vector/matmul_impl.h"

#define GROUP_PANEL_BYTES  (GROUP_BLOCKS * PLANES * BLOCK * PANEL_ROWS)
#define GROUP_PANEL_SCALES (GROUP_BLOCKS * 3 * PANEL_ROWS) /* at most 2 scales a block, and a min */

/* Scratch of a worker: opened panels, their scales and mins, sums of all tiles. */
typedef struct quant_scratch {
    uint8_t opened[OPEN_MAX_PANELS][GROUP_PANEL_BYTES];
    float scales[OPEN_MAX_PANELS][GROUP_PANEL_SCALES];
    float sums[]; /* [tiles][panels][tokens][PANEL_ROWS] */
} quant_scratch;

static uint64_t workspace_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    const int32_t tile = gemm->planes->tokens;
    return (uint64_t)tiles_of(tokens, tile) * nlm_vector_quant_tile_bytes(tile, columns);
}

static uint64_t scratch_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    const int32_t tile = gemm->planes->tokens;
    const uint64_t sums =
        (uint64_t)tiles_of(tokens, tile) * (uint64_t)tile * OPEN_MAX_PANELS * PANEL_ROWS * sizeof(float);
    const uint64_t run = sizeof(quant_scratch) + sums, row = nlm_vector_quant_row_bytes(columns);
    return run > row ? run : row;
}

static const uint8_t *tile_at(const nlm_matmul_job *job, int64_t tile) {
    return (const uint8_t *)job->exec->workspace +
           (uint64_t)tile * nlm_vector_quant_tile_bytes(job->gemm->planes->tokens, job->columns);
}

static void pack(const nlm_matmul_job *job) {
    const nlm_gemm_planes *gemm = job->gemm->planes;
    const int64_t tiles = tiles_of(job->tokens, gemm->tokens);
    for (int64_t t = job->exec->ith; t < tiles; t += job->exec->nth) {
        const int64_t first = t * gemm->tokens, left = job->tokens - first;
        nlm_vector_quant_tile_make(gemm, job->x + first * job->x_stride, job->x_stride,
                                   (int32_t)(left < gemm->tokens ? left : gemm->tokens), job->columns,
                                   job->weights[0].kernels->plane_bits, job->exec->scratch,
                                   (uint8_t *)(uintptr_t)tile_at(job, t));
    }
}

/* All groups of columns of one run of panels. */
static void run_panels(const nlm_matmul_job *job, const nlm_panel_run *run) {
    const nlm_gemm_planes *gemm = job->gemm->planes;
    const nlm_matmul_weight *w = &job->weights[run->weight];
    const nlm_open_quant_fn open_panel = nlm_vector_open_quant[w->kernels - nlm_vector_quant_kernels];
    quant_scratch *scratch = job->exec->scratch;
    const int64_t tiles = tiles_of(job->tokens, gemm->tokens), tile_sums = run->count * gemm->tokens * PANEL_ROWS;
    const int64_t blocks = panel_records(w->format, job->columns) * w->format->columns / BLOCK;
    nlm_open_panel opened[OPEN_MAX_PANELS];
    for (int64_t block = 0; block < blocks; block += GROUP_BLOCKS) {
        const int32_t n_blocks = (int32_t)(blocks - block < GROUP_BLOCKS ? blocks - block : GROUP_BLOCKS);
        for (int32_t p = 0; p < run->count; p++) {
            float *scale = scratch->scales[p], *min = scale + 2 * GROUP_BLOCKS * PANEL_ROWS;
            open_panel(run->data[p], block, n_blocks, gemm->form, scratch->opened[p], scale, min);
            if (gemm->arrange) gemm->arrange(scratch->opened[p], n_blocks);
            opened[p] = (nlm_open_panel){scratch->opened[p], scale, min};
        }
        nlm_panel_ahead ahead = {.panels = 0};
        if (block + GROUP_BLOCKS < blocks) ahead = nlm_vector_matmul_ahead(job, run, block + GROUP_BLOCKS, tiles);
        for (int64_t t = 0; t < tiles; t++) {
            nlm_vector_matmul_bring(&ahead);
            const nlm_quant_tile x = nlm_vector_quant_tile_view(gemm, job->columns, block, tile_at(job, t));
            gemm->run(w->kernels, opened, run->count, n_blocks, &x, block == 0, scratch->sums + t * tile_sums);
        }
    }
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t first = t * gemm->tokens, left = job->tokens - first;
        job->sink(job, run->weight, run->panel, run->count, first,
                  (int32_t)(left < gemm->tokens ? left : gemm->tokens), gemm->tokens, scratch->sums + t * tile_sums);
    }
}

static void run(const nlm_matmul_job *job) {
    const nlm_gemm_planes *gemm = job->gemm->planes;
    for (nlm_panel_share s = {0}; nlm_vector_matmul_next_share(job, GEMM_PANELS, 1, &s);) {
        while (s.from < s.to) {
            const nlm_panel_run run = nlm_vector_matmul_next_run(job, s.from, s.to, OPEN_MAX_PANELS);
            if (gemm->begin) gemm->begin(job->weights[run.weight].kernels);
            run_panels(job, &run);
            if (gemm->end) gemm->end();
            s.from += run.count;
        }
    }
}

const nlm_gemm_way nlm_vector_gemm_by_planes = {workspace_bytes, scratch_bytes, pack, run};
