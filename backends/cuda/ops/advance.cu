/* Making a run's batch the next one's: one block, as where a row goes depends on those before it. */
#include "device.cuh"

struct advance_args {
    u32 struct_size, flags;
    view next, stops, ids, pos, slot, seq_start, live, tokens;
};

#define THREADS 256

/* Writes the token down; whether its sequence goes on. */
__device__ __forceinline__ bool take(const advance_args &a, int slot, int token) {
    int *row = at<int>(a.tokens, slot);
    const int *stops = at<int>(a.stops, slot);
    const int used = row[0];
    if (used < 0 || used >= a.tokens.shape[1] - 1) return false;
    row[1 + used] = token;
    row[0] = used + 1;
    bool goes_on = token >= 0;
    for (int i = 0; i < a.stops.shape[1]; i++) goes_on = goes_on && stops[i] != token;
    return goes_on;
}

extern "C" __global__ void __launch_bounds__(THREADS) advance(run run, advance_args a) {
    __shared__ int of_warp[THREADS / 32];
    wait_for_inputs();
    const int rows = (int)live_rows(run, a.next), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int *ids = at<int>(a.ids, 0), *pos = at<int>(a.pos, 0), *slots = at<int>(a.slot, 0);
    int m = 0;       /* rows that go on, of those so far */
    __syncthreads(); /* the counts may be what is written below */
    if (rows == 0) return;
    for (int base = 0; base < rows; base += THREADS) {
        const int s = base + (int)threadIdx.x;
        const int token = s < rows ? at<int>(a.next, 0)[s] : -1, slot = s < rows ? slots[s] : 0;
        const int position = s < rows ? pos[s] : 0;
        const bool is_slot = slot >= 0 && slot < a.tokens.shape[0];
        if (!is_slot) tell(run, NLM_CUDA_FAULT_SLOT, s, slot, a.tokens.shape[0]);
        const bool goes_on = s < rows && is_slot && take(a, slot, token);
        const u32 all = __ballot_sync(0xffffffffu, goes_on);
        if (lane == 0) of_warp[warp] = __popc(all);
        __syncthreads(); /* rows of this turn have been read, too */
        int to = m + __popc(all & ((1u << lane) - 1));
        for (int i = 0; i < THREADS / 32; i++) {
            to += i < warp ? of_warp[i] : 0;
            m += of_warp[i];
        }
        if (goes_on) {
            ids[to] = token;
            pos[to] = position + 1;
            slots[to] = slot;
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < a.seq_start.shape[0]; i += THREADS) at<int>(a.seq_start, 0)[i] = i < m ? i : m;
    if (threadIdx.x >= 1 && threadIdx.x < 4) at<int>(a.live, 0)[threadIdx.x] = m;
}
