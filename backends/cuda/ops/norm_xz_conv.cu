/* Mamba's way in for a few rows, in one kernel: few.cuh says how the product is split. A block has all tokens of its
 * channels, so that the convolution can follow: a thread takes a channel of a sequence and goes along its tokens.
 * What it needs of memory for that is on its way while the product is made. */
#include "few.cuh"
#include "mamba.cuh"
#include "sequences.cuh"

struct norm_xz_conv_args {
    u32 struct_size, flags;
    view x, norm_w, w, conv_w, conv_bias, state, seq_start, slot, xz, y, state_out;
    float eps;
};

#define SILU     1u /* NLM_CONV_SILU */
#define KEPT     (WIDTH - 1)
#define CHANNELS (WARPS / SPLIT * PAIR) /* rows of w of a block */

/* A channel of a sequence. */
struct lane {
    sequence q;
    i64 channel;
    bool is_there;
    float factor[WIDTH], bias, before[KEPT]; /* the inputs before the next token, oldest first */
};

/* Lane i of those of the block: sequence i / CHANNELS. */
__device__ __forceinline__ lane load_lane(const run &run, const norm_xz_conv_args &a, i64 i) {
    lane l;
    const i64 s = i / CHANNELS;
    l.channel = (i64)blockIdx.x * CHANNELS + i % CHANNELS;
    l.is_there = s < live_rows(run, a.slot) && l.channel < a.y.shape[1] &&
                 read_sequence(run, a.seq_start, a.slot, s, live_rows(run, a.x), a.state.shape[0], &l.q);
    if (!l.is_there) return l;
    l.bias = a.conv_bias.data ? *at<float>(a.conv_bias, l.channel) : 0.0f;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) l.factor[j] = at<float>(a.conv_w, l.channel)[j];
#pragma unroll
    for (int j = 0; j < KEPT; j++) l.before[j] = at<float>(a.state, l.q.slot, j)[l.channel];
    return l;
}

__device__ __forceinline__ void convolve(const norm_xz_conv_args &a, lane l, const float (*xz)[CHANNELS]) {
    if (!l.is_there) return;
    for (i64 row = l.q.from; row < l.q.from + l.q.n_tokens; row++) {
        const float now = xz[row][l.channel % CHANNELS];
        float sum = l.bias;
#pragma unroll
        for (int j = 0; j < KEPT; j++) sum = tap(sum, l.factor[j], l.before[j]);
        sum = tap(sum, l.factor[KEPT], now);
        at<ACT>(a.y, row)[l.channel] = from_float<ACT>(a.flags & SILU ? silu(sum) : sum);
#pragma unroll
        for (int j = 0; j < KEPT; j++) l.before[j] = j + 1 < KEPT ? l.before[j + 1] : now;
    }
#pragma unroll
    for (int j = 0; j < KEPT; j++) at<float>(a.state_out, l.q.slot, j)[l.channel] = l.before[j];
}

/* Without live rows sequences are empty, and their states go on all the same. */
extern "C" __global__ void FEW_BOUNDS norm_xz_conv_few(run run, norm_xz_conv_args a) {
    __shared__ float xz[ROWS][CHANNELS];
    const int place = threadIdx.x % 32, warp = threadIdx.x / 32, m = place % ROWS;
    const int first = warp / SPLIT * PAIR, mine = first + place / ROWS; /* rows of w in the block's part */
    const i64 n = (i64)blockIdx.x * CHANNELS;
    const pair rows = begun(pair_of(a.w, n + first));
    const few_input in = few_input_of(run, a.x, 0, (const float *)a.norm_w.data);
    const lane l = load_lane(run, a, threadIdx.x);
    sums s = {};
    float squares[ROWS] = {};
    few_sums<true>(in, rows, s, squares);
    const float factor = few_factor_of_lane(squares, in.length, a.eps), sum = few_sum_of_lane(s) * factor;
    if (warp % SPLIT == 0 && place < PAIR * ROWS && m < in.n_rows && n + mine < a.w.shape[0]) {
        const ACT stored = from_float<ACT>(sum);
        at<ACT>(a.xz, m)[n + mine] = stored;
        xz[m][mine] = to_float(stored);
    }
    __syncthreads();
    convolve(a, l, xz);
    const i64 n_lanes = live_rows(run, a.slot) * CHANNELS;
    for (i64 i = threadIdx.x + THREADS; i < n_lanes; i += THREADS) convolve(a, load_lane(run, a, i), xz);
}
