/* Rotary positions. A block takes some tokens, some heads and up to THREADS pairs: each thread works out the
 * frequency of one pair, which is costly, and its angle at each token; then all go over the elements, neighbours in
 * memory being neighbours in a warp. */
#include "device.cuh"

struct rope_args {
    u32 struct_size, flags;
    view x, pos, freq_factors, y;
    float freq_base, freq_scale;
    int n_rot;
};

#define THREADS 256
#define TOKENS  4
#define HEADS   8

#define HALF_SPLIT 1u
#define INVERSE    2u

/* How far a pair turns from one position to the next, in 2^-64 of a turn: whole turns overflow and are gone, and so
 * an integer product has the angle at any position, as exact as a double has the frequency. */
__device__ __forceinline__ u64 turn_of(const rope_args &a, int pair, bool *out_is_finite) {
    const double per_radian = 0.15915494309189535;
    double turns = per_radian * (double)a.freq_scale;
    if (pair > 0) turns *= exp2(-2.0 * pair / a.n_rot * log2((double)a.freq_base));
    if (a.freq_factors.data) turns /= (double)((const float *)a.freq_factors.data)[pair];
    *out_is_finite = isfinite(turns);
    const u64 turn = __double2ull_rn((turns - floor(turns)) * 18446744073709551616.0);
    return a.flags & INVERSE ? 0 - turn : turn;
}

__device__ __forceinline__ void fill_angles(const rope_args &a, int first_pair, i64 first_token, int n_tokens,
                                            float2 (*angles)[THREADS]) {
    const int pair = first_pair + (int)threadIdx.x;
    if (pair >= a.n_rot / 2) return;
    bool is_finite;
    const u64 turn = turn_of(a, pair, &is_finite);
    for (int i = 0; i < n_tokens; i++) {
        const i64 angle = (i64)((u64)(i64)((const int *)a.pos.data)[first_token + i] * turn);
        float sine, cosine;
        sincospif(__ll2float_rn(angle) * 0x1p-63f, &sine, &cosine);
        const float nan = __uint_as_float(0x7fc00000u);
        angles[i][threadIdx.x] = is_finite ? make_float2(cosine, sine) : make_float2(nan, nan);
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
        const int first = a.flags & HALF_SPLIT ? pair : 2 * pair,
                  second = a.flags & HALF_SPLIT ? pair + pairs : first + 1;
        const ACT *x = at<ACT>(a.x, first_token + token, head);
        ACT *y = at<ACT>(a.y, first_token + token, head);
        const float v = to_float(x[first]), w = to_float(x[second]);
        const float2 angle = angles[token][in_pairs];
        y[first] = from_float<ACT>(v * angle.x - w * angle.y);
        y[second] = from_float<ACT>(v * angle.y + w * angle.x);
    }
    if (blockIdx.z == 0 && a.y.data != a.x.data) copy_rest(a, first_token, n_tokens, first_head, n_heads);
}
