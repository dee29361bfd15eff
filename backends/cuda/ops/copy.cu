/* Conversion between types: a thread takes elements that are a block's width apart, so that a warp's stand side by
 * side. Of tensors with gaps an element's place is worked out from its number, in 32 bits where they are enough:
 * divisions of 64 are slow. */
#include "device.cuh"

struct copy_args {
    u32 struct_size, flags;
    view x, y;
};

#define THREADS    256
#define PER_THREAD 4

struct i32 {
    int bits;
};

template <class To, class From>
struct conversion {
    static __device__ __forceinline__ To of(From v) {
        return from_float<To>(to_float(v));
    }
};
/* Of one type the bits stay, a NaN's too. */
template <class T>
struct conversion<T, T> {
    static __device__ __forceinline__ T of(T v) {
        return v;
    }
};

template <class T>
__device__ __forceinline__ T *element(const view &t, INDEX i) {
    if (IS_FLAT) return (T *)t.data + i;
    const INDEX n1 = t.shape[1], n2 = t.shape[2], n3 = t.shape[3];
    const INDEX plane = i / n3, block = plane / n2, row = block / n1;
    return (T *)(t.data + (i64)row * t.stride[0] + (i64)(block - row * n1) * t.stride[1] +
                 (i64)(plane - block * n2) * t.stride[2] + (i64)(i - plane * n3) * t.stride[3]);
}

extern "C" __global__ void __launch_bounds__(THREADS) copy(run run, copy_args a) {
    const INDEX count = live_rows(run, a.x) * a.x.shape[1] * a.x.shape[2] * a.x.shape[3];
    INDEX i = (INDEX)blockIdx.x * THREADS * PER_THREAD + threadIdx.x;
    FROM v[PER_THREAD];
#pragma unroll
    for (int j = 0; j < PER_THREAD; j++) {
        if (i + j * THREADS < count) v[j] = *element<FROM>(a.x, i + j * THREADS);
    }
#pragma unroll
    for (int j = 0; j < PER_THREAD; j++) {
        if (i + j * THREADS < count) *element<TO>(a.y, i + j * THREADS) = conversion<TO, FROM>::of(v[j]);
    }
}
