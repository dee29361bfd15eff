/* Weights of any type as f32: four consecutive elements at a time, of which a block of 32 has eight.
 *
 * Integers become floats without conversions, which are slow: PRMT puts a byte into the mantissa of a constant, and
 * one fused multiply-add takes the constant out again and scales. The products are exact, as dtype.h says of its own.
 */
#pragma once
#include "device.cuh"

struct q8_0 {};
struct q4_0 {};
struct q4_1 {};
struct q5_0 {};
struct q5_1 {};
struct q4_k {};
struct q5_k {};
struct q6_k {};
struct iq4_nl {};

/* ---- integers to floats ---- */

__device__ __forceinline__ float half_bits(u32 bits) {
    return to_float(f16{(u16)bits});
}

/* d * q of four bytes q < 2^BITS, or d * (q - 2^(BITS-1)) where IS_CENTRED. BITS is 4, 5, 6 or 8. */
template <int BITS, bool IS_CENTRED>
__device__ __forceinline__ float4 scaled(u32 bytes, float d) {
    constexpr bool IS_BYTE = BITS == 8;
    /* A byte's float is 2^15 + q; of fewer bits 1 + q / 2^BITS. */
    const u32 placed = IS_BYTE ? bytes : bytes << (7 - BITS & 7) | 0x80808080u;
    const u32 constant = IS_BYTE ? 0x47000000u : 0x3f000000u, selector = IS_BYTE ? 0x7404u : 0x7044u;
    constexpr u32 next = IS_BYTE ? 0x10u : 0x100u;
    const float factor = IS_BYTE ? d : d * (float)(1 << BITS);
    const float zero = -factor * (IS_BYTE ? IS_CENTRED ? 32896.0f : 32768.0f : IS_CENTRED ? 1.5f : 1.0f);
    float4 w;
    w.x = fmaf(__uint_as_float(__byte_perm(placed, constant, selector)), factor, zero);
    w.y = fmaf(__uint_as_float(__byte_perm(placed, constant, selector + next)), factor, zero);
    w.z = fmaf(__uint_as_float(__byte_perm(placed, constant, selector + 2 * next)), factor, zero);
    w.w = fmaf(__uint_as_float(__byte_perm(placed, constant, selector + 3 * next)), factor, zero);
    return w;
}

__device__ __forceinline__ float4 plus(float4 w, float m) {
    return make_float4(w.x + m, w.y + m, w.z + m, w.w + m);
}

/* What the four low nibbles of bytes stand for in iq4_nl, each plus 128. PRMT is the look-up: in each half of the
 * table by three bits, and between the halves by the fourth. */
__device__ __forceinline__ u32 iq4_nl_bytes(u32 nibbles) {
    const u32 pairs = nibbles | nibbles >> 4, selector = __byte_perm(pairs, 0, 0x4420);
    const u32 low = __byte_perm(0x3f2d1801u, 0x766a5d4fu, selector & 0x7777u);
    const u32 high = __byte_perm(0xa6998d81u, 0xf1d9c5b5u, selector & 0x7777u);
    return __byte_perm(low, high, 0x3210u | (selector & 0x8888u) >> 1);
}

/* The scale and the minimum of sub-block j of a block of 256: see nlm_k_scale_min of dtype.h. */
__device__ __forceinline__ void k_scale_min(u32 word0, u32 word1, u32 word2, int j, float *scale, float *min) {
    const int shift = 8 * (j & 3);
    const u32 a = word0 >> shift & 255u, b = word1 >> shift & 255u, c = word2 >> shift & 255u;
    *scale = (float)(j < 4 ? a & 63u : (c & 15u) | a >> 6 << 4);
    *min = (float)(j < 4 ? b & 63u : c >> 4 | b >> 6 << 4);
}

/* ---- rows as a file has them ---- */

/* Blocks begin at any even address. */
__device__ __forceinline__ u32 word_at(const u8 *p) {
    const u16 *halves = (const u16 *)p;
    return halves[0] | (u32)halves[1] << 16;
}
__device__ __forceinline__ float half_at(const u8 *p) {
    return half_bits(*(const u16 *)p);
}

template <class T>
__device__ __forceinline__ float4 plain_quad(const u8 *row, i64 k, i64 n) {
    const T *w = (const T *)row + k;
    return make_float4(k < n ? to_float(w[0]) : 0, k + 1 < n ? to_float(w[1]) : 0, k + 2 < n ? to_float(w[2]) : 0,
                       k + 3 < n ? to_float(w[3]) : 0);
}

/* Elements 4q to 4q+3 of block b of 32, in a row of n elements. */
template <class T>
__device__ __forceinline__ float4 stored_quad(const u8 *row, i64 b, int q, i64 n) {
    return plain_quad<T>(row, 32 * b + 4 * q, n);
}

__device__ __forceinline__ u32 stored_nibbles(const u8 *nibbles, int q) {
    return word_at(nibbles + 4 * (q & 3)) >> (q & 4) & 0x0f0f0f0fu;
}
/* With the fifth bits of a block of 32, one after the other; the product spreads four of them to bytes. */
__device__ __forceinline__ u32 stored_fives(const u8 *fifth, const u8 *nibbles, int q) {
    const u32 bits = word_at(fifth) >> 4 * q & 15u;
    return stored_nibbles(nibbles, q) | (bits * 0x00204081u & 0x01010101u) << 4;
}

template <>
__device__ __forceinline__ float4 stored_quad<q8_0>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 34;
    return scaled<8, true>(word_at(p + 2 + 4 * q) ^ 0x80808080u, half_at(p));
}
template <>
__device__ __forceinline__ float4 stored_quad<q4_0>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 18;
    return scaled<4, true>(stored_nibbles(p + 2, q), half_at(p));
}
template <>
__device__ __forceinline__ float4 stored_quad<q4_1>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 20;
    return plus(scaled<4, false>(stored_nibbles(p + 4, q), half_at(p)), half_at(p + 2));
}
template <>
__device__ __forceinline__ float4 stored_quad<q5_0>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 22;
    return scaled<5, true>(stored_fives(p + 2, p + 6, q), half_at(p));
}
template <>
__device__ __forceinline__ float4 stored_quad<q5_1>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 24;
    return plus(scaled<5, false>(stored_fives(p + 4, p + 8, q), half_at(p)), half_at(p + 2));
}
template <>
__device__ __forceinline__ float4 stored_quad<iq4_nl>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b * 18;
    return scaled<8, true>(iq4_nl_bytes(stored_nibbles(p + 2, q)), half_at(p));
}

/* Of a block of 256 whose header, scales and minima are at p. */
template <int BITS>
__device__ __forceinline__ float4 stored_k_quad(const u8 *p, int j, u32 bytes) {
    float scale, min;
    k_scale_min(word_at(p + 4), word_at(p + 8), word_at(p + 12), j, &scale, &min);
    return plus(scaled<BITS, false>(bytes, half_at(p) * scale), -(half_at(p + 2) * min));
}
template <>
__device__ __forceinline__ float4 stored_quad<q4_k>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b / 8 * 144;
    const int j = (int)(b % 8);
    return stored_k_quad<4>(p, j, word_at(p + 16 + 32 * (j / 2) + 4 * q) >> 4 * (j & 1) & 0x0f0f0f0fu);
}
template <>
__device__ __forceinline__ float4 stored_quad<q5_k>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b / 8 * 176;
    const int j = (int)(b % 8);
    const u32 nibbles = word_at(p + 48 + 32 * (j / 2) + 4 * q) >> 4 * (j & 1) & 0x0f0f0f0fu;
    return stored_k_quad<5>(p, j, nibbles | (word_at(p + 16 + 4 * q) >> j & 0x01010101u) << 4);
}
template <>
__device__ __forceinline__ float4 stored_quad<q6_k>(const u8 *row, i64 b, int q, i64) {
    const u8 *p = row + b / 8 * 210;
    const int j = (int)(b % 8), half = j / 4, r = j % 4;
    const u32 nibbles = word_at(p + 64 * half + 32 * (r & 1) + 4 * q) >> 4 * (r / 2) & 0x0f0f0f0fu;
    const u32 pairs = word_at(p + 128 + 32 * half + 4 * q) >> 2 * r & 0x03030303u;
    return scaled<6, true>(nibbles | pairs << 4, half_at(p + 208) * (float)(i8)p[192 + 2 * j + q / 4]);
}
