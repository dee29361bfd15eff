/* Many tokens over plain weights: a run of panels meets every tile of tokens, F32_DEPTH columns at a time. */
#include "cpu/vector/matmul_impl.h"

#define F32_DEPTH 512 /* columns of f32 panels taken at a time */

static uint64_t f32_sums_bytes(int64_t tokens) {
    return (uint64_t)tiles_of(tokens, GEMM_F32_TOKENS) * OPEN_MAX_PANELS * GEMM_F32_TOKENS * PANEL_ROWS *
           sizeof(float);
}

uint64_t nlm_vector_plain_workspace_bytes(int64_t tokens, int64_t columns) {
    return (uint64_t)tiles_of(tokens, GEMM_F32_TOKENS) * GEMM_F32_TOKENS * (uint64_t)columns * sizeof(float);
}

uint64_t nlm_vector_plain_scratch_bytes(int64_t tokens) {
    return f32_sums_bytes(tokens) + OPEN_MAX_PANELS * F32_DEPTH * PANEL_ROWS * sizeof(float);
}

void nlm_vector_pack_plain(const matmul_job *job) {
    const int64_t tiles = tiles_of(job->tokens, GEMM_F32_TOKENS);
    for (int64_t t = job->exec->ith; t < tiles; t += job->exec->nth) {
        float *out = (float *)job->exec->workspace + t * GEMM_F32_TOKENS * job->columns;
        for (int64_t m = 0; m < GEMM_F32_TOKENS; m++) {
            const int64_t token = t * GEMM_F32_TOKENS + m;
            const float *row = token < job->tokens ? job->x + token * job->x_stride : NULL;
            for (int64_t k = 0; k < job->columns; k++) out[k * GEMM_F32_TOKENS + m] = row ? row[k] : 0.0f;
        }
    }
}

void nlm_vector_run_gemm_plain(const matmul_job *job) {
    const int64_t tiles = tiles_of(job->tokens, GEMM_F32_TOKENS);
    const int64_t sums_of_pair = GEMM_PANELS * GEMM_F32_TOKENS * PANEL_ROWS;
    float *sums = job->exec->scratch;
    float *opened = (float *)(void *)((uint8_t *)job->exec->scratch + f32_sums_bytes(job->tokens));
    int64_t at, end;
    nlm_vector_matmul_my_panels(job, GEMM_PANELS, &at, &end);
    while (at < end) {
        const panel_run run = nlm_vector_matmul_next_run(job, at, end, OPEN_MAX_PANELS);
        const matmul_weight *w = &job->weights[run.weight];
        const int32_t pairs = (run.count + 1) / GEMM_PANELS;
        for (int64_t k = 0; k < job->columns; k += F32_DEPTH) {
            const int64_t depth = job->columns - k < F32_DEPTH ? job->columns - k : F32_DEPTH;
            const float *panels[OPEN_MAX_PANELS];
            for (int32_t p = 0; p < run.count; p++) {
                const uint8_t *from = run.data[p] + (uint64_t)k * w->format->bytes;
                panels[p] = (const float *)(const void *)from;
                if (w->kernels->dtype == NLM_F32) continue;
                float *to = opened + (int64_t)p * F32_DEPTH * PANEL_ROWS;
                w->kernels->open_plain(from, depth, to);
                panels[p] = to;
            }
            for (int64_t t = 0; t < tiles; t++) {
                const float *x = (const float *)job->exec->workspace + (t * job->columns + k) * GEMM_F32_TOKENS;
                for (int32_t pair = 0; pair < pairs; pair++) {
                    const int32_t second = 2 * pair + 1 < run.count ? 2 * pair + 1 : 2 * pair;
                    const float *both[GEMM_PANELS] = {panels[2 * pair], panels[second]};
                    nlm_vector_gemm_f32(both, depth, x, k == 0,
                                        sums + (t * (OPEN_MAX_PANELS / GEMM_PANELS) + pair) * sums_of_pair);
                }
            }
        }
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t first = t * GEMM_F32_TOKENS, left = job->tokens - first;
            for (int32_t pair = 0; pair < pairs; pair++) {
                job->sink(job, run.weight, run.panel + (job->is_interleaved ? pair : 2 * pair),
                          run.count - 2 * pair < GEMM_PANELS ? 1 : GEMM_PANELS, first,
                          (int32_t)(left < GEMM_F32_TOKENS ? left : GEMM_F32_TOKENS), GEMM_F32_TOKENS,
                          sums + (t * (OPEN_MAX_PANELS / GEMM_PANELS) + pair) * sums_of_pair);
            }
        }
        at += run.count;
    }
}
