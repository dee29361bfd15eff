/* Ops that go element by element. A thread takes 16 bytes of a row where every row begins and ends at multiples of
 * that, else one element; which of the two kernels of an op it is, the host knows (../elementwise.h). Neighbours in a
 * warp are neighbours in memory, and enough warps fit at once that loads need no loop to be under way. */
#pragma once
#include "device.cuh"

#define THREADS 256
#define ALIGNED ((int)(16 / sizeof(ACT)))

template <class T, int N>
struct alignas(sizeof(T) * N) elements {
    T of[N];
};

/* y = f(a, b), or f(a, 0) where b is absent; b may be one row for all. A thread reads what it needs before it writes,
 * as y may be a or b. */
template <int N, class F>
__device__ __forceinline__ void each_element(const run &x, const view &a, const view &b, const view &y, F f) {
    typedef elements<ACT, N> piece;
    const u64 pieces = (u64)a.shape[1] / N, index = (u64)blockIdx.x * THREADS + threadIdx.x;
    const i64 row = (i64)(index / pieces), i = (i64)(index % pieces);
    if (row >= live_rows(x, a)) return;
    const piece from_a = at<piece>(a, row)[i];
    piece from_b = {}, result;
    if (b.data) from_b = at<piece>(b, b.rank == 1 ? 0 : row)[i];
#pragma unroll
    for (int j = 0; j < N; j++) result.of[j] = from_float<ACT>(f(to_float(from_a.of[j]), to_float(from_b.of[j])));
    at<piece>(y, row)[i] = result;
}
