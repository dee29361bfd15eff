/* The gated feed-forward block in one kernel: a warp's pair of rows (few.cuh), and the halves of a block's tile
 * (many.cuh), are the gate's and the other weight's, so that both products of an element meet in one place. */
#ifdef ROWS
#include "few.cuh"
#else
#include "many.cuh"
#endif

struct gate_up_silu_mul_args {
    u32 struct_size, flags;
    view x, w_gate, w_up, y;
};

#ifdef ROWS
extern "C" __global__ void FEW_BOUNDS gate_up_silu_mul_few(run run, gate_up_silu_mul_args a) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 n = (i64)blockIdx.x * (WARPS / SPLIT) + warp / SPLIT, m = (i64)blockIdx.y * ROWS;
    const i64 last = a.y.shape[1] - 1, row = n < last ? n : last;
    const pair rows = begun(pair{weight_row(a.w_gate, row), weight_row(a.w_up, row)});
    const few_input in = few_input_of(run, a.x, m, nullptr);
    if (in.n_rows <= 0) return;
    sums s = {};
    float no_squares[ROWS];
    few_sums<false>(in, rows, s, no_squares);
    const float gate = few_sum_of_lane(s), up = __shfl_down_sync(0xffffffffu, gate, ROWS);
    if (warp % SPLIT != 0 || lane >= ROWS) return;
    if (n <= last && lane < in.n_rows) at<ACT>(a.y, m + lane)[n] = from_float<ACT>(silu(gate) * up);
}
#else
extern "C" __global__ void MANY_BOUNDS gate_up_silu_mul_many(run run, gate_up_silu_mul_args a) {
    extern __shared__ many_shared shared[];
    constexpr int HALF = TILE / 2;
    const i64 first_m = (i64)blockIdx.y * TILE, first_n = (i64)blockIdx.x * HALF, rows = live_rows(run, a.x);
    if (first_m >= rows) return;
    many_input<false> in(run, a.x, first_m, nullptr);
    many_sums(in, many_weight(a.w_gate, a.w_up, first_n, HALF), *shared);
    for (int i = threadIdx.x; i < TILE * HALF; i += THREADS) {
        const i64 m = first_m + i / HALF, n = first_n + i % HALF;
        const float *sums = shared->sums[i / HALF] + i % HALF;
        if (m < rows && n < a.y.shape[1]) at<ACT>(a.y, m)[n] = from_float<ACT>(silu(sums[0]) * sums[HALF]);
    }
}
#endif
