/* Products with a weight of any type: few.cuh and many.cuh say how the work is split. */
#ifdef ROWS
#include "few.cuh"
#else
#include "many.cuh"
#endif

struct matmul_args {
    u32 struct_size, flags;
    view x, w, bias, residual, y;
};

__device__ __forceinline__ void store(const matmul_args &a, i64 m, i64 n, float sum) {
    if (a.bias.data) sum += *at<float>(a.bias, n);
    if (a.residual.data) sum += to_float(at<ACT>(a.residual, m)[n]);
    at<ACT>(a.y, m)[n] = from_float<ACT>(sum);
}

#ifdef ROWS
extern "C" __global__ void FEW_BOUNDS matmul_few(run run, matmul_args a) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 n = ((i64)blockIdx.x * (WARPS / SPLIT) + warp / SPLIT) * PAIR, m = (i64)blockIdx.y * ROWS;
    const pair rows = begun(pair_of(a.w, n));
    const few_input in = few_input_of(run, a.x, m, nullptr);
    if (in.n_rows <= 0) return;
    sums s = {};
    float no_squares[ROWS];
    few_sums<false>(in, rows, s, no_squares);
    const float sum = few_sum_of_lane(s);
    if (warp % SPLIT != 0 || lane >= PAIR * ROWS) return;
    if (n + lane / ROWS < a.w.shape[0] && lane % ROWS < in.n_rows) store(a, m + lane % ROWS, n + lane / ROWS, sum);
}
#else
extern "C" __global__ void MANY_BOUNDS matmul_many(run run, matmul_args a) {
    extern __shared__ many_shared shared[];
    const i64 first_m = (i64)blockIdx.y * TILE, first_n = (i64)blockIdx.x * TILE, rows = live_rows(run, a.x);
    if (first_m >= rows) return;
    many_input<false> in(run, a.x, first_m, nullptr);
    many_sums(in, many_weight(a.w, a.w, first_n, TILE), *shared);
    for (int i = threadIdx.x; i < TILE * TILE; i += THREADS) {
        const i64 m = first_m + i / TILE, n = first_n + i % TILE;
        if (m < rows && n < a.w.shape[0]) store(a, m, n, shared->sums[i / TILE][i % TILE]);
    }
}
#endif
