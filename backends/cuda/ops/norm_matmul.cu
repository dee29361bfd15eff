/* The product of normed rows in one kernel: x meets the norm's weights on its way to shared memory, where every block
 * adds up the squares of its rows too; what the norm divides by is taken into account behind the product. */
#ifdef ROWS
#include "few.cuh"
#else
#include "many.cuh"
#endif

struct norm_matmul_args {
    u32 struct_size, flags;
    view x, norm_w, w, bias, y;
    float eps;
};

__device__ __forceinline__ void store(const norm_matmul_args &a, i64 m, i64 n, float sum) {
    if (a.bias.data) sum += *at<float>(a.bias, n);
    at<ACT>(a.y, m)[n] = from_float<ACT>(sum);
}

#ifdef ROWS
extern "C" __global__ void FEW_BOUNDS norm_matmul_few(run run, norm_matmul_args a) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 n = ((i64)blockIdx.x * (WARPS / SPLIT) + warp / SPLIT) * PAIR, m = (i64)blockIdx.y * ROWS;
    const pair rows = begun(pair_of(a.w, n));
    const few_input in = few_input_of(run, a.x, m, (const float *)a.norm_w.data);
    if (in.n_rows <= 0) return;
    sums s = {};
    float squares[ROWS] = {};
    few_sums<true>(in, rows, s, squares);
    const float factor = few_factor_of_lane(squares, in.length, a.eps), sum = few_sum_of_lane(s) * factor;
    if (warp % SPLIT != 0 || lane >= PAIR * ROWS) return;
    if (n + lane / ROWS < a.w.shape[0] && lane % ROWS < in.n_rows) store(a, m + lane % ROWS, n + lane / ROWS, sum);
}
#else
extern "C" __global__ void MANY_BOUNDS norm_matmul_many(run run, norm_matmul_args a) {
    extern __shared__ many_shared shared[];
    __shared__ float factors[TILE];
    const i64 first_m = (i64)blockIdx.y * TILE, first_n = (i64)blockIdx.x * TILE, rows = live_rows(run, a.x);
    if (first_m >= rows) return;
    many_input<true> in(run, a.x, first_m, (const float *)a.norm_w.data);
    many_sums(in, many_weight(a.w, a.w, first_n, TILE), *shared);
    in.put_factors(a.eps, factors);
    __syncthreads();
    for (int i = threadIdx.x; i < TILE * TILE; i += THREADS) {
        const i64 m = first_m + i / TILE, n = first_n + i % TILE;
        if (m < rows && n < a.w.shape[0]) store(a, m, n, shared->sums[i / TILE][i % TILE] * factors[i / TILE]);
    }
}
#endif
