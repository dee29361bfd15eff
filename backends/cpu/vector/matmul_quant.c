/* Many tokens over quantised weights: panels are opened a run at a time, then meet every tile of tokens. */
#include "cpu/vector/activations.h"
#include "cpu/vector/matmul_impl.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)
#define OPEN_BYTES      (512 * 1024) /* of opened panels that stay in L2 */
#define MAX_TILE_TOKENS 16

static int32_t opened_panels(int64_t columns) {
    const int64_t bytes = padded_blocks(columns) * BLOCK * PANEL_ROWS;
    const int64_t fit = OPEN_BYTES / (bytes ? bytes : 1) / GEMM_PANELS * GEMM_PANELS;
    return (int32_t)(fit < GEMM_PANELS ? GEMM_PANELS : fit > OPEN_MAX_PANELS ? OPEN_MAX_PANELS : fit);
}

/* An opened quantised panel: bytes, then at most 2 scales a block, then mins. */
static uint64_t open_panel_bytes(int64_t columns) {
    const uint64_t blocks = (uint64_t)padded_blocks(columns);
    return ROUND_UP(blocks * BLOCK * PANEL_ROWS + blocks * 3 * PANEL_ROWS * sizeof(float));
}

uint64_t nlm_vector_quant_workspace_bytes(const gemm_quant *gemm, int64_t tokens, int64_t columns) {
    return (uint64_t)tiles_of(tokens, gemm->tokens) * nlm_vector_quant_tile_bytes(gemm->tokens, columns);
}

uint64_t nlm_vector_quant_scratch_bytes(int64_t columns) {
    return (uint64_t)opened_panels(columns) * open_panel_bytes(columns) + nlm_vector_quant_row_bytes(columns);
}

void nlm_vector_pack_quant(const matmul_job *job) {
    const gemm_quant *gemm = job->gemm;
    const int64_t tiles = tiles_of(job->tokens, gemm->tokens);
    for (int64_t t = job->exec->ith; t < tiles; t += job->exec->nth) {
        const int64_t first = t * gemm->tokens, left = job->tokens - first;
        nlm_vector_quant_tile_make(
            gemm, job->x + first * job->x_stride, job->x_stride, (int32_t)(left < gemm->tokens ? left : gemm->tokens),
            job->columns, job->exec->scratch,
            (uint8_t *)job->exec->workspace + (uint64_t)t * nlm_vector_quant_tile_bytes(gemm->tokens, job->columns));
    }
}

/* Opens a run of panels into scratch. */
static void open_run(const matmul_job *job, const panel_run *run, open_panel *opened) {
    const matmul_weight *w = &job->weights[run->weight];
    const int64_t blocks = padded_blocks(job->columns), records = panel_records(w->format, job->columns);
    const int64_t bytes = records * w->format->columns * PANEL_ROWS;
    for (int32_t i = 0; i < run->count; i++) {
        uint8_t *q = (uint8_t *)job->exec->scratch + (uint64_t)i * open_panel_bytes(job->columns);
        float *scale = (float *)(void *)(q + blocks * BLOCK * PANEL_ROWS), *min = scale + blocks * 2 * PANEL_ROWS;
        w->kernels->open(run->data[i], records, q, scale, min);
        opened[i] = (open_panel){q, scale, min};
        if (!job->gemm->is_signed || w->kernels->offset == 0) continue;
        const vi offset = vi_set1_u8((uint8_t)w->kernels->offset);
        for (int64_t at = 0; at < bytes; at += GROUP_BYTES) vi_store(q + at, vi_sub_u8(vi_load(q + at), offset));
    }
}

void nlm_vector_run_gemm_quant(const matmul_job *job) {
    const gemm_quant *gemm = job->gemm;
    const int64_t tiles = tiles_of(job->tokens, gemm->tokens);
    const int32_t most = opened_panels(job->columns);
    float out[GEMM_PANELS * MAX_TILE_TOKENS * PANEL_ROWS];
    int64_t at, end;
    nlm_vector_matmul_my_panels(job, GEMM_PANELS, &at, &end);
    while (at < end) {
        const panel_run run = nlm_vector_matmul_next_run(job, at, end, most);
        const matmul_weight *w = &job->weights[run.weight];
        open_panel opened[OPEN_MAX_PANELS];
        open_run(job, &run, opened);
        const int64_t blocks = panel_records(w->format, job->columns) * w->format->columns / BLOCK;
        if (gemm->begin) gemm->begin(w->kernels->halves);
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = t * gemm->tokens, left = job->tokens - first;
            const quant_tile x =
                nlm_vector_quant_tile_view(gemm, job->columns,
                                           (const uint8_t *)job->exec->workspace +
                                               (uint64_t)t * nlm_vector_quant_tile_bytes(gemm->tokens, job->columns));
            for (int32_t p = 0; p < run.count; p += GEMM_PANELS) {
                const int32_t n = run.count - p < GEMM_PANELS ? run.count - p : GEMM_PANELS;
                gemm->run(w->kernels, opened + p, n, blocks, &x, out);
                job->sink(job, run.weight, run.panel + (job->is_interleaved ? p / 2 : p), n, first,
                          (int32_t)(left < gemm->tokens ? left : gemm->tokens), gemm->tokens, out);
            }
        }
        if (gemm->end) gemm->end();
        at += run.count;
    }
}
