#include "cpu/vector/vector.h"

/* A worker owns tiles of channels; their states stay in registers over a sequence. */

#define MAX_STATES 256
#define LOG2_E     1.44269504088896341f

/* V_LANES channels from `channel`, `n` of them real. */
typedef struct scan_lanes {
    const nlm_ssm_scan_args *args;
    int64_t channel;
    int n;
    const float *a; /* [n_states][V_LANES], times log2(e) */
    vf d;
} scan_lanes;

static const float *lanes_at(const nlm_tensor *t, int64_t row, int64_t channel) {
    return (const float *)nlm_cpu_at(t, row) + channel;
}

static void load_a(const nlm_tensor *a, int64_t channel, int n, float *out) {
    const int64_t n_states = a->shape[1];
    for (int64_t s = 0; s < n_states; s++) {
        for (int lane = 0; lane < V_LANES; lane++)
            out[s * V_LANES + lane] = lane < n ? LOG2_E * ((const float *)nlm_cpu_at(a, channel + lane))[s] : 0.0f;
    }
}

/* What follows the states' sum: D skip and gate. */
V_INLINE void finish_token(const scan_lanes *lanes, int64_t t, vf x, vf y) {
    y = vf_fma(lanes->d, x, y);
    if (lanes->args->z) y = vf_mul(y, vf_silu(vf_load_n(lanes_at(lanes->args->z, t, lanes->channel), lanes->n)));
    vf_store_n((float *)nlm_cpu_at(lanes->args->y, t) + lanes->channel, y, lanes->n);
}

/* h = 2^(e a) h + e x b; the sum over states is y. h is [n_states], `step` floats apart in memory. */
V_INLINE void scan_tokens(const scan_lanes *lanes, int64_t from, int64_t to, int64_t n_states, vf *h) {
    const nlm_ssm_scan_args *args = lanes->args;
    for (int64_t t = from; t < to; t++) {
        const float *b = nlm_cpu_at(args->b, t), *c = nlm_cpu_at(args->c, t);
        const vf x = vf_load_n(lanes_at(args->x, t, lanes->channel), lanes->n);
        const vf e = vf_softplus(vf_load_n(lanes_at(args->dt, t, lanes->channel), lanes->n));
        const vf e_x = vf_mul(e, x);
        vf y = vf_zero();
        _Pragma("GCC unroll 16") for (int64_t s = 0; s < n_states; s++) {
            const vf decay = vf_exp2(vf_mul(e, vf_load(lanes->a + s * V_LANES)));
            h[s] = vf_fma(decay, h[s], vf_mul(e_x, vf_set1(b[s])));
            y = vf_fma(vf_set1(c[s]), h[s], y);
        }
        finish_token(lanes, t, x, y);
    }
}

static void scan_sequence(const scan_lanes *lanes, int64_t from, int64_t to, float *state) {
    const int64_t n_states = lanes->args->a->shape[1];
    vf h[MAX_STATES];
    for (int64_t s = 0; s < n_states; s++) h[s] = vf_load(state + s * NLM_SSM_TILE);
    if (n_states == 16)
        scan_tokens(lanes, from, to, 16, h);
    else
        scan_tokens(lanes, from, to, n_states, h);
    for (int64_t s = 0; s < n_states; s++) vf_store_n(state + s * NLM_SSM_TILE, h[s], lanes->n);
}

nlm_status nlm_vector_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    _Alignas(64) float a[MAX_STATES * V_LANES];
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "ssm_scan", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const int64_t n_channels = args->x->shape[1];
    const nlm_cpu_range channels = nlm_cpu_slice(x, n_channels, NLM_SSM_TILE);
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) {
        const int64_t left = n_channels - channel;
        scan_lanes lanes = {args, channel, (int)(left < V_LANES ? left : V_LANES), a, vf_zero()};
        load_a(args->a, channel, lanes.n, a);
        if (args->d) lanes.d = vf_load_n((const float *)args->d->data + channel, lanes.n);
        for (int64_t s = 0; s < batch.n_seqs; s++) {
            if (batch.seq_start[s] == batch.seq_start[s + 1]) continue;
            float *state = nlm_cpu_at2(args->state, batch.slot[s], channel / NLM_SSM_TILE);
            scan_sequence(&lanes, batch.seq_start[s], batch.seq_start[s + 1], state + channel % NLM_SSM_TILE);
        }
    }
    return NLM_OK;
}
