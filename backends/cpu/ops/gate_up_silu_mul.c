/* Both projections of a gated feed-forward block as one product whose panels take turns. */
#include "cpu/vector/vector.h"

/* Panels come in pairs: gate, up. */
static void store_tile(const nlm_matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels, int64_t token,
                       int32_t n_tokens, int32_t tile_tokens, const float *tile) {
    (void)weight;
    const nlm_gate_up_silu_mul_args *args = job->sink_args;
    for (int32_t m = 0; m < n_tokens; m++) {
        float *y = nlm_kit_at(args->y, token + m);
        for (int32_t p = 0; p < n_panels; p += 2) {
            const int64_t first = (panel + p / 2) * PANEL_ROWS, left = args->w_gate->shape[0] - first;
            const int n = (int)(left < PANEL_ROWS ? left : PANEL_ROWS);
            const vf gate = vf_load(tile + (p * tile_tokens + m) * PANEL_ROWS);
            const vf up = vf_load(tile + ((p + 1) * tile_tokens + m) * PANEL_ROWS);
            vf_store_n(y + first, vf_mul(vf_silu(gate), up), n);
        }
    }
}

nlm_status nlm_vector_gate_up_silu_mul(const nlm_exec_v1 *x, const nlm_gate_up_silu_mul_args *args) {
    nlm_matmul_job job = nlm_vector_job(x, args->x);
    job.n_weights = 2;
    job.is_interleaved = 1;
    job.weights[0] = nlm_vector_matmul_weight_of(args->w_gate);
    job.weights[1] = nlm_vector_matmul_weight_of(args->w_up);
    job.sink = store_tile;
    job.sink_args = args;
    job.may_claim = 1;
    return nlm_vector_matmul_run(&job);
}
