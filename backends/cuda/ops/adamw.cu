/* A step of the optimizer: a thread has four elements of a row where every row begins and ends at multiples of four,
 * else one. */
#include "device.cuh"

struct adamw_args {
    u32 struct_size, flags;
    view w, master, dw, m, v, rates;
    float beta1, beta2, eps, weight_decay;
};

#define THREADS 256

template <class T, int N>
struct alignas(sizeof(T) * N) elements {
    T of[N];
};

template <int N>
__device__ __forceinline__ void update(const run &run, const adamw_args &a) {
    typedef elements<float, N> piece;
    typedef elements<W, N> weights;
    const u64 pieces = (u64)a.w.shape[1] / N, index = (u64)blockIdx.x * THREADS + threadIdx.x;
    const i64 row = (i64)(index / pieces), i = (i64)(index % pieces);
    if (row >= live_rows(run, a.w)) return;
    const float *rates = (const float *)a.rates.data;
    const float rate = rates[0], scale = rates[1], bias1 = rates[2], bias2 = rates[3];
    const float keep = 1.0f - rate * a.weight_decay;
    piece dw = at<piece>(a.dw, row)[i], m = at<piece>(a.m, row)[i], v = at<piece>(a.v, row)[i], value;
    weights w = at<weights>(a.w, row)[i];
    if (a.master.data) value = at<piece>(a.master, row)[i];
#pragma unroll
    for (int j = 0; j < N; j++) {
        const float g = scale * dw.of[j];
        const float before = a.master.data ? value.of[j] : to_float(w.of[j]);
        m.of[j] = a.beta1 * m.of[j] + (1.0f - a.beta1) * g;
        v.of[j] = a.beta2 * v.of[j] + (1.0f - a.beta2) * g * g;
        value.of[j] = before * keep - rate * (m.of[j] / bias1) / (sqrtf(v.of[j] / bias2) + a.eps);
        w.of[j] = from_float<W>(value.of[j]);
        dw.of[j] = 0;
    }
    at<piece>(a.dw, row)[i] = dw;
    at<piece>(a.m, row)[i] = m;
    at<piece>(a.v, row)[i] = v;
    at<weights>(a.w, row)[i] = w;
    if (a.master.data) at<piece>(a.master, row)[i] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS) adamw(run run, adamw_args a) {
    update<4>(run, a);
}
extern "C" __global__ void __launch_bounds__(THREADS) adamw_unaligned(run run, adamw_args a) {
    update<1>(run, a);
}
