#include "cpu/vector/vector.h"

/* A worker owns tiles of channels. A sequence is scanned in chunks of tokens, a chunk in three sweeps: the
 * step sizes, the states, a group of which stays in registers, and the outputs. */

#define MAX_STATES 256
#define CHUNK      32
#define LOG2_E     1.44269504088896341f
#if V_LANES == 16
#define GROUP 8 /* states in registers, beside their a */
#else
#define GROUP 4
#endif

/* V_LANES channels from `channel`, `n` of them real. */
typedef struct scan_lanes {
    const nlm_ssm_scan_args *args;
    int64_t channel;
    int n;
    const float *a; /* [n_states][V_LANES] */
    vf d;
} scan_lanes;

/* Of each token of a chunk. */
typedef struct scan_chunk {
    int64_t from;
    int32_t count;
    vf x[CHUNK], step_log2[CHUNK] /* times log2(e) */, step_x[CHUNK], y[CHUNK];
} scan_chunk;

static vf lanes_at(const scan_lanes *lanes, const nlm_tensor *t, int64_t row) {
    return vf_load_n((const float *)nlm_cpu_at(t, row) + lanes->channel, lanes->n);
}

/* 2^x for x <= 0; at least 2^-125, which is nothing beside the rest of a state. */
V_INLINE vf decay_exp2(vf x) {
    const vf limited = vf_max(x, vf_set1(-125.0f)), n = vf_round(limited);
    return vf_exp2_parts(vf_sub(limited, n), n);
}

static void begin_chunk(const scan_lanes *lanes, scan_chunk *chunk) {
    for (int32_t i = 0; i < chunk->count; i++) {
        const vf step = vf_softplus(lanes_at(lanes, lanes->args->dt, chunk->from + i));
        chunk->x[i] = lanes_at(lanes, lanes->args->x, chunk->from + i);
        chunk->step_log2[i] = vf_mul(step, vf_set1(LOG2_E));
        chunk->step_x[i] = vf_mul(step, chunk->x[i]);
        chunk->y[i] = vf_zero();
    }
}

/* h = 2^(e a) h + e x b, and c h is added to y, for `count` states from `first`, h[first] at `state`. */
V_INLINE void scan_states(const scan_lanes *lanes, scan_chunk *chunk, int64_t first, int count, float *state) {
    const nlm_tensor *b_rows = lanes->args->b, *c_rows = lanes->args->c;
    vf h[GROUP], a[GROUP];
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
        h[s] = vf_load(state + s * NLM_SSM_TILE);
        a[s] = vf_load(lanes->a + (first + s) * V_LANES);
    }
    for (int32_t i = 0; i < chunk->count; i++) {
        const float *b = (const float *)nlm_cpu_at(b_rows, chunk->from + i) + first;
        const float *c = (const float *)nlm_cpu_at(c_rows, chunk->from + i) + first;
        const vf step = chunk->step_log2[i], step_x = chunk->step_x[i];
        vf y = chunk->y[i];
        _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
            h[s] = vf_fma(decay_exp2(vf_mul(step, a[s])), h[s], vf_mul(step_x, vf_set1(b[s])));
            y = vf_fma(vf_set1(c[s]), h[s], y);
        }
        chunk->y[i] = y;
    }
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) vf_store_n(state + s * NLM_SSM_TILE, h[s], lanes->n);
}

/* What follows the sum over the states: D skip and gate. */
static void end_chunk(const scan_lanes *lanes, const scan_chunk *chunk) {
    for (int32_t i = 0; i < chunk->count; i++) {
        const int64_t t = chunk->from + i;
        vf y = vf_fma(lanes->d, chunk->x[i], chunk->y[i]);
        if (lanes->args->z) y = vf_mul(y, vf_silu(lanes_at(lanes, lanes->args->z, t)));
        vf_store_n((float *)nlm_cpu_at(lanes->args->y, t) + lanes->channel, y, lanes->n);
    }
}

static void scan_sequence(const scan_lanes *lanes, int64_t from, int64_t to, float *state) {
    const int64_t n_states = lanes->args->a->shape[1];
    scan_chunk chunk;
    for (chunk.from = from; chunk.from < to; chunk.from += CHUNK) {
        chunk.count = (int32_t)(to - chunk.from < CHUNK ? to - chunk.from : CHUNK);
        begin_chunk(lanes, &chunk);
        int64_t s = 0;
        for (; s + GROUP <= n_states; s += GROUP) scan_states(lanes, &chunk, s, GROUP, state + s * NLM_SSM_TILE);
        for (; s < n_states; s++) scan_states(lanes, &chunk, s, 1, state + s * NLM_SSM_TILE);
        end_chunk(lanes, &chunk);
    }
}

void nlm_vector_scan_channels(const nlm_ssm_scan_args *args, const nlm_cpu_batch *batch, nlm_cpu_range channels) {
    _Alignas(64) float memory[MAX_STATES * V_LANES];
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) {
        const int64_t left = channels.to - channel;
        scan_lanes lanes = {args, channel, (int)(left < V_LANES ? left : V_LANES), NULL, vf_zero()};
        lanes.a = nlm_vector_lanes(args->a, channel, lanes.n, memory);
        if (args->d) lanes.d = vf_load_n((const float *)args->d->data + channel, lanes.n);
        for (int64_t s = 0; s < batch->n_seqs; s++) {
            if (batch->seq_start[s] == batch->seq_start[s + 1]) continue;
            float *state = nlm_cpu_at2(args->state, batch->slot[s], channel / NLM_SSM_TILE);
            scan_sequence(&lanes, batch->seq_start[s], batch->seq_start[s + 1], state + channel % NLM_SSM_TILE);
        }
    }
}

nlm_status nlm_vector_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "ssm_scan", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    nlm_vector_scan_channels(args, &batch, nlm_cpu_slice(x, args->x->shape[1], NLM_SSM_TILE));
    return NLM_OK;
}
