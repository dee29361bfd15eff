#include "cpu/vector/matmul.h"

#include "cpu/vector/activations.h"

#define ROUND_UP(bytes) (((bytes) + 63) & ~(uint64_t)63)
#define OPEN_BYTES      (512 * 1024) /* of opened panels that stay in L2 */
#define OPEN_MAX_PANELS 8
#define F32_DEPTH       512 /* columns of f32 panels taken at a time */
#define MAX_TILE_TOKENS 16

matmul_weight nlm_vector_matmul_weight_of(const nlm_tensor *w) {
    return (matmul_weight){w->data, w->shape[0], nlm_vector_matmul_kernels_find(w->dtype),
                           nlm_vector_panel_format_find(w->dtype)};
}

/* ---- what runs where --------------------------------------------------------------------------- */

static int32_t opened_panels(int64_t columns) {
    const int64_t bytes = padded_blocks(columns) * BLOCK * PANEL_ROWS;
    const int64_t fit = OPEN_BYTES / (bytes ? bytes : 1) / GEMM_PANELS * GEMM_PANELS;
    return (int32_t)(fit < GEMM_PANELS ? GEMM_PANELS : fit > OPEN_MAX_PANELS ? OPEN_MAX_PANELS : fit);
}

static int64_t tiles_of(int64_t tokens, int32_t tile) {
    return (tokens + tile - 1) / tile;
}

/* An opened quantised panel: bytes, then at most 2 scales a block, then mins. */
static uint64_t open_panel_bytes(int64_t columns) {
    const uint64_t blocks = (uint64_t)padded_blocks(columns);
    return ROUND_UP(blocks * BLOCK * PANEL_ROWS + blocks * 3 * PANEL_ROWS * sizeof(float));
}

static uint64_t f32_sums_bytes(int64_t tokens) {
    return (uint64_t)tiles_of(tokens, GEMM_F32_TOKENS) * OPEN_MAX_PANELS * GEMM_F32_TOKENS * PANEL_ROWS *
           sizeof(float);
}

uint64_t nlm_vector_matmul_workspace_bytes(const gemm_quant *gemm, int64_t tokens, int64_t columns) {
    if (tokens < MATMUL_GEMM_TOKENS) return 0;
    const uint64_t quant =
        (uint64_t)tiles_of(tokens, gemm->tokens) * nlm_vector_quant_tile_bytes(gemm->tokens, columns);
    const uint64_t plain =
        (uint64_t)tiles_of(tokens, GEMM_F32_TOKENS) * GEMM_F32_TOKENS * (uint64_t)columns * sizeof(float);
    return quant > plain ? quant : plain;
}

uint64_t nlm_vector_matmul_scratch_bytes(const gemm_quant *gemm, int64_t tokens, int64_t columns) {
    (void)gemm;
    uint64_t bytes = (MATMUL_GEMM_TOKENS - 1) * nlm_vector_quant_row_bytes(columns);
    if (tokens < MATMUL_GEMM_TOKENS) return bytes;
    const uint64_t quant =
        (uint64_t)opened_panels(columns) * open_panel_bytes(columns) + nlm_vector_quant_row_bytes(columns);
    const uint64_t plain = f32_sums_bytes(tokens) + OPEN_MAX_PANELS * F32_DEPTH * PANEL_ROWS * sizeof(float);
    if (quant > bytes) bytes = quant;
    return plain > bytes ? plain : bytes;
}

/* The panels of a job in the order they are worked on, as one range: interleaved weights take turns, others
 * follow each other. */
static int64_t job_panels(const matmul_job *job) {
    int64_t panels = 0;
    for (int32_t i = 0; i < job->n_weights; i++) panels += panel_count(job->weights[i].rows);
    return panels;
}

/* At most `most` panels from `at` that one call can take: where they are and how many. */
typedef struct panel_run {
    int32_t weight, count;
    int64_t panel;
    const uint8_t *data[OPEN_MAX_PANELS];
} panel_run;

static panel_run next_run(const matmul_job *job, int64_t at, int64_t end, int32_t most) {
    panel_run run = {0};
    const int64_t left = end - at;
    run.count = (int32_t)(left < most ? left : most);
    const uint64_t bytes = panel_bytes(job->weights[0].format, job->columns);
    if (job->is_interleaved) {
        run.panel = at / 2;
        for (int32_t i = 0; i < run.count; i++)
            run.data[i] = job->weights[(at + i) % 2].panels + (uint64_t)((at + i) / 2) * bytes;
        return run;
    }
    while (at >= panel_count(job->weights[run.weight].rows)) at -= panel_count(job->weights[run.weight++].rows);
    const matmul_weight *w = &job->weights[run.weight];
    const int64_t here = panel_count(w->rows) - at;
    if (run.count > here) run.count = (int32_t)here;
    run.panel = at;
    for (int32_t i = 0; i < run.count; i++)
        run.data[i] = w->panels + (uint64_t)(at + i) * panel_bytes(w->format, job->columns);
    return run;
}

/* This worker's range of panels: those it was given, or its share in whole runs of `multiple`. */
static void my_panels(const matmul_job *job, int32_t multiple, int64_t *from, int64_t *to) {
    const int64_t panels = job_panels(job), groups = (panels + multiple - 1) / multiple;
    if (job->has_panels) {
        *from = job->panel_from;
        *to = job->panel_to;
        return;
    }
    *from = groups * job->exec->ith / job->exec->nth * multiple;
    *to = groups * (job->exec->ith + 1) / job->exec->nth * multiple;
    if (*to > panels) *to = panels;
}

/* ---- few tokens -------------------------------------------------------------------------------- */

static void gemv_panels(const matmul_kernels *kernels, const panel_format *format, int64_t columns,
                        const uint8_t *const *panels, int32_t n_panels, const quant_row *quant,
                        const float *const *plain, int32_t tokens, float *tile) {
    const int wide = n_panels > GEMV_PANELS / 2;
    const uint8_t *streams[GEMV_PANELS]; /* three panels are sooner done as four, the last of them twice */
    for (int32_t p = 0; p < GEMV_PANELS; p++) streams[p] = panels[p < n_panels ? p : n_panels - 1];
    for (int32_t p = 0; p < n_panels; p += wide ? GEMV_PANELS : 1) {
        float *out = tile + (int64_t)p * tokens * PANEL_ROWS;
        if (kernels->is_quant)
            kernels->gemv_quant[wide][tokens - 1](streams + p, panel_records(format, columns), quant, out);
        else
            kernels->gemv_f32[wide][tokens - 1](streams + p, columns, plain, out);
    }
}

static void run_gemv(const matmul_job *job) {
    quant_row quant[MATMUL_GEMM_TOKENS];
    const float *plain[MATMUL_GEMM_TOKENS];
    uint8_t *memory = job->exec->scratch;
    for (int64_t m = 0; m < job->tokens; m++) {
        plain[m] = job->x + m * job->x_stride;
        if (!job->weights[0].kernels->is_quant) continue;
        quant[m] = nlm_vector_quant_row_make(plain[m], job->columns, memory);
        memory += nlm_vector_quant_row_bytes(job->columns);
    }
    int64_t at, end;
    my_panels(job, GEMV_PANELS, &at, &end);
    float tile[GEMV_PANELS * GEMV_TOKENS * PANEL_ROWS];
    while (at < end) {
        const panel_run run = next_run(job, at, end, GEMV_PANELS);
        const matmul_weight *w = &job->weights[run.weight];
        for (int32_t m = 0; m < job->tokens; m += GEMV_TOKENS) {
            const int32_t left = (int32_t)job->tokens - m, n = left < GEMV_TOKENS ? left : GEMV_TOKENS;
            gemv_panels(w->kernels, w->format, job->columns, run.data, run.count, quant + m, plain + m, n, tile);
            job->sink(job, run.weight, run.panel, run.count, m, n, n, tile);
        }
        at += run.count;
    }
}

/* ---- many tokens, quantised weights ------------------------------------------------------------- */

static void pack_quant(const matmul_job *job) {
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

static void run_gemm_quant(const matmul_job *job) {
    const gemm_quant *gemm = job->gemm;
    const int64_t tiles = tiles_of(job->tokens, gemm->tokens);
    const int32_t most = opened_panels(job->columns);
    float out[GEMM_PANELS * MAX_TILE_TOKENS * PANEL_ROWS];
    int64_t at, end;
    my_panels(job, GEMM_PANELS, &at, &end);
    while (at < end) {
        const panel_run run = next_run(job, at, end, most);
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

/* ---- many tokens, plain weights ------------------------------------------------------------------ */

static void pack_plain(const matmul_job *job) {
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

static void run_gemm_plain(const matmul_job *job) {
    const int64_t tiles = tiles_of(job->tokens, GEMM_F32_TOKENS);
    const int64_t sums_of_pair = GEMM_PANELS * GEMM_F32_TOKENS * PANEL_ROWS;
    float *sums = job->exec->scratch;
    float *opened = (float *)(void *)((uint8_t *)job->exec->scratch + f32_sums_bytes(job->tokens));
    int64_t at, end;
    my_panels(job, GEMM_PANELS, &at, &end);
    while (at < end) {
        const panel_run run = next_run(job, at, end, OPEN_MAX_PANELS);
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
                w->kernels->open(from, depth, (uint8_t *)to, NULL, NULL);
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

int nlm_vector_matmul_is_one_job(const matmul_job *job) {
    for (int32_t i = 1; i < job->n_weights; i++) {
        if (job->weights[i].kernels->is_quant != job->weights[0].kernels->is_quant) return 0;
    }
    return 1;
}

nlm_status nlm_vector_matmul_run(const matmul_job *job) {
    if (job->tokens < MATMUL_GEMM_TOKENS) {
        if (job->tokens > 0) run_gemv(job);
        return NLM_OK;
    }
    const int is_quant = job->weights[0].kernels->is_quant;
    if (is_quant)
        pack_quant(job);
    else
        pack_plain(job);
    const nlm_status status = job->exec->barrier(job->exec);
    if (status != NLM_OK) return status;
    if (is_quant)
        run_gemm_quant(job);
    else
        run_gemm_plain(job);
    return NLM_OK;
}
