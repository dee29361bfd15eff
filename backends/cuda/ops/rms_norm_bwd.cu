/* The gradients of a norm: by its input a block a row, or a head of a row; by its weight, a sum over rows
 * (columns.cuh). */
#include "columns.cuh"

struct rms_norm_bwd_args {
    u32 struct_size, flags;
    view x, w, dy, residual, dx, dw;
    float eps;
};

#define THREADS 256

/* 1 / sqrt(mean(x^2) + eps), for the whole block. */
__device__ __forceinline__ float factor_of(const ACT *x, i64 n, float eps) {
    __shared__ float parts[THREADS / 32];
    float squares = 0;
    for (i64 i = threadIdx.x; i < n; i += THREADS) squares += to_float(x[i]) * to_float(x[i]);
    return 1.0f / sqrtf(block_sum<THREADS>(squares, parts) / (float)n + eps);
}

__device__ __forceinline__ float *factors_of(const run &run, const rms_norm_bwd_args &a) {
    return behind_parts(run, a.x.shape[0] * (a.x.rank == 3 ? a.x.shape[1] : 1), last_dim(a.x));
}

extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_bwd_factors(run run, rms_norm_bwd_args a) {
    const i64 row = blockIdx.x, head = blockIdx.y;
    if (row >= live_rows(run, a.x)) return;
    const float factor = factor_of(at<ACT>(a.x, row, head), last_dim(a.x), a.eps);
    if (threadIdx.x == 0) factors_of(run, a)[row * gridDim.y + head] = factor;
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) rms_norm_bwd_weight(run run, rms_norm_bwd_args a) {
    const int heads = a.x.rank == 3 ? (int)a.x.shape[1] : 1;
    const float *factors = factors_of(run, a);
    sum_columns(run, live_rows(run, a.x) * heads, last_dim(a.x), a.dw, a.flags, [&](i64 i, i64 c) {
        const i64 row = (i64)((u32)i / (u32)heads), head = i - row * heads;
        return factors[i] * to_float(at<ACT>(a.x, row, head)[c]) * to_float(at<ACT>(a.dy, row, head)[c]);
    });
}
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) rms_norm_bwd_join(run run, rms_norm_bwd_args a) {
    const i64 heads = a.x.rank == 3 ? a.x.shape[1] : 1;
    join_columns(run, live_rows(run, a.x) * heads, last_dim(a.x), a.dw, a.flags);
}

/* What is normed, x times the factor, is of moderate size: products of it neither overflow nor vanish. A thread reads
 * an element before it writes it: dx may be dy or residual. */
extern "C" __global__ void __launch_bounds__(THREADS) rms_norm_bwd(run run, rms_norm_bwd_args a) {
    __shared__ float parts[THREADS / 32];
    const i64 row = blockIdx.x, head = blockIdx.y, n = last_dim(a.x);
    if (row >= live_rows(run, a.x)) return;
    const ACT *x = at<ACT>(a.x, row, head), *dy = at<ACT>(a.dy, row, head);
    const ACT *residual = a.residual.data ? at<ACT>(a.residual, row, head) : nullptr;
    const float *w = (const float *)a.w.data;
    ACT *dx = at<ACT>(a.dx, row, head);
    const float factor = factor_of(x, n, a.eps);
    float along = 0;
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        along += to_float(x[i]) * factor * (w ? w[i] : 1.0f) * to_float(dy[i]);
    }
    along = block_sum<THREADS>(along, parts) / (float)n;
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        const float slope = factor * ((w ? w[i] : 1.0f) * to_float(dy[i]) - to_float(x[i]) * factor * along);
        dx[i] = from_float<ACT>(residual ? slope + to_float(residual[i]) : slope);
    }
}
