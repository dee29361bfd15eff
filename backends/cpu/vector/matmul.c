/* Drives a product: which panels are whose, and whether the tokens are few or many. */
#include "cpu/vector/matmul_impl.h"

#include <nlm/plugin_kit.h>

#include "cpu/vector/activations.h"

#define CLAIMS 4 /* parts of what a worker is dealt */

nlm_matmul_weight nlm_vector_matmul_weight_of(const nlm_tensor *w) {
    return (nlm_matmul_weight){w->data, w->shape[0], nlm_vector_matmul_kernels_find(w->dtype),
                               nlm_vector_panel_format_find(w->dtype)};
}

/* ---- what runs where --------------------------------------------------------------------------- */

uint64_t nlm_vector_matmul_workspace_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    if (tokens < MATMUL_GEMM_TOKENS) return 0;
    const uint64_t quant = gemm->way->workspace_bytes(gemm, tokens, columns);
    const uint64_t plain = nlm_vector_plain_workspace_bytes(tokens, columns);
    return quant > plain ? quant : plain;
}

uint64_t nlm_vector_matmul_scratch_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns) {
    uint64_t bytes = (MATMUL_GEMM_TOKENS - 1) * nlm_vector_quant_row_bytes(columns);
    if (tokens < MATMUL_GEMM_TOKENS) return bytes;
    const uint64_t quant = gemm->way->scratch_bytes(gemm, tokens, columns);
    const uint64_t plain = nlm_vector_plain_scratch_bytes(tokens, columns);
    if (quant > bytes) bytes = quant;
    return plain > bytes ? plain : bytes;
}

/* The panels of a job in the order they are worked on, as one range: interleaved weights take turns, others
 * follow each other. */
static int64_t job_panels(const nlm_matmul_job *job) {
    int64_t panels = 0;
    for (int32_t i = 0; i < job->n_weights; i++) panels += panel_count(job->weights[i].rows);
    return panels;
}

nlm_panel_run nlm_vector_matmul_next_run(const nlm_matmul_job *job, int64_t at, int64_t end, int32_t most) {
    nlm_panel_run run = {0};
    const int64_t left = end - at;
    run.count = (int32_t)(left < most ? left : most);
    if (job->is_interleaved) {
        const uint64_t bytes = panel_bytes(job->weights[0].format, job->columns);
        run.panel = at / 2;
        for (int32_t i = 0; i < run.count; i++)
            run.data[i] = job->weights[(at + i) % 2].panels + (uint64_t)((at + i) / 2) * bytes;
        return run;
    }
    while (at >= panel_count(job->weights[run.weight].rows)) at -= panel_count(job->weights[run.weight++].rows);
    const nlm_matmul_weight *w = &job->weights[run.weight];
    const uint64_t bytes = panel_bytes(w->format, job->columns);
    const int64_t here = panel_count(w->rows) - at;
    if (run.count > here) run.count = (int32_t)here;
    run.panel = at;
    const uint8_t *data = w->panels + (uint64_t)at * bytes;
    for (int32_t i = 0; i < run.count; i++, data += bytes) run.data[i] = data;
    return run;
}

/* Few tokens read each weight once: to begin anew somewhere else costs as much as it may save. */
static int may_help(const nlm_matmul_job *job) {
    return job->may_claim && !job->has_panels && job->exec->nth > 1 && job->tokens >= MATMUL_GEMM_TOKENS &&
           nlm_kit_may_claim(job->exec);
}

/* The panels of a worker. */
static void deal(const nlm_matmul_job *job, int32_t multiple, uint32_t ith, nlm_panel_share *out) {
    const int64_t panels = job_panels(job), groups = (panels + multiple - 1) / multiple, nth = job->exec->nth;
    out->from = job->has_panels ? job->panel_from : groups * ith / nth * multiple;
    out->to = job->has_panels ? job->panel_to : groups * (ith + 1) / nth * multiple;
    if (out->to > panels) out->to = panels;
}

/* The next part of what a worker was dealt, if it has one left. */
static int claim_part(const nlm_matmul_job *job, int32_t multiple, int64_t rounds, uint32_t of,
                      nlm_panel_share *out) {
    deal(job, multiple, of, out);
    const int64_t groups = (out->to - out->from + multiple - 1) / multiple;
    if (groups == 0) return 0;
    const int64_t size = (groups < CLAIMS ? 1 : groups / CLAIMS) * multiple, end = out->to;
    const int64_t parts = (end - out->from + size - 1) / size, part = job->exec->claim(job->exec, of);
    out->round = part / parts;
    out->from += part % parts * size;
    out->to = out->from + size < end ? out->from + size : end;
    return out->round < rounds;
}

int nlm_vector_matmul_next_share(const nlm_matmul_job *job, int32_t multiple, int64_t rounds,
                                 nlm_panel_share *share) {
    const nlm_exec_v1 *x = job->exec;
    if (!may_help(job)) {
        if (share->asked++ > 0) return ++share->round < rounds;
        deal(job, multiple, x->ith, share);
        return share->from < share->to;
    }
    for (; share->asked < x->nth; share->asked++) {
        if (claim_part(job, multiple, rounds, (x->ith + share->asked) % x->nth, share)) return 1;
    }
    return 0;
}

nlm_panel_ahead nlm_vector_matmul_ahead(const nlm_matmul_job *job, const nlm_panel_run *run, int64_t block,
                                        int64_t parts) {
    const nlm_panel_format *format = job->weights[run->weight].format;
    const int64_t per_record = format->columns / BLOCK, skipped = block * format->bytes / per_record;
    nlm_panel_ahead a = {.panels = run->count,
                         .lines = ((int64_t)format->bytes * GROUP_BLOCKS / per_record + 63) / 64};
    for (int32_t p = 0; p < run->count; p++) a.data[p] = run->data[p] + skipped;
    a.share = (a.lines * a.panels + parts - 1) / parts;
    return a;
}

/* ---- few tokens -------------------------------------------------------------------------------- */

/* The rows of x as the kernels take them. */
typedef struct gemv_rows {
    const float *plain[MATMUL_GEMM_TOKENS];
    nlm_quant_row quant[MATMUL_GEMM_TOKENS];
} gemv_rows;

/* Those of the device, which may know instructions that the backend's every CPU does not. */
static const nlm_matmul_kernels *few_kernels(const nlm_matmul_job *job, const nlm_matmul_kernels *kernels) {
    return kernels->is_quant ? &job->gemm->few[kernels - nlm_vector_quant_kernels] : kernels;
}

static void take_rows(const nlm_matmul_job *job, gemv_rows *rows) {
    const nlm_matmul_kernels *kernels = few_kernels(job, job->weights[0].kernels);
    uint8_t *memory = job->exec->scratch;
    for (int64_t m = 0; m < job->tokens; m++) {
        rows->plain[m] = job->x + m * job->x_stride;
        if (!kernels->is_quant) continue;
        rows->quant[m] = kernels->make_row(rows->plain[m], job->columns, memory);
        memory += nlm_vector_quant_row_bytes(job->columns);
    }
}

static void gemv_panels(const nlm_matmul_job *job, const nlm_matmul_weight *w, const uint8_t *const *panels,
                        int32_t n_panels, const gemv_rows *rows, int32_t token, int32_t tokens, float *tile) {
    const nlm_matmul_kernels *kernels = few_kernels(job, w->kernels);
    const int wide = n_panels > GEMV_PANELS / 2;
    const uint8_t *streams[GEMV_PANELS]; /* three panels are sooner done as four, the last of them twice */
    for (int32_t p = 0; p < GEMV_PANELS; p++) streams[p] = panels[p < n_panels ? p : n_panels - 1];
    for (int32_t p = 0; p < n_panels; p += wide ? GEMV_PANELS : 1) {
        float *out = tile + (int64_t)p * tokens * PANEL_ROWS;
        if (kernels->is_quant)
            kernels->gemv_quant[wide][tokens - 1](streams + p, panel_records(w->format, job->columns),
                                                  rows->quant + token, out);
        else
            kernels->gemv_f32[wide][tokens - 1](streams + p, job->columns, rows->plain + token, out);
    }
}

/* Panels [from, to) of one weight, or pairs of panels of two, as GEMV_PANELS streams: each reads on where it was,
 * so that what it prefetches is what it needs next. */
static void gemv_streams(const nlm_matmul_job *job, int32_t weight, int64_t from, int64_t to, const gemv_rows *rows) {
    const int32_t width = job->is_interleaved ? 2 : 1, streams = GEMV_PANELS / width;
    const nlm_matmul_weight *w = &job->weights[weight];
    const uint64_t bytes = panel_bytes(w->format, job->columns);
    const int64_t length = (to - from + streams - 1) / streams;
    const int32_t most = w->kernels->is_quant ? GEMV_TOKENS : GEMV_PLAIN_TOKENS;
    float tile[GEMV_PANELS * GEMV_PLAIN_TOKENS * PANEL_ROWS];
    for (int64_t at = from; at < from + length; at++) {
        const uint8_t *panels[GEMV_PANELS];
        int32_t n_panels = 0;
        int64_t panel = at;
        do {
            for (int32_t i = 0; i < width; i++) panels[n_panels++] = w[i].panels + (uint64_t)panel * bytes;
        } while ((panel += length) < to && n_panels < GEMV_PANELS);
        for (int32_t m = 0; m < job->tokens; m += most) {
            const int32_t left = (int32_t)job->tokens - m, n = left < most ? left : most;
            gemv_panels(job, w, panels, n_panels, rows, m, n, tile);
            for (int32_t p = 0; p < n_panels; p += width)
                job->sink(job, weight, at + p / width * length, width, m, n, n, tile + p * n * PANEL_ROWS);
        }
    }
}

static void run_gemv(const nlm_matmul_job *job) {
    gemv_rows rows;
    nlm_panel_share share = {0};
    take_rows(job, &rows);
    if (!nlm_vector_matmul_next_share(job, GEMV_PANELS, 1, &share)) return;
    int64_t at = share.from, end = share.to;
    if (job->is_interleaved) {
        gemv_streams(job, 0, at / 2, end / 2, &rows);
        return;
    }
    for (int32_t i = 0; i < job->n_weights && end > 0; i++) {
        const int64_t here = panel_count(job->weights[i].rows);
        if (at < here) gemv_streams(job, i, at, end < here ? end : here, &rows);
        at = at < here ? 0 : at - here;
        end -= here;
    }
}

int nlm_vector_matmul_is_one_job(const nlm_matmul_job *job) {
    const nlm_matmul_kernels *first = job->weights[0].kernels;
    for (int32_t i = 1; i < job->n_weights; i++) {
        const nlm_matmul_kernels *kernels = job->weights[i].kernels;
        if (kernels->is_quant != first->is_quant || kernels->make_row != first->make_row) return 0;
    }
    return 1;
}

nlm_status nlm_vector_matmul_run(const nlm_matmul_job *job) {
    if (job->tokens < MATMUL_GEMM_TOKENS) {
        if (job->tokens > 0) run_gemv(job);
        return NLM_OK;
    }
    const int is_quant = job->weights[0].kernels->is_quant;
    if (is_quant)
        job->gemm->way->pack(job);
    else
        nlm_vector_pack_plain(job);
    const nlm_status status = job->exec->barrier(job->exec);
    if (status != NLM_OK) return status;
    if (is_quant)
        job->gemm->way->run(job);
    else
        nlm_vector_run_gemm_plain(job);
    return NLM_OK;
}
