/* The gradients of Mamba's selective scan. */
#include "launch.h"

#define THREADS 128 /* as in device/scan.cuh */
#define GROUPS  8

/* The floats of the workspace: see ssm_scan_bwd.cu, whose kernels find their way by the same sums. */
typedef struct parts {
    int64_t chunk;         /* tokens */
    int64_t tiles, states; /* of channels; per thread */
    int64_t kept, history, rates, skips, rows;
} parts;

static parts parts_of(int64_t rows, int64_t sequences, int64_t channels, int64_t n) {
    parts p = {.tiles = nlm_cuda_div_up(channels, NLM_SSM_TILE), .states = nlm_cuda_div_up(n, GROUPS)};
    const int64_t of_tile = p.states * THREADS;
    p.chunk = p.states <= 8 ? 16 : 8;
    p.kept = (rows / p.chunk + sequences) * p.tiles * of_tile;
    p.history = p.states > 2 ? sequences * p.tiles * p.chunk * of_tile : 0;
    p.rates = sequences * p.tiles * of_tile;
    p.skips = sequences * p.tiles * NLM_SSM_TILE;
    p.rows = p.tiles * rows * 2 * n;
    return p;
}

void nlm_cuda_ssm_scan_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const parts p = parts_of(nlm_dim(dims, 'T'), nlm_dim(dims, 'S'), nlm_dim(dims, 'C'), nlm_dim(dims, 'N'));
    out->workspace_bytes = sizeof(float) * (uint64_t)(p.kept + p.history + p.rates + p.skips + p.rows);
}

nlm_status nlm_cuda_ssm_scan_bwd(const nlm_exec_v1 *x, const nlm_ssm_scan_bwd_args *args) {
    const int64_t states = args->a->shape[1], rows = nlm_live_rows(x, args->x);
    const parts p = parts_of(args->x->shape[0], args->slot->shape[0], args->x->shape[1], states);
    nlm_cuda_work work = {
        .op = NLM_OP_ssm_scan_bwd,
        .args = args,
        .kernel = {"ssm_scan_bwd",
                   "ssm_scan_bwd",
                   {{"ACT", nlm_cuda_type_name(args->x), 0},
                    {"STATES", NULL, (int)states},
                    {"CHUNK", NULL, (int)p.chunk}}},
        .grid = {nlm_live_rows(x, args->slot), p.tiles},
        .threads = THREADS,
    };
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel.name = "ssm_scan_bwd_rows";
    work.grid[0] = nlm_cuda_div_up(rows * 2 * states, THREADS);
    work.grid[1] = 1;
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel.name = "ssm_scan_bwd_rates";
    work.grid[0] = p.tiles;
    work.grid[1] = p.states;
    return nlm_cuda_launch(x, &work);
}
