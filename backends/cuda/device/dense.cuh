/* Numbers of 16 bits for products by cuBLASLt (../dense.c), whose range is small: rows of x, and of w where it is not
 * of 16 bits already, are multiplied by a power of two, which changes no bit of a mantissa; its exponent is kept, and
 * taken out of the results. */
#pragma once
#include "device.cuh"

#define THREADS 256

/* The power of two that brings the greatest magnitude of a row to between 2^14 and 2^15: f16 then has 11 bits of
 * whatever is not 2^28 times smaller. Infinity stays what it is. */
__device__ __forceinline__ int exponent_for(float greatest) {
    const int field = (int)(__float_as_uint(greatest) >> 23 & 255u);
    if (field == 255) return 0;
    return min(14 + 127 - field, 126);
}

/* 2^e, of which f32 has a normal number. */
__device__ __forceinline__ float power(int e) {
    return __uint_as_float((u32)(e + 127) << 23);
}

/* v * 2^e, in two steps as 2^e may be out of range where v * 2^e is not. |e| is up to 252. */
__device__ __forceinline__ float times_power(float v, int e) {
    return v * power(e / 2) * power(e - e / 2);
}

template <class T>
__device__ __forceinline__ u32 pair_of(float low, float high) {
    return from_float<T>(low).bits | (u32)from_float<T>(high).bits << 16;
}
template <class T>
__device__ __forceinline__ uint4 eight_of(float4 a, float4 b) {
    return make_uint4(pair_of<T>(a.x, a.y), pair_of<T>(a.z, a.w), pair_of<T>(b.x, b.y), pair_of<T>(b.z, b.w));
}
__device__ __forceinline__ float4 times(float4 v, float factor) {
    return make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
}
__device__ __forceinline__ float greatest_of(float4 v, float so_far) {
    return fmaxf(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))), so_far);
}
