/* A worker owns channels. It takes them in chunks, of many channels or of many tokens, and a chunk in three
 * sweeps, as each is a long chain of instructions for one vector: the step sizes, the states, a group of which
 * stays in registers, and the outputs. */
#include "cpu/vector/vector.h"

#define MAX_STATES 256
#define VECTORS    32 /* of a chunk */
#define LOG2_E     1.44269504088896341f
#define GROUP      V_SCAN_STATES

/* Tokens of one sequence and channels, V_LANES a vector: vectors are [n_tiles][n_tokens]. */
typedef struct scan_chunk {
    const nlm_ssm_scan_args *args;
    int64_t token, channel, end_channel;
    int32_t slot, n_tokens, n_tiles;
    vf x[VECTORS], step_log2[VECTORS] /* times log2(e) */, step_x[VECTORS], y[VECTORS];
} scan_chunk;

/* A tile of a chunk. */
typedef struct scan_tile {
    int64_t channel;
    int32_t n; /* lanes that are channels */
    int32_t first_vector;
} scan_tile;

static scan_tile tile_at(const scan_chunk *chunk, int32_t tile) {
    const int64_t channel = chunk->channel + tile * V_LANES, left = chunk->end_channel - channel;
    return (scan_tile){channel, (int32_t)(left < V_LANES ? left : V_LANES), tile * chunk->n_tokens};
}

V_INLINE float *lanes_at(const nlm_tensor *t, int64_t row, scan_tile tile) {
    return (float *)nlm_kit_at(t, row) + tile.channel;
}
V_INLINE vf lanes_of(const nlm_tensor *t, int64_t row, scan_tile tile) {
    return vf_load_n(lanes_at(t, row, tile), tile.n);
}

/* Of a token: what end_tile needs, and what begin_tile needs of the next line of channels. */
V_INLINE void expect(const nlm_ssm_scan_args *args, int64_t row, scan_tile tile) {
    nlm_vector_expect(lanes_at(args->dt, row, tile) + V_LINE);
    nlm_vector_expect(lanes_at(args->x, row, tile) + V_LINE);
    if (args->z) nlm_vector_expect(lanes_at(args->z, row, tile));
}

static void begin_tile(scan_chunk *chunk, scan_tile tile) {
    const nlm_ssm_scan_args *args = chunk->args;
    for (int32_t t = 0; t < chunk->n_tokens; t++) {
        const int32_t i = tile.first_vector + t;
        expect(args, chunk->token + t, tile);
        const vf step = vf_softplus(lanes_of(args->dt, chunk->token + t, tile));
        chunk->x[i] = lanes_of(args->x, chunk->token + t, tile);
        chunk->step_log2[i] = vf_mul(step, vf_set1(LOG2_E));
        chunk->step_x[i] = vf_mul(step, chunk->x[i]);
        chunk->y[i] = vf_zero();
    }
}

/* h = 2^(e a) h + e x b, and c h is added to y, for `count` states from `first`, which stand at `state`. */
V_INLINE void scan_states(scan_chunk *chunk, scan_tile tile, int64_t first, int count, const float *a_lanes,
                          float *state) {
    vf h[GROUP], a[GROUP];
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
        h[s] = vf_load(state + s * NLM_SSM_TILE);
        a[s] = vf_load(a_lanes + s * V_LANES);
    }
    for (int32_t t = 0; t < chunk->n_tokens; t++) {
        const float *b = (const float *)nlm_kit_at(chunk->args->b, chunk->token + t) + first;
        const float *c = (const float *)nlm_kit_at(chunk->args->c, chunk->token + t) + first;
        const int32_t i = tile.first_vector + t;
        const vf step = chunk->step_log2[i], step_x = chunk->step_x[i];
        vf y = chunk->y[i];
        _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
            h[s] = vf_fma(vf_exp2_decay(vf_mul(step, a[s])), h[s], vf_mul(step_x, vf_set1(b[s])));
            y = vf_fma(vf_set1(c[s]), h[s], y);
        }
        chunk->y[i] = y;
    }
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) vf_store_n(state + s * NLM_SSM_TILE, h[s], tile.n);
}

static void scan_tile_states(scan_chunk *chunk, scan_tile tile) {
    _Alignas(64) float memory[MAX_STATES * V_LANES];
    const int64_t n_states = chunk->args->a->shape[1];
    const float *a = nlm_vector_lanes(chunk->args->a, tile.channel, tile.n, memory);
    float *state = (float *)nlm_kit_at2(chunk->args->state_out, chunk->slot, tile.channel / NLM_SSM_TILE) +
                   tile.channel % NLM_SSM_TILE;
    int64_t s = 0;
    for (; s + GROUP <= n_states; s += GROUP)
        scan_states(chunk, tile, s, GROUP, a + s * V_LANES, state + s * NLM_SSM_TILE);
    for (; s < n_states; s++) scan_states(chunk, tile, s, 1, a + s * V_LANES, state + s * NLM_SSM_TILE);
}

/* What follows the sum over the states: D skip and gate. */
static void end_tile(const scan_chunk *chunk, scan_tile tile) {
    const nlm_ssm_scan_args *args = chunk->args;
    const vf d = args->d ? vf_load_n((const float *)args->d->data + tile.channel, tile.n) : vf_zero();
    for (int32_t t = 0; t < chunk->n_tokens; t++) {
        const int32_t i = tile.first_vector + t;
        vf y = vf_fma(d, chunk->x[i], chunk->y[i]);
        if (args->z) y = vf_mul(y, vf_silu(lanes_of(args->z, chunk->token + t, tile)));
        vf_store_n(lanes_at(args->y, chunk->token + t, tile), y, tile.n);
    }
}

static void scan_chunk_run(scan_chunk *chunk) {
    for (int32_t i = 0; i < chunk->n_tiles; i++) begin_tile(chunk, tile_at(chunk, i));
    for (int32_t i = 0; i < chunk->n_tiles; i++) scan_tile_states(chunk, tile_at(chunk, i));
    for (int32_t i = 0; i < chunk->n_tiles; i++) end_tile(chunk, tile_at(chunk, i));
}

/* All channels meet a few tokens before the next tokens come: rows are then read in order. */
static void scan_sequence(scan_chunk *chunk, int64_t from, int64_t to, nlm_kit_range channels) {
    for (int64_t token = from; token < to; token += chunk->n_tokens) {
        chunk->token = token;
        chunk->n_tokens = (int32_t)(to - token < VECTORS ? to - token : VECTORS);
        const int32_t most = VECTORS / chunk->n_tokens;
        for (int64_t channel = channels.from; channel < channels.to; channel += most * V_LANES) {
            const int64_t left = (channels.to - channel + V_LANES - 1) / V_LANES;
            chunk->channel = channel;
            chunk->n_tiles = (int32_t)(left < most ? left : most);
            scan_chunk_run(chunk);
        }
    }
}

void nlm_vector_scan_channels(const nlm_ssm_scan_args *args, const nlm_cpu_batch *batch, nlm_kit_range channels) {
    scan_chunk chunk;
    chunk.args = args;
    chunk.end_channel = channels.to;
    nlm_cpu_carry_state(args->state, args->state_out, batch, 1, nlm_cpu_scan_floats(channels, args->a->shape[1]));
    for (int64_t s = 0; s < batch->n_seqs; s++) {
        chunk.slot = batch->slot[s];
        scan_sequence(&chunk, batch->seq_start[s], batch->seq_start[s + 1], channels);
    }
}

nlm_status nlm_vector_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "ssm_scan", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    nlm_vector_scan_channels(args, &batch, nlm_kit_slice(x, args->x->shape[1], NLM_SSM_TILE));
    return NLM_OK;
}
