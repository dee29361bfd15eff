/* The gradients of the short causal convolution. A thread takes CHUNK tokens of a channel of a sequence, from the
 * first to the last, and then as many more as meet one of their inputs, the sums of which it works out once more.
 * What a chunk adds to dw and db goes through the workspace, [chunk][WIDTH + 1][channel]; a second kernel adds up the
 * chunks, in their order. */
#include "sequences.cuh"

struct conv1d_causal_bwd_args {
    u32 struct_size, flags;
    view x, w, bias, state, seq_start, slot, dy, dstate_out, dx, dw, db, dstate;
};

#define SILU 1u   /* NLM_CONV_SILU */
#define ADD  256u /* NLM_GRADIENT_ADD */
#define KEPT (WIDTH - 1)

struct channel_of {
    const conv1d_causal_bwd_args &a;
    const sequence &q;
    i64 channel;

    /* Input i of the sequence, counted from the oldest in its state; 0 past its end. */
    __device__ __forceinline__ float input(i64 i) const {
        if (i < KEPT) return at<float>(a.state, q.slot, i)[channel];
        return i < KEPT + q.n_tokens ? to_float(at<ACT>(a.x, q.from + i - KEPT)[channel]) : 0.0f;
    }
    /* What the sequence leaves in its state as input i has a gradient of its own. */
    __device__ __forceinline__ float left(i64 i) const {
        return a.dstate_out.data && i >= q.n_tokens ? at<float>(a.dstate_out, q.slot, i - q.n_tokens)[channel] : 0.0f;
    }
    __device__ __forceinline__ void store(i64 i, float v) const {
        if (i >= KEPT)
            at<ACT>(a.dx, q.from + i - KEPT)[channel] = from_float<ACT>(v);
        else if (a.dstate.data)
            at<float>(a.dstate, q.slot, i)[channel] = v;
    }
};

struct sums {
    float w[WIDTH], b;
};

/* Token t, which in[0] to in[KEPT] are the inputs of, when the sum before silu is `sum`. */
__device__ __forceinline__ float gradient_of(const channel_of &c, i64 t, const float *in, const float *w,
                                             float bias) {
    const float dy = to_float(at<ACT>(c.a.dy, c.q.from + t)[c.channel]);
    float sum = bias;
    if (!(c.a.flags & SILU)) return dy;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += w[j] * in[j];
    return dy * silu_slope(sum);
}

/* Tokens first to first + CHUNK - 1, and the inputs that stand where these do; before the first token also those of
 * the state. g[j] is the gradient of token t - j. */
__device__ __forceinline__ sums convolve_back(const channel_of &c, i64 first) {
    const float *w = at<float>(c.a.w, c.channel);
    const float bias = c.a.bias.data ? ((const float *)c.a.bias.data)[c.channel] : 0.0f;
    const i64 end = min(first + CHUNK, c.q.n_tokens);
    float in[WIDTH], g[WIDTH] = {}, factor[WIDTH];
    sums s = {};
#pragma unroll
    for (int j = 0; j < WIDTH; j++) factor[j] = w[j];
#pragma unroll
    for (int j = 0; j < KEPT; j++) in[j] = c.input(first + j);
    for (i64 t = first; t < end + KEPT; t++) {
        in[KEPT] = c.input(t + KEPT);
#pragma unroll
        for (int j = KEPT; j > 0; j--) g[j] = g[j - 1];
        g[0] = t < c.q.n_tokens ? gradient_of(c, t, in, factor, bias) : 0.0f;
        if (t < end) {
            s.b += g[0];
#pragma unroll
            for (int j = 0; j < WIDTH; j++) s.w[j] += g[0] * in[j];
        }
        if (first == 0 || t >= first + KEPT) {
            float sum = c.left(t);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) sum += factor[j] * g[j];
            c.store(t, sum);
        }
#pragma unroll
        for (int j = 0; j < KEPT; j++) in[j] = in[j + 1];
    }
    return s;
}

extern "C" __global__ void __launch_bounds__(BLOCK) conv1d_causal_bwd(run run, conv1d_causal_bwd_args a) {
    const i64 n_sequences = live_rows(run, a.slot), rows = live_rows(run, a.x), item = blockIdx.x;
    const i64 channel = (i64)blockIdx.y * BLOCK + threadIdx.x, n_channels = a.x.shape[1];
    sequence q;
    if (item >= rows / CHUNK + n_sequences) return;
    if (item < n_sequences && channel == 0) read_sequence(run, a.seq_start, a.slot, item, rows, a.state.shape[0], &q);
    const chunk part = find_chunk(a.seq_start, n_sequences, CHUNK, item);
    const i64 first = part.index * CHUNK;
    const bool is_sound = read_sequence(run, a.seq_start, a.slot, part.sequence, rows, a.state.shape[0], &q);
    if (channel >= n_channels) return;
    sums s = {};
    if (is_sound && first >= 0 && (first == 0 || first < q.n_tokens)) {
        s = convolve_back(channel_of{a, q, channel}, first);
    }
    float *kept = (float *)run.workspace + item * (WIDTH + 1) * n_channels + channel;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) kept[j * n_channels] = s.w[j];
    kept[WIDTH * n_channels] = s.b;
}

/* blockIdx.y is which of dw's columns; behind them stands db. */
extern "C" __global__ void __launch_bounds__(BLOCK) conv1d_causal_bwd_join(run run, conv1d_causal_bwd_args a) {
    const i64 n_sequences = live_rows(run, a.slot), channel = (i64)blockIdx.x * BLOCK + threadIdx.x;
    const i64 n_channels = a.x.shape[1], chunks = n_sequences > 0 ? live_rows(run, a.x) / CHUNK + n_sequences : 0;
    const int j = blockIdx.y;
    if (channel >= n_channels || (j == WIDTH && !a.db.data)) return;
    const float *kept = (const float *)run.workspace + j * n_channels + channel;
    float sum = 0, *to = j == WIDTH ? (float *)a.db.data + channel : at<float>(a.dw, channel) + j;
#pragma unroll 4
    for (i64 i = 0; i < chunks; i++) sum += kept[i * (WIDTH + 1) * n_channels];
    *to = a.flags & ADD ? *to + sum : sum;
}
