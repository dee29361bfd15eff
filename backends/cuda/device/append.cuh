/* Rows of a cache of keys and values, written by warps, 32 elements at a time, which is a block of q8_0. */
#pragma once
#include "batch.cuh"
#include "cache.cuh"

/* Element i of a row. */
template <class T>
__device__ __forceinline__ void store(T *row, i64 i, bool is_there, float v) {
    if (is_there) row[i] = from_float<T>(v);
}

/* The scale is the greatest magnitude / 127; NaN where an element is NaN or infinite. Rows are whole blocks. */
__device__ __forceinline__ void store(q8_0 *row, i64 i, bool, float v) {
    const bool is_spoilt = __any_sync(0xffffffffu, !isfinite(v));
    const float greatest = warp_max(fabsf(v)) / 127, inverse = greatest > 0 ? 1 / greatest : 0;
    const float rounded = rintf(v * inverse), nan = __uint_as_float(0x7fc00000u);
    q8_0 *block = row + i / 32;
    if (i % 32 == 0) block->scale = from_float<f16>(is_spoilt ? nan : greatest);
    block->of[i % 32] = (i8)(rounded == rounded ? (int)fminf(fmaxf(rounded, -127), 127) : 0);
}

/* A row of `size` elements, of which f(i) is one; all lanes of a warp. */
template <class T, class F>
__device__ __forceinline__ void append(T *row, i64 size, F f) {
    for (i64 i = threadIdx.x % 32; i - threadIdx.x % 32 < size; i += 32) store(row, i, i < size, i < size ? f(i) : 0);
}
