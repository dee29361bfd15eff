/* Rows of weights that add up to one: a block a row, which it reads three times, the first time from memory and then
 * from a cache: for the greatest, for the sum of exponentials, and to write. */
#include "device.cuh"

struct softmax_args {
    u32 struct_size, flags;
    view x, y;
    float factor;
};

#define THREADS 256

/* A thread reads an element before it writes it: y may be x. */
extern "C" __global__ void __launch_bounds__(THREADS) softmax(run run, softmax_args a) {
    __shared__ float greatest_parts[THREADS / 32], sum_parts[THREADS / 32];
    const i64 row = blockIdx.x, n = a.x.shape[1];
    if (row >= live_rows(run, a.x)) return;
    const ACT *x = at<ACT>(a.x, row);
    ACT *y = at<ACT>(a.y, row);
    const float lowest = __uint_as_float(0xff800000u);
    float greatest = lowest, sum = 0;
    for (i64 i = threadIdx.x; i < n; i += THREADS) greatest = fmaxf(greatest, a.factor * to_float(x[i]));
    greatest = block_max<THREADS>(greatest, greatest_parts);
    for (i64 i = threadIdx.x; i < n; i += THREADS) sum += expf(a.factor * to_float(x[i]) - greatest);
    const float inverse = 1.0f / block_sum<THREADS>(sum, sum_parts);
    for (i64 i = threadIdx.x; i < n; i += THREADS) {
        const float v = expf(a.factor * to_float(x[i]) - greatest) * inverse;
        y[i] = from_float<ACT>(greatest == lowest ? 0.0f : v);
    }
}
