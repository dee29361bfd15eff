/* The selective scan of Mamba over a tile of channels of a sequence: what a block does. A tile is 16 channels, with 8
 * threads a channel, each of which has an eighth of the channel's states in registers from the first token to the
 * last. Tokens come in chunks: what all threads of a chunk need is made once and put into shared memory, the loads of
 * the next chunk being under way meanwhile. Each thread leaves its part of the sums over states there, and they are
 * added up afterwards: so the work that a channel has but once, activations and writing, is spread over all threads,
 * without shuffles.
 *
 * Macros: ACT; STATES of a channel; CHUNK, the tokens of one, where it is not to be chosen here. */
#pragma once
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

__device__ __forceinline__ float softplus(float v) {
    return v > 20.0f ? v : log1pf(expf(v));
}

__device__ __forceinline__ float exp2_of(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

__device__ __forceinline__ float element(const view &t, i64 row, i64 column, bool is_there) {
    return is_there ? to_float(at<ACT>(t, row)[column]) : 0.0f;
}

/* Tokens of the sequence from `first` on; what is past its end is 0. */
template <class Dt>
__device__ __forceinline__ void load(const scan_tensors &a, const Dt &dt, const sequence &q, i64 first, i64 channel,
                                     inputs *in) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const i64 t = first + threadIdx.x / TILE + GROUPS * i;
        const bool is_there = t < q.n_tokens && channel < a.x.shape[1];
        in->x[i] = element(a.x, q.from + t, channel, is_there);
        in->dt[i] = dt.of(q.from + t, channel, is_there);
        in->z[i] = element(a.z, q.from + t, channel, is_there && a.z.data);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int index = threadIdx.x + THREADS * i, n = index % PADDED;
        const i64 t = first + index / PADDED;
        const bool is_there = t < q.n_tokens && n < STATES;
        in->b[i] = element(a.b, q.from + t, n, is_there);
        in->c[i] = element(a.c, q.from + t, n, is_there);
    }
}

__device__ __forceinline__ void put(const inputs &in, chunk_memory *m) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int t = threadIdx.x / TILE + GROUPS * i, lane = threadIdx.x % TILE;
        const float e = softplus(in.dt[i]);
        m->step[t][lane] = steps{e, e * in.x[i]};
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        ((float *)m->b)[threadIdx.x + THREADS * i] = in.b[i];
        ((float *)m->c)[threadIdx.x + THREADS * i] = in.c[i];
    }
}

/* The states through a chunk. rate is a times log2(e). */
__device__ __forceinline__ void scan(chunk_memory *m, int n_tokens, const float *rate, float *h) {
    const int lane = threadIdx.x % TILE, group = threadIdx.x / TILE;
#pragma unroll 4
    for (int t = 0; t < n_tokens; t++) {
        const steps step = m->step[t][lane];
        const own_states b = m->b[t][group], c = m->c[t][group];
        float sum = 0;
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            h[j] = exp2_of(step.e * rate[j]) * h[j] + step.e_x * b.of[j];
            sum += c.of[j] * h[j];
        }
        m->parts[t][threadIdx.x] = sum;
    }
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
        if (a.d.data) y += d * in.x[i];
        if (a.z.data) y *= silu(in.z[i]);
        at<ACT>(a.y, q.from + first + t)[channel] = from_float<ACT>(y);
    }
}

/* A block's work: tile blockIdx.y of sequence blockIdx.x. dt.begin is called by all threads with the sequence, and
 * dt.of then gives elements of dt. y may be x: a thread loads the elements of x that it writes as y, a chunk ahead.
 * Lanes that are no channels carry their states along. */
template <class Dt>
__device__ __forceinline__ void scan_tile(const run &run, const scan_tensors &a, Dt dt) {
    __shared__ chunk_memory memory;
    const int lane = threadIdx.x % TILE, n = threadIdx.x / TILE * OWN;
    const i64 tile = blockIdx.y, channel = tile * TILE + lane;
    sequence q;
    float h[OWN], rate[OWN];
    inputs in, next;
    if (blockIdx.x >= live_rows(run, a.slot)) return;
#pragma unroll
    for (int j = 0; j < OWN; j++) {
        const bool is_there = channel < a.x.shape[1] && n + j < STATES;
        rate[j] = is_there ? at<float>(a.a, channel)[n + j] * 1.4426950408889634f : 0.0f;
    }
    if (!read_sequence(run, a.seq_start, a.slot, blockIdx.x, live_rows(run, a.x), a.state.shape[0], &q)) return;
    const float *from = at<float>(a.state, q.slot, tile) + lane;
#pragma unroll
    for (int j = 0; j < OWN; j++) h[j] = n + j < STATES ? from[(n + j) * TILE] : 0.0f;
    const float d = a.d.data && channel < a.x.shape[1] ? *at<float>(a.d, channel) : 0.0f;
    dt.begin(q, channel, memory);
    load(a, dt, q, 0, channel, &next);
    for (i64 first = 0; first < q.n_tokens; first += CHUNK) {
        in = next;
        put(in, &memory);
        __syncthreads();
        load(a, dt, q, first + CHUNK, channel, &next);
        scan(&memory, q.n_tokens - first < CHUNK ? (int)(q.n_tokens - first) : CHUNK, rate, h);
        __syncthreads();
        write(a, q, first, channel, d, memory, in);
    }
    float *to = at<float>(a.state_out, q.slot, tile) + lane;
#pragma unroll
    for (int j = 0; j < OWN; j++) {
        if (n + j < STATES) to[(n + j) * TILE] = h[j];
    }
}
