/* Rows of a packed weight of blocks, as cuBLASLt gets them, in f16. A block has a row.
 *
 * Macro: W, the type. w: all of the weight; y: [rows, 32 * blocks], rows run.first_row on of w; bias: the exponents,
 * [rows] i32. */
#define PACKED 1
#include "dense.cuh"
#include "packed.cuh"

struct matmul_args {
    u32 struct_size, flags;
    view x, w, bias, residual, y;
};

/* No element of a block is greater. */
__device__ __forceinline__ float bound_of(const block_scale &s) {
    constexpr int BITS = packing<W>::BITS, MOST = 1 << (packing<W>::IS_CENTRED ? BITS - 1 : BITS);
    constexpr float integer = are_placed<W> ? MOST : 128; /* iq4_nl has bytes */
    return fmaf(fmaxf(fabsf(s.d), fabsf(s.d_high)), integer, fabsf(s.m));
}

extern "C" __global__ void __launch_bounds__(THREADS) dense_weight(run run, matmul_args a) {
    __shared__ float of_greatest[THREADS / 32];
    const i64 n = blockIdx.x;
    const weight_row w(a.w, run.first_row + n);
    float greatest = 0;
    for (int b = (int)threadIdx.x; b < w.n_blocks; b += THREADS) {
        greatest = fmaxf(greatest, bound_of(weight_row::scale_of(w.scales_of(b), b)));
    }
    const int exponent = exponent_for(block_max<THREADS>(greatest, of_greatest));
    uint4 *to = (uint4 *)at<f16>(a.y, n);
    for (int i = (int)threadIdx.x; i < 4 * w.n_blocks; i += THREADS) {
        const float4 low = w.quad(i / 4, i % 4 * 2), high = w.quad(i / 4, i % 4 * 2 + 1);
        to[i] = eight_of<f16>(times(low, power(exponent)), times(high, power(exponent)));
    }
    if (threadIdx.x == 0) ((int *)a.bias.data)[n] = exponent;
}
