/* Rotary positions. A block takes some tokens, some heads and up to THREADS pairs: each thread works out the
 * frequency of one pair, which is costly, and its angle at each token; then all go over the elements, neighbours in
 * memory being neighbours in a warp. */
#include "rotation.cuh"

struct rope_args {
    u32 struct_size, flags;
    view x, pos, freq_factors, y;
    float freq_base, freq_scale;
    int n_rot;
};

#define THREADS 256
#define TOKENS  4
#define HEADS   8

__device__ __forceinline__ void fill_angles(const rope_args &a, int first_pair, i64 first_token, int n_tokens,
                                            float2 (*angles)[THREADS]) {
    const int pair = first_pair + (int)threadIdx.x;
    if (pair >= a.n_rot / 2) return;
    const turn t = turn_of(rotation_of(a), pair);
    for (int i = 0; i < n_tokens; i++) {
        angles[i][threadIdx.x] = angle_at(t, ((const int *)a.pos.data)[first_token + i]);
    }
}

/* What is behind the rotated elements. */
__device__ __forceinline__ void copy_rest(const rope_args &a, i64 first_token, int n_tokens, int first_head,
                                          int n_heads) {
    const int rest = (int)a.x.shape[2] - a.n_rot;
    for (int i = (int)threadIdx.x; i < n_tokens * n_heads * rest; i += THREADS) {
        const i64 token = first_token + i / rest / n_heads;
        const int head = first_head + i / rest % n_heads, c = a.n_rot + i % rest;
        at<ACT>(a.y, token, head)[c] = at<ACT>(a.x, token, head)[c];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) rope(run run, rope_args a) {
    __shared__ float2 angles[TOKENS][THREADS];
    const i64 first_token = (i64)blockIdx.x * TOKENS, left = live_rows(run, a.x) - first_token;
    const int first_head = (int)blockIdx.y * HEADS, first_pair = (int)blockIdx.z * THREADS, pairs = a.n_rot / 2;
    const int n_tokens = (int)min(left, (i64)TOKENS), n_heads = min((int)a.x.shape[1] - first_head, HEADS);
    const int n_pairs = min(pairs - first_pair, THREADS);
    if (left <= 0) return;
    fill_angles(a, first_pair, first_token, n_tokens, angles);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n_tokens * n_heads * n_pairs; i += THREADS) {
        const int in_pairs = i % n_pairs, pair = first_pair + in_pairs, token = i / n_pairs / n_heads;
        const int head = first_head + i / n_pairs % n_heads;
        const int first = rotation_of(a).first(pair), second = rotation_of(a).second(pair);
        const ACT *x = at<ACT>(a.x, first_token + token, head);
        ACT *y = at<ACT>(a.y, first_token + token, head);
        const float v = to_float(x[first]), w = to_float(x[second]);
        const float2 angle = angles[token][in_pairs];
        y[first] = from_float<ACT>(rotated_first(v, w, angle));
        y[second] = from_float<ACT>(rotated_second(v, w, angle));
    }
    if (blockIdx.z == 0 && a.y.data != a.x.data) copy_rest(a, first_token, n_tokens, first_head, n_heads);
}
