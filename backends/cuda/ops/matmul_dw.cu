/* The gradients of a product: by the weight, dy^T x (gemm.cuh); by the bias, the sums of the columns of dy
 * (columns.cuh). */
#ifdef TILE
#include "gemm.cuh"
#endif
#include "columns.cuh"

struct matmul_dw_args {
    u32 struct_size, flags;
    view dy, x, dw, db;
};

#ifdef TILE
extern "C" __global__ void GEMM_BOUNDS matmul_dw(run run, matmul_dw_args a) {
    const i64 first_n = (i64)blockIdx.y * TILE, first_k = (i64)blockIdx.x * TILE, rows = live_rows(run, a.dy);
    gemm(rows_across<ACT>(a.dy, rows), first_n, rows_across<ACT>(a.x, rows), first_k, rows,
         [&](i64 n, i64 k, float sum) {
             if (n < a.dw.shape[0] && k < a.dw.shape[1]) store_sum(at<float>(a.dw, n) + k, sum, a.flags);
         });
}
#else
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) matmul_dw_bias(run run, matmul_dw_args a) {
    sum_columns(run, live_rows(run, a.dy), a.dy.shape[1], a.db, a.flags,
                [&](i64 m, i64 n) { return to_float(at<ACT>(a.dy, m)[n]); });
}
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) matmul_dw_join(run run, matmul_dw_args a) {
    join_columns(run, live_rows(run, a.dy), a.dy.shape[1], a.db, a.flags);
}
#endif
