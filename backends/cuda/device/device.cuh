/* What kernels share. Compiled by NVRTC, which needs no headers but those beside this one. */
#pragma once
#include "types.h"

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/* ---- types: f32, f16 and bf16 in memory, float in registers ---- */

struct f32 {
    float bits;
};
struct f16 {
    u16 bits;
};
struct bf16 {
    u16 bits;
};

__device__ __forceinline__ float to_float(f32 v) {
    return v.bits;
}
__device__ __forceinline__ float to_float(f16 v) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
}
__device__ __forceinline__ float to_float(bf16 v) {
    return __uint_as_float((u32)v.bits << 16);
}
template <class T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ f32 from_float<f32>(float v) {
    return f32{v};
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float v) {
    f16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(v));
    return h;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float v) {
    const u32 bits = __float_as_uint(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{(u16)(bits >> 16 | 0x40)};
    return bf16{(u16)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

/* v / (1 + exp(-v)), to two or three units in the last place. An overflow to infinity gives the right 0. */
__device__ __forceinline__ float silu(float v) {
    float quotient;
    asm("div.full.f32 %0, %1, %2;" : "=f"(quotient) : "f"(v), "f"(1.0f + expf(-v)));
    return quotient;
}

__device__ __forceinline__ float sigmoid(float v) {
    return 1.0f / (1.0f + expf(-v));
}
/* silu'(v) = s (1 + v (1 - s)) with s = sigmoid(v). 1 - s is the sigmoid of -v: a difference would lose what is left
 * of it where s is near 1. */
__device__ __forceinline__ float silu_slope(float v) {
    const float s = sigmoid(v), rest = sigmoid(-v);
    return s * (1.0f + v * rest);
}

/* ---- tensors ---- */

typedef nlm_cuda_view view;
typedef nlm_cuda_run run;

/* Address of row i; of [i, j]; of [i, j, k]. */
template <class T>
__device__ __forceinline__ T *at(const view &t, i64 i) {
    return (T *)(t.data + i * t.stride[0]);
}
template <class T>
__device__ __forceinline__ T *at(const view &t, i64 i, i64 j) {
    return (T *)(t.data + i * t.stride[0] + j * t.stride[1]);
}
template <class T>
__device__ __forceinline__ T *at(const view &t, i64 i, i64 j, i64 k) {
    return (T *)(t.data + i * t.stride[0] + j * t.stride[1] + k * t.stride[2]);
}

/* The innermost dimension of a tensor of rank 2 or 3. Parameters are not indexed by variables: they would be copied
 * to local memory. */
__device__ __forceinline__ i64 last_dim(const view &t) {
    return t.rank == 3 ? t.shape[2] : t.shape[1];
}

/* Rows of t that this run uses. */
__device__ __forceinline__ i64 live_rows(const run &x, const view &t) {
    if (t.row_kind == 0) return t.shape[0];
    const i64 given = t.row_kind == 1 ? x.live_rows[1] : t.row_kind == 2 ? x.live_rows[2] : x.live_rows[3];
    const i64 live = x.live_rows_device ? x.live_rows_device[t.row_kind] : given;
    return live < t.shape[0] ? live : t.shape[0];
}

/* Tells the host what is wrong with the inputs, unless something was told already. */
__device__ __forceinline__ void tell(const run &x, u32 kind, i64 place, i64 value, i64 limit) {
    if (atomicCAS(&x.fault->kind, 0u, kind) != 0u) return;
    x.fault->op = x.op;
    x.fault->place = place;
    x.fault->value = value;
    x.fault->limit = limit;
}

/* ---- the kernels before and behind ---- */

/* A kernel that is launched early (../launch.h) begins while the one before it ends. Until this returns it reads
 * nothing of memory but packed weights, which no kernel writes, and writes nothing. All its threads call it first. */
__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* ---- sums and maxima over threads, in an order that depends on nothing but their number ---- */

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

/* The sum over a block of THREADS, for all of them. A second call needs a barrier, or another `parts`. */
template <int THREADS>
__device__ __forceinline__ float block_sum(float v, float *parts) {
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) v += parts[i];
    return v;
}

/* As block_sum, the greatest. NaN is passed over. */
template <int THREADS>
__device__ __forceinline__ float block_max(float v, float *parts) {
    v = warp_max(v);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = parts[0];
#pragma unroll
    for (int i = 1; i < THREADS / 32; i++) v = fmaxf(v, parts[i]);
    return v;
}
