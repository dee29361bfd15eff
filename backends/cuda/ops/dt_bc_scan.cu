/* Mamba's selection for a few rows, where (low, b, c) is in the workspace: dt is made where the scan needs it, the
 * threads of a channel taking quads of its weights in turn. scan.cuh says how the scan is split. */
#define CHUNK (STATES <= 8 ? 16 : 8)
#include "packed.cuh"
#include "rows.cuh"
#include "scan.cuh"

struct dt_bc_scan_args {
    u32 struct_size, flags;
    view x, w_x, w_dt, b_dt, a, d, z, state, seq_start, slot, y, state_out;
};

#define FEW 8 /* rows */

struct made_dt {
    const view &low, &w_dt, &b_dt;
    float value; /* of this thread's row of the one chunk there is */

    __device__ __forceinline__ void begin(const sequence &q, i64 channel, chunk_memory &memory) {
        const int group = threadIdx.x / TILE, lane = threadIdx.x % TILE;
        const i64 rank = w_dt.shape[1];
        const bool is_whole = has_whole_quads<ACT>(low);
        float sums[FEW] = {};
        for (int quad = group; channel < w_dt.shape[0] && 4 * quad < rank; quad += GROUPS) {
            const float4 w = weight_row(w_dt, channel).quad(quad / 8, quad % 8);
#pragma unroll
            for (int t = 0; t < FEW; t++) {
                if (t >= q.n_tokens) break;
                sums[t] = dot(w, quad_of(at<ACT>(low, q.from + t), 4 * quad, rank, is_whole), sums[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < FEW; t++) memory.parts[t][threadIdx.x] = sums[t];
        __syncthreads();
        value = b_dt.data && channel < w_dt.shape[0] ? *at<float>(b_dt, channel) : 0.0f;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) value += memory.parts[group][g * TILE + lane];
    }
    __device__ __forceinline__ float of(i64, i64, bool is_there) const {
        return is_there ? value : 0.0f;
    }
};

/* Columns of the workspace's matrix from `first` on. */
__device__ __forceinline__ view columns(const run &run, const dt_bc_scan_args &a, i64 first, i64 count) {
    view t = a.x;
    t.data = (u64)run.workspace + first * sizeof(ACT);
    t.stride[0] = a.w_x.shape[0] * sizeof(ACT);
    t.shape[1] = count;
    return t;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) dt_bc_scan_few(run run, dt_bc_scan_args a) {
    wait_for_inputs();
    const i64 rank = a.w_dt.shape[1];
    const view low = columns(run, a, 0, rank), b = columns(run, a, rank, STATES);
    const view c = columns(run, a, rank + STATES, STATES);
    const scan_tensors tensors = {a.x, a.a, b, c, a.d, a.z, a.state, a.seq_start, a.slot, a.y, a.state_out};
    scan_tile(run, tensors, made_dt{low, a.w_dt, a.b_dt, 0.0f});
}
