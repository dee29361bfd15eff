/* The greatest element of each row. A block looks at PART columns of a row, so that the one row of logits of a token
 * keeps several multiprocessors busy; where a row has more than one part a second kernel compares them, a warp a
 * row. */
#include "greatest.cuh"

struct argmax_args {
    u32 struct_size, flags;
    view x, y;
};

#define THREADS 256
#define FINITE  1u /* NLM_ARGMAX_FINITE */

__device__ __forceinline__ void answer(const view &y, i64 row, candidate best) {
    *at<int>(y, row) = best.index == 0x7fffffff ? -1 : best.index;
}

extern "C" __global__ void __launch_bounds__(THREADS) argmax_parts(run run, argmax_args a) {
    __shared__ candidate of_warp[THREADS / 32];
    wait_for_inputs();
    const i64 row = blockIdx.x;
    if (row >= live_rows(run, a.x)) return;
    const ACT *x = at<ACT>(a.x, row);
    const i64 first = (i64)blockIdx.y * PART;
    const int n = a.x.shape[1] - first < PART ? (int)(a.x.shape[1] - first) : PART;
    candidate best = nothing();
#pragma unroll 8
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const float v = to_float(x[first + i]);
        const int index = (int)first + i;
        best = better(best, a.flags & FINITE ? finite(v, index) : candidate{v, index});
    }
    best = warp_best(best);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 1; i < THREADS / 32; i++) best = better(best, of_warp[i]);
    if (gridDim.y == 1)
        answer(a.y, row, best);
    else
        ((candidate *)run.workspace)[row * gridDim.y + blockIdx.y] = best;
}

extern "C" __global__ void __launch_bounds__(THREADS) argmax_join(run run, argmax_args a) {
    wait_for_inputs();
    const i64 row = (i64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const int n_parts = (int)((a.x.shape[1] + PART - 1) / PART);
    if (row >= live_rows(run, a.x)) return;
    candidate best = nothing();
    for (int i = threadIdx.x % 32; i < n_parts; i += 32) {
        best = better(best, ((const candidate *)run.workspace)[row * n_parts + i]);
    }
    best = warp_best(best);
    if (threadIdx.x % 32 == 0) answer(a.y, row, best);
}
