/* The selective scan of Mamba over a tile of channels of a sequence: what a block does. A tile is 16 channels, with 8
 * threads a channel, each of which has an eighth of the channel's states in registers from the first token to the
 * last. Tokens come in chunks: what all threads of a chunk need is made once and put into shared memory, the loads of
 * the next chunk being under way meanwhile. Each thread leaves its part of the sums over states there, and they are
 * added up afterwards: so the work that a channel has but once, activations and writing, is spread over all threads,
 * without shuffles.
 *
 * Macros: ACT; STATES of a channel; CHUNK, the tokens of one, where it is not to be chosen here. */
#pragma once
#include "mamba.cuh"
#include "sequences.cuh"

struct scan_tensors {
    view x, a, b, c, d, z, state, seq_start, slot, y, state_out;
};

#define TILE    16 /* NLM_SSM_TILE */
#define GROUPS  8  /* threads of a channel */
#define THREADS (TILE * GROUPS)
#define OWN     ((STATES + GROUPS - 1) / GROUPS) /* states of a thread */
#define PADDED  (OWN * GROUPS)
#ifndef CHUNK
#define CHUNK (PADDED <= 16 ? 32 : PADDED <= 32 ? 16 : 8)
#endif
#define ROWS     (CHUNK / GROUPS)           /* tokens of a chunk that a thread does the channel's own work for */
#define LOADS    (CHUNK * PADDED / THREADS) /* elements of b and of c of a chunk that a thread loads */
#define PART_ROW (THREADS + TILE)           /* so that two tokens' parts are in different banks */

/* Of a chunk, in registers. Row i of a thread is token threadIdx.x / TILE + GROUPS * i of the chunk, channel
 * threadIdx.x % TILE of the tile. */
struct inputs {
    float x[ROWS], dt[ROWS], z[ROWS], b[LOADS], c[LOADS];
};

/* In as few loads as there can be. */
struct alignas(OWN % 4 == 0 ? 16 : OWN % 2 == 0 ? 8 : 4) own_states {
    float of[OWN];
};
struct alignas(8) steps {
    float e, e_x; /* e and e * x */
};

struct chunk_memory {
    steps step[CHUNK][TILE];
    own_states b[CHUNK][GROUPS], c[CHUNK][GROUPS];
    float parts[CHUNK][PART_ROW];
};

__device__ __forceinline__ float element(const view &t, i64 row, i64 column, bool is_there) {
    return is_there ? to_float(at<ACT>(t, row)[column]) : 0.0f;
}

/* Tokens of the sequence from `first` on; what is past its end is 0. HAS_OUTPUT: else states alone are wanted. */
template <bool HAS_OUTPUT, class Dt>
__device__ __forceinline__ void load(const scan_tensors &a, const Dt &dt, const sequence &q, i64 first, i64 channel,
                                     inputs *in) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const i64 t = first + threadIdx.x / TILE + GROUPS * i;
        const bool is_there = t < q.n_tokens && channel < a.x.shape[1];
        in->x[i] = element(a.x, q.from + t, channel, is_there);
        in->dt[i] = dt.of(q.from + t, channel, is_there);
        if (HAS_OUTPUT) in->z[i] = element(a.z, q.from + t, channel, is_there && a.z.data);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int index = threadIdx.x + THREADS * i, n = index % PADDED;
        const i64 t = first + index / PADDED;
        const bool is_there = t < q.n_tokens && n < STATES;
        in->b[i] = element(a.b, q.from + t, n, is_there);
        if (HAS_OUTPUT) in->c[i] = element(a.c, q.from + t, n, is_there);
    }
}

template <bool HAS_OUTPUT>
__device__ __forceinline__ void put(const inputs &in, chunk_memory *m) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int t = threadIdx.x / TILE + GROUPS * i, lane = threadIdx.x % TILE;
        const float e = softplus(in.dt[i]);
        m->step[t][lane] = steps{e, __fmul_rn(e, in.x[i])};
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        ((float *)m->b)[threadIdx.x + THREADS * i] = in.b[i];
        if (HAS_OUTPUT) ((float *)m->c)[threadIdx.x + THREADS * i] = in.c[i];
    }
}

/* The states through a chunk. rate is a times log2(e). Returns the sum of e, where there is no output. */
template <bool HAS_OUTPUT>
__device__ __forceinline__ float scan(chunk_memory *m, int n_tokens, const float *rate, float *h) {
    const int lane = threadIdx.x % TILE, group = threadIdx.x / TILE;
    float total = 0;
#pragma unroll(OWN <= 4 ? 4 : 1)
    for (int t = 0; t < n_tokens; t++) {
        const steps step = m->step[t][lane];
        const own_states b = m->b[t][group];
        own_states c = {};
        float sum = 0;
        if (HAS_OUTPUT) c = m->c[t][group];
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            h[j] = next_state(h[j], step.e, rate[j], step.e_x, b.of[j]);
            if (HAS_OUTPUT) sum = fmaf(c.of[j], h[j], sum);
        }
        if (HAS_OUTPUT)
            m->parts[t][threadIdx.x] = sum;
        else
            total += step.e;
    }
    return total;
}

__device__ __forceinline__ void write(const scan_tensors &a, const sequence &q, i64 first, i64 channel, float d,
                                      const chunk_memory &m, const inputs &in) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int t = threadIdx.x / TILE + GROUPS * i, lane = threadIdx.x % TILE;
        if (first + t >= q.n_tokens || channel >= a.x.shape[1]) continue;
        float y = 0;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) y += m.parts[t][g * TILE + lane];
        y = scan_output(y, a.d.data != 0, d, in.x[i], a.z.data != 0, in.z[i]);
        at<ACT>(a.y, q.from + first + t)[channel] = from_float<ACT>(y);
    }
}

/* What a thread has of its tile. Lanes that are no channels carry their states along. */
struct own_channel {
    i64 tile, channel;
    int lane, n; /* of the tile; its first state */
    float d, rate[OWN];
};

__device__ __forceinline__ own_channel own_channel_of(const scan_tensors &a, i64 tile) {
    own_channel o = {tile, tile * TILE + threadIdx.x % TILE, (int)threadIdx.x % TILE, (int)threadIdx.x / TILE * OWN};
    const bool is_channel = o.channel < a.x.shape[1];
    o.d = a.d.data && is_channel ? *at<float>(a.d, o.channel) : 0.0f;
#pragma unroll
    for (int j = 0; j < OWN; j++) {
        o.rate[j] = is_channel && o.n + j < STATES ? at<float>(a.a, o.channel)[o.n + j] * 1.4426950408889634f : 0.0f;
    }
    return o;
}

/* A tile's states as they stand in memory: [STATES][TILE]. */
__device__ __forceinline__ void load_states(const own_channel &o, const float *tile, float *h) {
#pragma unroll
    for (int j = 0; j < OWN; j++) h[j] = o.n + j < STATES ? tile[(o.n + j) * TILE + o.lane] : 0.0f;
}
__device__ __forceinline__ void store_states(const own_channel &o, const float *h, float *tile) {
#pragma unroll
    for (int j = 0; j < OWN; j++) {
        if (o.n + j < STATES) tile[(o.n + j) * TILE + o.lane] = h[j];
    }
}

/* h through all tokens of a sequence, or of a part of one. dt.of gives elements of dt. y may be x: a thread loads the
 * elements of x that it writes as y, a chunk ahead. Returns the sum of e, where there is no output. */
template <bool HAS_OUTPUT, class Dt>
__device__ __forceinline__ float scan_tokens(const scan_tensors &a, const Dt &dt, const sequence &q,
                                             const own_channel &o, chunk_memory &memory, float *h) {
    inputs in, next;
    float total = 0;
    load<HAS_OUTPUT>(a, dt, q, 0, o.channel, &next);
    for (i64 first = 0; first < q.n_tokens; first += CHUNK) {
        in = next;
        put<HAS_OUTPUT>(in, &memory);
        __syncthreads();
        load<HAS_OUTPUT>(a, dt, q, first + CHUNK, o.channel, &next);
        total += scan<HAS_OUTPUT>(&memory, q.n_tokens - first < CHUNK ? (int)(q.n_tokens - first) : CHUNK, o.rate, h);
        __syncthreads();
        if (HAS_OUTPUT) write(a, q, first, o.channel, o.d, memory, in);
    }
    return total;
}

/* A block's work: tile blockIdx.y of sequence blockIdx.x. dt.begin is called by all threads with the sequence. */
template <class Dt>
__device__ __forceinline__ void scan_tile(const run &run, const scan_tensors &a, Dt dt) {
    __shared__ chunk_memory memory;
    sequence q;
    float h[OWN];
    if (blockIdx.x >= live_rows(run, a.slot)) return;
    const own_channel o = own_channel_of(a, blockIdx.y);
    if (!read_sequence(run, a.seq_start, a.slot, blockIdx.x, live_rows(run, a.x), a.state.shape[0], &q)) return;
    load_states(o, at<float>(a.state, q.slot, o.tile), h);
    dt.begin(q, o.channel, memory);
    scan_tokens<true>(a, dt, q, o, memory, h);
    store_states(o, h, at<float>(a.state_out, q.slot, o.tile));
}
