/* Rows divided by the root of their mean square: a block a row, or a head of a row. */
#include "device.cuh"

struct rms_norm_args {
    u32 struct_size, flags;
    view x, residual, w, y, sum;
    float eps;
};

#define THREADS 256

/* A thread reads an element before it writes it, whichever of the tensors are one. */
extern "C" __global__ void __launch_bounds__(THREADS) rms_norm(run run, rms_norm_args a) {
    __shared__ float parts[THREADS / 32];
    wait_for_inputs();
    const i64 row = blockIdx.x, head = blockIdx.y, n = last_dim(a.x);
    if (row >= live_rows(run, a.x)) return;
    const ACT *x = at<ACT>(a.x, row, head);
    const ACT *residual = a.residual.data ? at<ACT>(a.residual, row, head) : nullptr;
    const float *w = (const float *)a.w.data;
    ACT *y = at<ACT>(a.y, row, head), *sum = a.sum.data ? at<ACT>(a.sum, row, head) : nullptr;
    float squares = 0;
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        float v = to_float(x[i]);
        if (residual) v += to_float(residual[i]);
        if (sum) sum[i] = from_float<ACT>(v);
        squares += v * v;
    }
    const float factor = 1.0f / sqrtf(block_sum<THREADS>(squares, parts) / (float)n + a.eps);
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        float v = to_float(sum ? sum[i] : x[i]);
        if (!sum && residual) v += to_float(residual[i]);
        y[i] = from_float<ACT>(v * factor * (w ? w[i] : 1.0f));
    }
}
