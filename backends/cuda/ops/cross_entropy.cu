/* The head and the loss, with their gradients, of the rows that a launch is about: their logits, then what these
 * become a block a row, stand in the workspace, and products read them from there (gemm_weights.cuh). */
#ifdef TILE
#include "gemm_weights.cuh"
#endif
#include "columns.cuh"

struct cross_entropy_args {
    u32 struct_size, flags;
    view x, w, bias, labels, loss, dx, dw, db;
    float smoothing, z_loss;
};

/* The live rows of the launch. */
__device__ __forceinline__ i64 rows_of(const run &run, const cross_entropy_args &a) {
    return max((i64)0, min((i64)run.n_rows, live_rows(run, a.x) - run.first_row));
}

/* Logits, or the gradient by them, rows first. */
__device__ __forceinline__ view logits_of(const run &run, const cross_entropy_args &a) {
    const i64 n = a.w.shape[0], pitch = (n + 3) / 4 * 4 * (i64)sizeof(float);
    return view{(u64)behind_parts(run, run.n_rows, n), {pitch, sizeof(float)}, {run.n_rows, n}, 2, 0};
}

/* Rows of a matrix from the launch's first on. */
__device__ __forceinline__ view from_first(const run &run, const view &t) {
    view rows = t;
    rows.data += run.first_row * t.stride[0];
    return rows;
}

#ifdef TILE
extern "C" __global__ void GEMM_BOUNDS cross_entropy_logits(run run, cross_entropy_args a) {
    const view u = logits_of(run, a), x = from_first(run, a.x);
    const i64 rows = rows_of(run, a), first_r = (i64)blockIdx.y * TILE, first_n = (i64)blockIdx.x * TILE;
    if (first_r >= rows) return;
    gemm(rows_along<ACT>(x, rows), first_r, weight_along(a.w), first_n, a.w.shape[1], [&](i64 r, i64 n, float sum) {
        if (r >= rows || n >= a.w.shape[0]) return;
        at<float>(u, r)[n] = a.bias.data ? sum + ((const float *)a.bias.data)[n] : sum;
    });
}

extern "C" __global__ void GEMM_BOUNDS cross_entropy_input(run run, cross_entropy_args a) {
    const view du = logits_of(run, a), dx = from_first(run, a.dx);
    const i64 rows = rows_of(run, a), first_r = (i64)blockIdx.y * TILE, first_k = (i64)blockIdx.x * TILE;
    if (first_r >= rows) return;
    gemm(rows_along<f32>(du, rows), first_r, weight_across(a.w), first_k, a.w.shape[0], [&](i64 r, i64 k, float sum) {
        if (r < rows && k < a.w.shape[1]) at<ACT>(dx, r)[k] = from_float<ACT>(sum);
    });
}

extern "C" __global__ void GEMM_BOUNDS cross_entropy_weight(run run, cross_entropy_args a) {
    const view du = logits_of(run, a), x = from_first(run, a.x);
    const i64 rows = rows_of(run, a), first_n = (i64)blockIdx.y * TILE, first_k = (i64)blockIdx.x * TILE;
    gemm(rows_across<f32>(du, rows), first_n, rows_across<ACT>(x, rows), first_k, rows, [&](i64 n, i64 k, float sum) {
        if (n < a.w.shape[0] && k < a.w.shape[1]) store_sum(at<float>(a.dw, n) + k, sum, a.flags);
    });
}
#else

#define THREADS 256

struct summary {
    float greatest, total, mean; /* of exponentials, less the greatest; of logits */
};

__device__ __forceinline__ summary summary_of(const float *u, i64 n) {
    __shared__ float greatest_parts[THREADS / 32], total_parts[THREADS / 32], mean_parts[THREADS / 32];
    summary s = {__uint_as_float(0xff800000u), 0, 0};
    for (i64 i = threadIdx.x; i < n; i += THREADS) s.greatest = fmaxf(s.greatest, u[i]);
    s.greatest = block_max<THREADS>(s.greatest, greatest_parts);
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        s.total += expf(u[i] - s.greatest);
        s.mean += u[i] / (float)n;
    }
    s.total = block_sum<THREADS>(s.total, total_parts);
    s.mean = block_sum<THREADS>(s.mean, mean_parts);
    return s;
}

/* The loss of a row, and in place of its logits the gradient by them. */
extern "C" __global__ void __launch_bounds__(THREADS) cross_entropy_rows(run run, cross_entropy_args a) {
    const i64 n = a.w.shape[0], r = blockIdx.x, row = run.first_row + r;
    if (r >= rows_of(run, a)) return;
    const int label = *at<int>(a.labels, row);
    const bool is_counted = label >= 0 && label < n;
    float *u = at<float>(logits_of(run, a), r);
    if (!is_counted) {
        if (label >= n && threadIdx.x == 0) tell(run, NLM_CUDA_FAULT_LABEL, row, label, n);
        for (i64 i = threadIdx.x; i < n; i += THREADS) u[i] = 0;
        if (threadIdx.x == 0) *at<float>(a.loss, row) = 0;
        return;
    }
    const summary s = summary_of(u, n);
    const float above = logf(s.total), e = s.greatest + above;
    const float slope = (1.0f + 2.0f * a.z_loss * e) / s.total, even = a.smoothing / (float)n;
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        const float logit = u[i], du = slope * expf(logit - s.greatest) - even;
        u[i] = i == label ? du - (1.0f - a.smoothing) : du;
        if (i != label) continue;
        const float below = (1.0f - a.smoothing) * (s.greatest - logit) + a.smoothing * (s.greatest - s.mean);
        *at<float>(a.loss, row) = above + below + a.z_loss * e * e;
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) cross_entropy_bias(run run, cross_entropy_args a) {
    const view du = logits_of(run, a);
    sum_columns(run, rows_of(run, a), a.w.shape[0], a.db, a.flags, [&](i64 r, i64 n) { return at<float>(du, r)[n]; });
}
extern "C" __global__ void __launch_bounds__(COLUMN_THREADS) cross_entropy_join(run run, cross_entropy_args a) {
    join_columns(run, rows_of(run, a), a.w.shape[0], a.db, a.flags);
}
#endif
