/* Rows of the embedding by token: a block a row, a thread four elements at a time. */
#include "packed.cuh"

struct embed_args {
    u32 struct_size, flags;
    view ids, w, y;
};

extern "C" __global__ void embed(run run, embed_args a) {
    wait_for_inputs();
    const i64 row = blockIdx.x, n = a.y.shape[1];
    if (row >= live_rows(run, a.ids)) return;
    const int id = *at<int>(a.ids, row);
    if (id < 0 || id >= a.w.shape[0]) {
        if (threadIdx.x == 0) tell(run, NLM_CUDA_FAULT_ID, row, id, a.w.shape[0]);
        return;
    }
    const weight_row w(a.w, id);
    ACT *y = at<ACT>(a.y, row);
    for (i64 k = 4 * threadIdx.x; k < n; k += 4 * blockDim.x) {
        const float4 v = w.quad((int)(k / 32), (int)(k % 32) / 4);
        y[k] = from_float<ACT>(v.x);
        if (k + 1 < n) y[k + 1] = from_float<ACT>(v.y);
        if (k + 2 < n) y[k + 2] = from_float<ACT>(v.z);
        if (k + 3 < n) y[k + 3] = from_float<ACT>(v.w);
    }
}
