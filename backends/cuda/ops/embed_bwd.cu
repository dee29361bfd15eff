/* The gradient of an embedding. A block stands for a row; if it is the first with its id, the block adds up all rows
 * that have it, in their order, for THREADS * OWN columns: what a row of dw receives has one owner, and no atomics.
 */
#include "device.cuh"

struct embed_bwd_args {
    u32 struct_size, flags;
    view ids, dy, dw;
};

#define THREADS 128
#define OWN     4

/* Is an id among the first n? Asked by the whole block. */
__device__ __forceinline__ bool is_among(const view &ids, int id, i64 n) {
    for (i64 first = 0; first < n; first += THREADS) {
        const i64 r = first + threadIdx.x;
        if (__syncthreads_or(r < n && *at<int>(ids, r) == id)) return true;
    }
    return false;
}

extern "C" __global__ void __launch_bounds__(THREADS) embed_bwd(run run, embed_bwd_args a) {
    __shared__ u32 has_id[THREADS / 32];
    const i64 rows = live_rows(run, a.ids), row = blockIdx.x;
    const i64 column = (i64)blockIdx.y * THREADS * OWN + threadIdx.x, n = a.dw.shape[1];
    if (row >= rows) return;
    const int id = *at<int>(a.ids, row);
    if (id < 0 || id >= a.dw.shape[0]) {
        if (threadIdx.x == 0) tell(run, NLM_CUDA_FAULT_ID, row, id, a.dw.shape[0]);
        return;
    }
    if (is_among(a.ids, id, row)) return;
    float *dw = at<float>(a.dw, id), sum[OWN];
#pragma unroll
    for (int j = 0; j < OWN; j++) sum[j] = column + j * THREADS < n ? dw[column + j * THREADS] : 0.0f;
    for (i64 first = row; first < rows; first += THREADS) {
        const i64 r = first + threadIdx.x;
        const u32 here = __ballot_sync(0xffffffffu, r < rows && *at<int>(a.ids, r) == id);
        if (threadIdx.x % 32 == 0) has_id[threadIdx.x / 32] = here;
        __syncthreads();
        for (int i = 0; i < THREADS / 32; i++) {
            for (u32 left = has_id[i]; left != 0; left &= left - 1) {
                const ACT *dy = at<ACT>(a.dy, first + 32 * i + __ffs((int)left) - 1);
#pragma unroll
                for (int j = 0; j < OWN; j++) {
                    if (column + j * THREADS < n) sum[j] += to_float(dy[column + j * THREADS]);
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < OWN; j++) {
        if (column + j * THREADS < n) dw[column + j * THREADS] = sum[j];
    }
}
