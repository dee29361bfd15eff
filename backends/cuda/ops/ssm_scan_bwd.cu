/* The gradients of Mamba's selective scan. A block has a tile of channels of a sequence, as scan.cuh says. It scans
 * ahead and keeps the states before every CHUNK tokens; then it takes the chunks in reverse: works out the states of
 * each once more, and lets dh run back through it. What is summed over channels, db and dc, goes through the
 * workspace, a tile a row; so does what is summed over sequences, da and dd. Two more kernels add these up, in their
 * order. */
#include "scan.cuh"

struct ssm_scan_bwd_args {
    u32 struct_size, flags;
    view x, dt, a, b, c, d, z, state, seq_start, slot, dy, dstate_out, dx, ddt, da, db, dc, dd, dz, dstate;
};

#define ADD          256u /* NLM_GRADIENT_ADD */
#define OF_TILE      (OWN * THREADS)
#define PAIRS        (THREADS / 2) /* of threads: two groups of a warp add up what they have of a channel */
#define IS_KEPT_NEAR (OWN <= 2)    /* the states of a chunk, in shared memory */
#define LN2          0.6931471805599453f

struct memory {
    chunk_memory chunk;
    float gated[CHUNK][TILE];    /* dy silu(z) */
    float by_step[CHUNK][PAIRS]; /* what dh says of e; chunk.parts has y, and behind it what dh says of e x */
    float history[IS_KEPT_NEAR ? CHUNK * OF_TILE : 1];
};

/* ---- the workspace ---- */

struct workspace {
    float *kept;    /* [chunk][tile][OF_TILE]: a thread's own states before a chunk */
    float *history; /* [sequence][tile][CHUNK][OF_TILE], unless IS_KEPT_NEAR: before each token */
    float *rates;   /* [sequence][tile][OF_TILE]: da */
    float *skips;   /* [sequence][tile][TILE]: dd */
    float *rows;    /* [tile][row][2][STATES]: db, dc */
    i64 tiles, n_rows;
};

__device__ __forceinline__ workspace workspace_of(const run &run, const ssm_scan_bwd_args &a) {
    const i64 tiles = a.state.shape[1], sequences = a.slot.shape[0], rows = a.x.shape[0];
    workspace w;
    w.tiles = tiles;
    w.n_rows = rows;
    w.kept = (float *)run.workspace;
    w.history = w.kept + (rows / CHUNK + sequences) * tiles * OF_TILE;
    w.rates = w.history + (IS_KEPT_NEAR ? 0 : sequences * tiles * CHUNK * OF_TILE);
    w.skips = w.rates + sequences * tiles * OF_TILE;
    w.rows = w.skips + sequences * tiles * TILE;
    return w;
}

/* ---- a block's work ---- */

struct block {
    const ssm_scan_bwd_args &a;
    const scan_tensors &tensors;
    const workspace &w;
    sequence q;
    own_channel o;
    memory &m;
    float *history;

    __device__ __forceinline__ float *kept(i64 chunk) const {
        const i64 number = q.from / CHUNK + blockIdx.x + chunk;
        return w.kept + (number * w.tiles + o.tile) * OF_TILE + threadIdx.x;
    }
};

struct given_dt {
    const view &dt;
    __device__ __forceinline__ float of(i64 row, i64 channel, bool is_there) const {
        return element(dt, row, channel, is_there);
    }
};

__device__ __forceinline__ void scan_ahead(const block &b, float *h) {
    const given_dt dt = {b.a.dt};
    inputs in;
    for (i64 first = 0; first < b.q.n_tokens; first += CHUNK) {
        float *kept = b.kept(first / CHUNK);
#pragma unroll
        for (int j = 0; j < OWN; j++) kept[j * THREADS] = h[j];
        if (b.q.n_tokens - first <= CHUNK) return;
        load<false>(b.tensors, dt, b.q, first, b.o.channel, &in);
        put<false>(in, &b.m.chunk);
        __syncthreads();
        scan<false>(&b.m.chunk, CHUNK, b.o.rate, h);
        __syncthreads();
    }
}

/* The states before each token of a chunk, again. */
__device__ __forceinline__ void scan_again(const block &b, i64 first, int n_tokens) {
    const float *kept = b.kept(first / CHUNK);
    const int lane = threadIdx.x % TILE, group = threadIdx.x / TILE;
    float h[OWN];
#pragma unroll
    for (int j = 0; j < OWN; j++) h[j] = kept[j * THREADS];
    for (int t = 0; t < n_tokens; t++) {
        const steps step = b.m.chunk.step[t][lane];
        const own_states &by = b.m.chunk.b[t][group];
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            b.history[t * OF_TILE + j * THREADS] = h[j];
            h[j] = exp2_of(step.e * b.o.rate[j]) * h[j] + step.e_x * by.of[j];
        }
    }
}

/* The sum over the channels of a tile, for the first of them. */
__device__ __forceinline__ float tile_sum(float v) {
#pragma unroll
    for (int o = TILE / 2; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

/* dh through a chunk, from its last token to its first. */
__device__ __forceinline__ void run_back(const block &b, i64 first, int n_tokens, float *dh, float *da) {
    const int lane = threadIdx.x % TILE, group = threadIdx.x / TILE, pair = threadIdx.x / 32 * TILE + lane;
    for (int t = n_tokens - 1; t >= 0; t--) {
        const steps step = b.m.chunk.step[t][lane];
        const own_states &by = b.m.chunk.b[t][group], &out = b.m.chunk.c[t][group];
        const float gated = b.m.gated[t][lane];
        float *row = b.w.rows + ((b.o.tile * b.w.n_rows + b.q.from + first + t) * 2) * STATES + b.o.n;
        float y = 0, by_step = 0, by_step_x = 0;
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            const float decay = exp2_of(step.e * b.o.rate[j]);
            const float left = decay * b.history[t * OF_TILE + j * THREADS], h = left + step.e_x * by.of[j];
            const float gradient = dh[j] + out.of[j] * gated;
            y += out.of[j] * h;
            by_step_x += gradient * by.of[j];
            by_step += gradient * (b.o.rate[j] * left);
            da[j] += gradient * (step.e * left);
            dh[j] = gradient * decay;
            const float db = tile_sum(gradient * step.e_x), dc = tile_sum(gated * h);
            if (lane == 0 && b.o.n + j < STATES) {
                row[j] = db;
                row[STATES + j] = dc;
            }
        }
        y += __shfl_xor_sync(0xffffffffu, y, TILE);
        by_step_x += __shfl_xor_sync(0xffffffffu, by_step_x, TILE);
        by_step += __shfl_xor_sync(0xffffffffu, by_step, TILE);
        if (threadIdx.x % 32 >= TILE) continue;
        b.m.chunk.parts[t][pair] = y;
        b.m.chunk.parts[t][PAIRS + pair] = by_step_x;
        b.m.by_step[t][pair] = by_step;
    }
}

/* Of the tokens that a thread does the channel's own work for: what it loaded of them becomes their gradients. */
__device__ __forceinline__ void finish(const block &b, i64 first, const inputs &in, const float *dy, float *dd) {
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int t = threadIdx.x / TILE + GROUPS * i, lane = threadIdx.x % TILE;
        const i64 row = b.q.from + first + t;
        if (first + t >= b.q.n_tokens || b.o.channel >= b.a.x.shape[1]) continue;
        const float e = b.m.chunk.step[t][lane].e, gated = b.m.gated[t][lane], x = in.x[i];
        float y = 0, by_step = 0, by_step_x = 0;
#pragma unroll
        for (int p = lane; p < PAIRS; p += TILE) {
            y += b.m.chunk.parts[t][p];
            by_step_x += b.m.chunk.parts[t][PAIRS + p];
            by_step += b.m.by_step[t][p];
        }
        at<ACT>(b.a.dx, row)[b.o.channel] = from_float<ACT>(e * by_step_x + b.o.d * gated);
        at<ACT>(b.a.ddt, row)[b.o.channel] = from_float<ACT>((by_step * LN2 + x * by_step_x) * sigmoid(in.dt[i]));
        if (b.a.dz.data) {
            at<ACT>(b.a.dz, row)[b.o.channel] = from_float<ACT>(dy[i] * (y + b.o.d * x) * silu_slope(in.z[i]));
        }
        *dd += gated * x;
    }
}

__device__ __forceinline__ void chunk_back(const block &b, i64 first, float *dh, float *da, float *dd) {
    const given_dt dt = {b.a.dt};
    const int n_tokens = b.q.n_tokens - first < CHUNK ? (int)(b.q.n_tokens - first) : CHUNK;
    inputs in;
    float dy[ROWS];
    load<true>(b.tensors, dt, b.q, first, b.o.channel, &in);
    __syncthreads(); /* the chunk before is done with what is put here */
    put<true>(in, &b.m.chunk);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        const int t = threadIdx.x / TILE + GROUPS * i;
        const bool is_there = first + t < b.q.n_tokens && b.o.channel < b.a.x.shape[1];
        dy[i] = element(b.a.dy, b.q.from + first + t, b.o.channel, is_there);
        b.m.gated[t][threadIdx.x % TILE] = b.a.z.data ? dy[i] * silu(in.z[i]) : dy[i];
    }
    __syncthreads();
    scan_again(b, first, n_tokens);
    run_back(b, first, n_tokens, dh, da);
    __syncthreads();
    finish(b, first, in, dy, dd);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) ssm_scan_bwd(run run, ssm_scan_bwd_args a) {
    __shared__ memory m;
    __shared__ float skips[GROUPS][TILE];
    const view none = {};
    const scan_tensors tensors = {a.x, a.a, a.b, a.c, a.d, a.z, a.state, a.seq_start, a.slot, none, none};
    const workspace w = workspace_of(run, a);
    const i64 spot = (i64)blockIdx.x * w.tiles + blockIdx.y;
    if (blockIdx.x >= live_rows(run, a.slot)) return;
    block b = {a, tensors, w, {}, own_channel_of(tensors, blockIdx.y), m, nullptr};
    b.history = (IS_KEPT_NEAR ? m.history : w.history + spot * CHUNK * OF_TILE) + threadIdx.x;
    if (!read_sequence(run, a.seq_start, a.slot, blockIdx.x, live_rows(run, a.x), a.state.shape[0], &b.q)) return;
    float h[OWN], dh[OWN] = {}, da[OWN] = {}, dd = 0;
    load_states(b.o, at<float>(a.state, b.q.slot, b.o.tile), h);
    scan_ahead(b, h);
    if (a.dstate_out.data) load_states(b.o, at<float>(a.dstate_out, b.q.slot, b.o.tile), dh);
    for (i64 first = (b.q.n_tokens - 1) / CHUNK * CHUNK; first >= 0 && b.q.n_tokens > 0; first -= CHUNK) {
        chunk_back(b, first, dh, da, &dd);
    }
    if (a.dstate.data) store_states(b.o, dh, at<float>(a.dstate, b.q.slot, b.o.tile));
#pragma unroll
    for (int j = 0; j < OWN; j++) w.rates[spot * OF_TILE + j * THREADS + threadIdx.x] = da[j];
    skips[threadIdx.x / TILE][threadIdx.x % TILE] = dd;
    __syncthreads();
    if (threadIdx.x >= TILE) return;
    dd = 0;
#pragma unroll
    for (int g = 0; g < GROUPS; g++) dd += skips[g][threadIdx.x];
    w.skips[spot * TILE + threadIdx.x] = dd;
}

/* Where something was told there may be gaps in the workspace, and nobody reads what comes of it. */
__device__ __forceinline__ bool is_told(const run &run) {
    return *(volatile const u32 *)&run.fault->kind != NLM_CUDA_FAULT_NONE;
}

/* db and dc: a thread an element, over all tiles. */
extern "C" __global__ void __launch_bounds__(THREADS) ssm_scan_bwd_rows(run run, ssm_scan_bwd_args a) {
    const workspace w = workspace_of(run, a);
    const batch b = batch_of(a.seq_start, nullptr, live_rows(run, a.slot), live_rows(run, a.x));
    const u64 item = (u64)blockIdx.x * THREADS + threadIdx.x;
    const i64 row = (i64)(item / (2 * STATES)), n = (i64)(item % (2 * STATES));
    if (is_told(run) || row >= b.n_tokens) return;
    float sum = 0;
#pragma unroll 4
    for (i64 tile = 0; tile < w.tiles; tile++) sum += w.rows[((tile * w.n_rows + row) * 2) * STATES + n];
    if (n < STATES)
        at<ACT>(a.db, row)[n] = from_float<ACT>(sum);
    else
        at<ACT>(a.dc, row)[n - STATES] = from_float<ACT>(sum);
}

/* da and dd: tile blockIdx.x and state blockIdx.y of each thread, over all sequences. */
extern "C" __global__ void __launch_bounds__(THREADS) ssm_scan_bwd_rates(run run, ssm_scan_bwd_args a) {
    const workspace w = workspace_of(run, a);
    const i64 sequences = live_rows(run, a.slot), tile = blockIdx.x, channel = tile * TILE + threadIdx.x % TILE;
    const int n = threadIdx.x / TILE * OWN + blockIdx.y;
    float da = 0, dd = 0;
    if (is_told(run) || channel >= a.x.shape[1]) return;
    for (i64 s = 0; s < sequences; s++) {
        const i64 spot = s * w.tiles + tile;
        da += w.rates[spot * OF_TILE + blockIdx.y * THREADS + threadIdx.x];
        if (n == 0) dd += w.skips[spot * TILE + threadIdx.x];
    }
    if (n < STATES) {
        float *to = at<float>(a.da, channel) + n;
        *to = a.flags & ADD ? *to + da : da;
    }
    if (n > 0 || !a.dd.data) return;
    float *to = (float *)a.dd.data + channel;
    *to = a.flags & ADD ? *to + dd : dd;
}
