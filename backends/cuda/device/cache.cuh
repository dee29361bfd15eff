/* Rows of a cache of keys and values, read some elements at a time. */
#pragma once
#include "device.cuh"

struct q8_0 {
    f16 scale;
    i8 of[32];
};

/* A row of T in pieces of N elements: what one load brings, and the numbers it stands for. Aligned: rows begin at
 * multiples of 16 bytes and are as long. A piece that was not loaded, all bits 0, is zeros. */
template <class T, bool IS_ALIGNED>
struct reader {
    static constexpr int N = 1;
    typedef T raw;
    static __device__ __forceinline__ raw load(const T *row, int piece) {
        return row[piece];
    }
    static __device__ __forceinline__ void decode(const raw &from, float *out) {
        out[0] = to_float(from);
    }
};

template <>
struct reader<f32, true> {
    static constexpr int N = 4;
    typedef float4 raw;
    static __device__ __forceinline__ raw load(const f32 *row, int piece) {
        return ((const float4 *)row)[piece];
    }
    static __device__ __forceinline__ void decode(const raw &from, float *out) {
        out[0] = from.x;
        out[1] = from.y;
        out[2] = from.z;
        out[3] = from.w;
    }
};

/* Of a type of 16 bits. */
template <class T>
struct reader_of_halves {
    static constexpr int N = 8;
    typedef uint4 raw;
    static __device__ __forceinline__ raw load(const T *row, int piece) {
        return ((const uint4 *)row)[piece];
    }
    static __device__ __forceinline__ void decode_pair(u32 bits, float *out) {
        out[0] = to_float(T{(u16)bits});
        out[1] = to_float(T{(u16)(bits >> 16)});
    }
    static __device__ __forceinline__ void decode(const raw &from, float *out) {
        decode_pair(from.x, out);
        decode_pair(from.y, out + 2);
        decode_pair(from.z, out + 4);
        decode_pair(from.w, out + 6);
    }
};
template <>
struct reader<f16, true> : reader_of_halves<f16> {};
template <>
struct reader<bf16, true> : reader_of_halves<bf16> {};

/* Four signed bytes, each times `scale`: as the low bits of 2^23 + 128 they are a float at once. */
__device__ __forceinline__ void decode_bytes(u32 bytes, float scale, float *out) {
    const u32 biased = bytes ^ 0x80808080u;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[i] = scale * (__uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7650u + i)) - 8388736.0f);
    }
}

/* Blocks stand at even addresses. */
template <bool IS_ALIGNED>
struct reader<q8_0, IS_ALIGNED> {
    static constexpr int N = 8;
    struct raw {
        f16 scale;
        u16 of[4];
    };
    static __device__ __forceinline__ raw load(const q8_0 *row, int piece) {
        const q8_0 *block = row + piece / 4;
        const u16 *from = (const u16 *)block->of + piece % 4 * 4;
        return raw{block->scale, {from[0], from[1], from[2], from[3]}};
    }
    static __device__ __forceinline__ void decode(const raw &from, float *out) {
        const float scale = to_float(from.scale);
        decode_bytes(from.of[0] | (u32)from.of[1] << 16, scale, out);
        decode_bytes(from.of[2] | (u32)from.of[3] << 16, scale, out + 4);
    }
};
