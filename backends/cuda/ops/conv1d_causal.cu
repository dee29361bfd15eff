/* The short causal convolution of Mamba. A thread takes CHUNK tokens of a channel of a sequence, all of whose inputs
 * it loads before it needs the first; neighbours in a warp are neighbours in memory. The first chunk of a sequence
 * alone reads its state, and so can write what becomes of it where it stood. */
#include "sequences.cuh"

struct conv1d_causal_args {
    u32 struct_size, flags;
    view x, w, bias, state, seq_start, slot, y, state_out;
};

#define SILU 1u /* NLM_CONV_SILU */
#define KEPT (WIDTH - 1)

/* Input i of a sequence, counted from the oldest in its state; 0 past its end. */
__device__ __forceinline__ float input(const conv1d_causal_args &a, const sequence &q, i64 i, i64 channel) {
    if (i < KEPT) return at<float>(a.state, q.slot, i)[channel];
    return i < KEPT + q.n_tokens ? to_float(at<ACT>(a.x, q.from + i - KEPT)[channel]) : 0.0f;
}

/* The state becomes the last inputs of the sequence; `in` begins with what it was. */
__device__ __forceinline__ void carry(const conv1d_causal_args &a, const sequence &q, i64 channel, const float *in) {
    float kept[KEPT];
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        kept[i] = q.n_tokens + i < KEPT ? 0.0f : input(a, q, q.n_tokens + i, channel);
#pragma unroll
        for (int j = i; j < KEPT; j++) kept[i] = q.n_tokens + i == j ? in[j] : kept[i];
    }
#pragma unroll
    for (int i = 0; i < KEPT; i++) at<float>(a.state_out, q.slot, i)[channel] = kept[i];
}

extern "C" __global__ void __launch_bounds__(BLOCK) conv1d_causal(run run, conv1d_causal_args a) {
    const i64 n_sequences = live_rows(run, a.slot), rows = live_rows(run, a.x), item = blockIdx.x;
    const i64 channel = (i64)blockIdx.y * BLOCK + threadIdx.x;
    sequence q;
    if (n_sequences == 0) return;
    if (item < n_sequences && channel == 0) read_sequence(run, a.seq_start, a.slot, item, rows, a.state.shape[0], &q);
    const chunk part = find_chunk(a.seq_start, n_sequences, CHUNK, item);
    const i64 first = part.index * CHUNK;
    if (!read_sequence(run, a.seq_start, a.slot, part.sequence, rows, a.state.shape[0], &q)) return;
    if (channel >= a.x.shape[1] || first < 0 || (first > 0 && first >= q.n_tokens)) return;
    const float *w = at<float>(a.w, channel), bias = a.bias.data ? ((const float *)a.bias.data)[channel] : 0.0f;
    float in[KEPT + CHUNK], factor[WIDTH];
#pragma unroll
    for (int j = 0; j < WIDTH; j++) factor[j] = w[j];
#pragma unroll
    for (int j = 0; j < KEPT + CHUNK; j++) in[j] = input(a, q, first + j, channel);
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        if (first + t >= q.n_tokens) break;
        float sum = bias;
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sum += factor[j] * in[t + j];
        at<ACT>(a.y, q.from + first + t)[channel] = from_float<ACT>(a.flags & SILU ? silu(sum) : sum);
    }
    if (first == 0) carry(a, q, channel, in);
}
