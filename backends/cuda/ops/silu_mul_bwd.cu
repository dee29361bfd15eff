/* The gradients of the gate of a feed-forward block: see elementwise.cuh. */
#include "elementwise.cuh"

struct silu_mul_bwd_args {
    u32 struct_size, flags;
    view gate, up, dy, dgate, dup;
};

/* A thread reads what it needs before it writes: dgate may be gate, and dup up. */
template <int N>
__device__ __forceinline__ void both_gradients(const run &run, const silu_mul_bwd_args &a) {
    typedef elements<ACT, N> piece;
    const u64 pieces = (u64)a.gate.shape[1] / N, index = (u64)blockIdx.x * THREADS + threadIdx.x;
    const i64 row = (i64)(index / pieces), i = (i64)(index % pieces);
    if (row >= live_rows(run, a.gate)) return;
    const piece gates = at<piece>(a.gate, row)[i], ups = at<piece>(a.up, row)[i], dys = at<piece>(a.dy, row)[i];
    piece dgate, dup;
#pragma unroll
    for (int j = 0; j < N; j++) {
        const float gate = to_float(gates.of[j]), dy = to_float(dys.of[j]);
        dgate.of[j] = from_float<ACT>(dy * to_float(ups.of[j]) * silu_slope(gate));
        dup.of[j] = from_float<ACT>(dy * silu(gate));
    }
    at<piece>(a.dgate, row)[i] = dgate;
    at<piece>(a.dup, row)[i] = dup;
}

extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_bwd(run run, silu_mul_bwd_args a) {
    both_gradients<ALIGNED>(run, a);
}
extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_bwd_unaligned(run run, silu_mul_bwd_args a) {
    both_gradients<1>(run, a);
}
