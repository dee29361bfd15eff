/* Rows of activations, four consecutive elements at a time. */
#pragma once
#include "device.cuh"

/* Whether quads of t's rows can be read in one load. */
template <class T>
__device__ __forceinline__ bool has_whole_quads(const view &t) {
    return ((t.data | (u64)t.stride[0]) & (4 * sizeof(T) - 1)) == 0;
}

__device__ __forceinline__ float4 aligned_quad(const f32 *p) {
    return *(const float4 *)p;
}
template <class T>
__device__ __forceinline__ float4 aligned_quad(const T *p) {
    const uint2 bits = *(const uint2 *)p;
    return make_float4(to_float(T{(u16)bits.x}), to_float(T{(u16)(bits.x >> 16)}), to_float(T{(u16)bits.y}),
                       to_float(T{(u16)(bits.y >> 16)}));
}

/* Elements k to k+3 of a row of n; 0 past its end. */
template <class T>
__device__ __forceinline__ float4 quad_of(const T *row, i64 k, i64 n, bool is_whole) {
    if (is_whole && k + 3 < n) return aligned_quad(row + k);
    return make_float4(k < n ? to_float(row[k]) : 0, k + 1 < n ? to_float(row[k + 1]) : 0,
                       k + 2 < n ? to_float(row[k + 2]) : 0, k + 3 < n ? to_float(row[k + 3]) : 0);
}

__device__ __forceinline__ float dot(float4 a, float4 b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}
