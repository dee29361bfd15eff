/* The gradient of a product by what was multiplied: dy w (gemm_weights.cuh). */
#include "gemm_weights.cuh"

struct matmul_dx_args {
    u32 struct_size, flags;
    view dy, w, residual, dx;
};

extern "C" __global__ void GEMM_BOUNDS matmul_dx(run run, matmul_dx_args a) {
    const i64 first_m = (i64)blockIdx.y * TILE, first_k = (i64)blockIdx.x * TILE;
    const i64 rows = live_rows(run, a.dy), columns = a.dx.shape[1];
    if (first_m >= rows) return;
    gemm(rows_along<ACT>(a.dy, rows), first_m, weight_across(a.w), first_k, a.w.shape[0],
         [&](i64 m, i64 k, float sum) {
             if (m >= rows || k >= columns) return;
             if (a.residual.data) sum += to_float(at<ACT>(a.residual, m)[k]);
             at<ACT>(a.dx, m)[k] = from_float<ACT>(sum);
         });
}
