/* Rows of activations, normed on the way if there is a norm, as cuBLASLt gets them. A block has a row. Padding
 * becomes zeros, behind a row's last element and below the last live row.
 *
 * Macros: ACT; HALF, f16 or bf16; IN_PIECES: elements stand in the order of a packed weight of 16 bits (packed.cuh),
 * which is multiplied as it is: the order of a sum's terms is the same in both.
 * y: [rows, 32 * blocks]; bias: the exponents, [rows] i32, of f16. */
#include "dense.cuh"
#include "rows.cuh"

struct norm_matmul_args {
    u32 struct_size, flags;
    view x, norm_w, w, bias, y;
    float eps;
};

/* The first of the 8 elements of x that stand at a place of y. */
__device__ __forceinline__ i64 element_of(int place, int n_blocks) {
#if IN_PIECES
    const int group = place / 128 * 32, in_group = min(32, n_blocks - group), i = place - 4 * group;
    return 32 * (i64)(group + i % in_group) + 8 * (i / in_group);
#else
    return 8 * (i64)place;
#endif
}

struct input_row {
    const ACT *row;
    const f32 *norm;
    i64 length;
    bool is_whole, is_norm_whole;

    __device__ __forceinline__ float4 plain(i64 k) const {
        return quad_of(row, k, length, is_whole);
    }
    __device__ __forceinline__ float4 weighed(float4 v, i64 k) const {
        if (!norm) return v;
        const float4 w = quad_of(norm, k, length, is_norm_whole);
        return make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) dense_rows(run run, norm_matmul_args a) {
    __shared__ float of_squares[THREADS / 32], of_greatest[THREADS / 32];
    const i64 m = blockIdx.x;
    const int n_places = (int)(a.y.shape[1] / 8);
    uint4 *to = (uint4 *)at<HALF>(a.y, m);
    int *exponents = (int *)a.bias.data;
    if (m >= live_rows(run, a.x)) {
        for (int i = (int)threadIdx.x; i < n_places; i += THREADS) to[i] = make_uint4(0, 0, 0, 0);
        if (exponents && threadIdx.x == 0) exponents[m] = 0;
        return;
    }
    const input_row in = {at<ACT>(a.x, m), (const f32 *)a.norm_w.data, a.x.shape[1], has_whole_quads<ACT>(a.x),
                          (a.norm_w.data & 15) == 0};
    float squares = 0, greatest = 0;
    for (i64 k = threadIdx.x * 4; k < in.length; k += THREADS * 4) {
        const float4 v = in.plain(k);
        squares = dot(v, v, squares);
        greatest = greatest_of(in.weighed(v, k), greatest);
    }
    float factor = 1;
    if (in.norm) factor = 1.0f / sqrtf(block_sum<THREADS>(squares, of_squares) / (float)in.length + a.eps);
    const int exponent = exponents ? exponent_for(block_max<THREADS>(greatest, of_greatest) * factor) : 0;
    for (int i = (int)threadIdx.x; i < n_places; i += THREADS) {
        const i64 k = element_of(i, n_places / 4);
        const float4 low = times(in.weighed(in.plain(k), k), factor);
        const float4 high = times(in.weighed(in.plain(k + 4), k + 4), factor);
        to[i] = eight_of<HALF>(times(low, power(exponent)), times(high, power(exponent)));
    }
    if (exponents && threadIdx.x == 0) exponents[m] = exponent;
}
