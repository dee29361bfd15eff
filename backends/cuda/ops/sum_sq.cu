/* The sum of squares: of each PART elements by a block, in f64 as they may be many, and then of these by one. */
#include "device.cuh"

struct sum_sq_args {
    u32 struct_size, flags;
    view x, total;
};

#define THREADS 256
#define ADD     256u /* NLM_GRADIENT_ADD */

/* The sum over the block, for all of it. */
__device__ __forceinline__ double block_total(double v) {
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = v;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    __syncthreads();
    return sums[0];
}

__device__ __forceinline__ i64 elements_of(const run &run, const view &x) {
    return live_rows(run, x) * x.shape[1];
}

extern "C" __global__ void __launch_bounds__(THREADS) sum_sq_parts(run run, sum_sq_args a) {
    const i64 count = elements_of(run, a.x), first = (i64)blockIdx.x * PART, columns = a.x.shape[1];
    double sum = 0;
    if (first >= count) return;
    for (int i = threadIdx.x; i < PART && first + i < count; i += THREADS) {
        const u64 row = (u64)(first + i) / (u64)columns;
        const double v = at<float>(a.x, (i64)row)[first + i - (i64)row * columns];
        sum += v * v;
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) ((double *)run.workspace)[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS) sum_sq_join(run run, sum_sq_args a) {
    const i64 parts = (elements_of(run, a.x) + PART - 1) / PART;
    float *total = (float *)a.total.data;
    double sum = 0;
    for (i64 i = threadIdx.x; i < parts; i += THREADS) sum += ((const double *)run.workspace)[i];
    sum = block_total(sum);
    if (threadIdx.x == 0) *total = (float)(a.flags & ADD ? *total + sum : sum);
}
