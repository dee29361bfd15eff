/* Packed weights (pack.c): the fields of a row's blocks of 32 stand apart, in planes, so that every load of a warp is
 * of whole sectors.
 *
 *   plane    what a row has of each block of 32
 *   quants   PIECES x 16 bytes: plain elements; bytes, q8_0's plus 128; or nibbles, in byte j those of elements j
 *            (low) and j + 16. Of 32 blocks all first pieces stand together, then all second ones, and so on
 *   extra    EXTRA bytes: bit q of byte i is the fifth of element 4q + i; or bits 2(q % 4) and the next of byte
 *            4(q / 4) + i are its fifth and sixth
 *   scales   SCALES bytes: d, or d and m; of q6_k the two scales
 *   shared   SHARED bytes for eight blocks: the header of q4_k and q5_k, d of q6_k
 *
 * A plane has a row every so many bytes, a multiple of 32. */
#pragma once
#include "weights.cuh"

template <int P, int E, int S, int H, int B, bool C>
struct packing_of {
    enum { PIECES = P, EXTRA = E, SCALES = S, SHARED = H, BITS = B, IS_CENTRED = C };
};
template <class W>
struct packing;
template <>
struct packing<f32> : packing_of<8, 0, 0, 0, 32, false> {};
template <>
struct packing<f16> : packing_of<4, 0, 0, 0, 16, false> {};
template <>
struct packing<bf16> : packing_of<4, 0, 0, 0, 16, false> {};
template <>
struct packing<q8_0> : packing_of<2, 0, 2, 0, 8, true> {};
template <>
struct packing<q4_0> : packing_of<1, 0, 2, 0, 4, true> {};
template <>
struct packing<q4_1> : packing_of<1, 0, 4, 0, 4, false> {};
template <>
struct packing<q5_0> : packing_of<1, 4, 2, 0, 5, true> {};
template <>
struct packing<q5_1> : packing_of<1, 4, 4, 0, 5, false> {};
template <>
struct packing<q4_k> : packing_of<1, 0, 0, 16, 4, false> {};
template <>
struct packing<q5_k> : packing_of<1, 4, 0, 16, 5, false> {};
template <>
struct packing<q6_k> : packing_of<1, 8, 2, 2, 6, true> {};
template <>
struct packing<iq4_nl> : packing_of<1, 0, 2, 0, 4, true> {};

/* Whether the integers of a type stand for numbers at equal distances, and are of few bits. */
template <class W>
constexpr bool are_placed = packing<W>::BITS < 8;
template <>
constexpr bool are_placed<iq4_nl> = false;

/* ---- from the fields of a block to elements ---- */

/* The integers of quad q, from its word of the quants and its word of the extra bits. */
template <class W>
__device__ __forceinline__ u32 quad_bytes(u32 word, u32 extra, int q) {
    constexpr int BITS = packing<W>::BITS;
    if (BITS == 8) return word;
    const u32 nibbles = word >> (q & 4) & 0x0f0f0f0fu;
    if (BITS == 5) return nibbles | (extra >> q & 0x01010101u) << 4;
    if (BITS == 6) return nibbles | (extra >> 2 * (q & 3) & 0x03030303u) << 4;
    return nibbles;
}

template <class W>
__device__ __forceinline__ float4 integer_quad(u32 word, u32 extra, int q, float d, float m) {
    typedef packing<W> is;
    const float4 w = scaled<is::BITS, is::IS_CENTRED>(quad_bytes<W>(word, extra, q), d);
    return is::IS_CENTRED ? w : plus(w, m);
}
template <>
__device__ __forceinline__ float4 integer_quad<iq4_nl>(u32 word, u32, int q, float d, float) {
    return scaled<8, true>(iq4_nl_bytes(quad_bytes<iq4_nl>(word, 0, q)), d);
}

/* Of two words; f32 has four. */
template <class W>
__device__ __forceinline__ float4 plain_words(u32 low, u32 high) {
    return make_float4(to_float(W{(u16)low}), to_float(W{(u16)(low >> 16)}), to_float(W{(u16)high}),
                       to_float(W{(u16)(high >> 16)}));
}

/* The integers of quad q as floats 1/2 + integer / 2^(BITS + 1): their bits are put into the mantissa of 1/2, without
 * arithmetic. BITS is less than 8. */
template <class W>
__device__ __forceinline__ float4 placed_quad(u32 word, u32 extra, int q) {
    constexpr int BITS = packing<W>::BITS, SHIFT = 7 - BITS; /* where an integer begins in its byte */
    u32 bytes = (q < 4 ? word << SHIFT : word >> (4 - SHIFT)) & 0x0f0f0f0fu << SHIFT;
    if (BITS == 5) bytes |= (q < 6 ? extra << (6 - q & 31) : extra >> (q - 6 & 31)) & 0x40404040u;
    if (BITS == 6) bytes |= (q % 4 < 3 ? extra << (5 - 2 * (q % 4) & 31) : extra >> 1) & 0x60606060u;
    constexpr u32 half = 0x3f000000u;
    return make_float4(
        __uint_as_float(__byte_perm(bytes, half, 0x7044u)), __uint_as_float(__byte_perm(bytes, half, 0x7144u)),
        __uint_as_float(__byte_perm(bytes, half, 0x7244u)), __uint_as_float(__byte_perm(bytes, half, 0x7344u)));
}

/* ---- a row, and a block of it in registers ---- */

/* What scales the two halves of a block, which differ in q6_k alone, and what is added. */
struct block_scale {
    float d, d_high, m;
};

template <class W>
struct packed_block {
    u32 quants[4 * packing<W>::PIECES], extra[packing<W>::EXTRA ? packing<W>::EXTRA / 4 : 1];
    block_scale scale;

    /* Of placed elements `placed`: weights are factor * placed + offset. */
    __device__ __forceinline__ float4 placed(int q) const {
        return placed_quad<W>(quants[q & 3], extra[packing<W>::BITS == 6 ? q / 4 : 0], q);
    }
    __device__ __forceinline__ float factor(bool is_high) const {
        return (is_high ? scale.d_high : scale.d) * (float)(2 << packing<W>::BITS);
    }
    __device__ __forceinline__ float offset(bool is_high) const {
        return fmaf(factor(is_high), packing<W>::IS_CENTRED ? -0.75f : -0.5f, scale.m);
    }

    /* Q is a constant where the loop around is unrolled. */
    __device__ __forceinline__ float4 quad(int q) const {
        constexpr int BITS = packing<W>::BITS;
        if constexpr (BITS == 32) {
            return make_float4(__uint_as_float(quants[4 * q]), __uint_as_float(quants[4 * q + 1]),
                               __uint_as_float(quants[4 * q + 2]), __uint_as_float(quants[4 * q + 3]));
        } else if constexpr (BITS == 16) {
            return plain_words<W>(quants[2 * q], quants[2 * q + 1]);
        } else {
            const u32 word = quants[BITS == 8 ? q : q & 3], high = extra[BITS == 6 ? q / 4 : 0];
            return integer_quad<W>(word, high, q, q < 4 ? scale.d : scale.d_high, scale.m);
        }
    }
};

template <class W>
struct packed_row {
    typedef packing<W> is;
    const u8 *quants, *extra, *scales, *shared;
    int n_blocks;

    /* Rows, and bytes of a row, are fewer than 2^32: so a place takes one multiplication. */
    static __device__ __forceinline__ u32 pitch(u32 bytes) {
        return (bytes + 31) / 32 * 32;
    }
    static __device__ __forceinline__ u64 bytes_of(u32 rows, u32 pitch) {
        return (u64)rows * pitch;
    }
    __device__ __forceinline__ packed_row(const view &w, i64 row)
        : packed_row((const u8 *)w.data, (u32)w.shape[0], (u32)w.shape[1], (u32)row) {
    }
    /* Row r of so many. */
    __device__ __forceinline__ packed_row(const u8 *planes, u32 rows, u32 length, u32 r) {
        const u32 blocks = (length + 31) / 32;
        const u32 of_quants = pitch(blocks * 16 * is::PIECES), of_extra = pitch(blocks * is::EXTRA);
        const u32 of_scales = pitch(blocks * is::SCALES), of_shared = pitch((blocks + 7) / 8 * is::SHARED);
        quants = planes;
        extra = quants + bytes_of(rows, of_quants);
        scales = extra + bytes_of(rows, of_extra);
        shared = scales + bytes_of(rows, of_scales) + bytes_of(r, of_shared);
        quants += bytes_of(r, of_quants);
        extra += bytes_of(r, of_extra);
        scales += bytes_of(r, of_scales);
        n_blocks = (int)blocks;
    }

    __device__ __forceinline__ const uint4 *piece(int b, int i) const {
        if (is::PIECES == 1) return (const uint4 *)quants + b;
        const int group = b & ~31, in_group = n_blocks - group < 32 ? n_blocks - group : 32;
        return (const uint4 *)quants + group * is::PIECES + i * in_group + (b & 31);
    }
    /* The bytes that scale block b, and what they say. */
    __device__ __forceinline__ uint4 scales_of(int b) const {
        uint4 bytes = {};
        if constexpr (is::SHARED == 16) bytes = *(const uint4 *)(shared + 16 * (b / 8));
        if constexpr (is::SHARED == 2) bytes.y = *(const u16 *)(shared + 2 * (b / 8));
        if constexpr (is::SCALES == 4) bytes.x = *(const u32 *)(scales + 4 * b);
        if constexpr (is::SCALES == 2) bytes.x = *(const u16 *)(scales + 2 * b);
        return bytes;
    }
    static __device__ __forceinline__ block_scale scale_of(uint4 bytes, int b) {
        const float d = half_bits(bytes.x), m = half_bits(bytes.x >> 16);
        if constexpr (is::SHARED == 16) {
            float scale, min;
            k_scale_min(bytes.y, bytes.z, bytes.w, b & 7, &scale, &min);
            return block_scale{d * scale, d * scale, -(m * min)};
        } else if constexpr (is::SHARED == 2) {
            const float super = half_bits(bytes.y);
            return block_scale{super * (float)(i8)bytes.x, super * (float)(i8)(bytes.x >> 8), 0};
        } else {
            return block_scale{d, d, m};
        }
    }

    /* Block b, or zeros past the end. */
    __device__ __forceinline__ packed_block<W> block(int b) const {
        packed_block<W> out = {};
        if (b >= n_blocks) return out;
#pragma unroll
        for (int i = 0; i < is::PIECES; i++) {
            const uint4 words = *piece(b, i);
            out.quants[4 * i] = words.x, out.quants[4 * i + 1] = words.y;
            out.quants[4 * i + 2] = words.z, out.quants[4 * i + 3] = words.w;
        }
        if constexpr (is::EXTRA == 4) out.extra[0] = *(const u32 *)(extra + 4 * b);
        if constexpr (is::EXTRA == 8) {
            const uint2 words = *(const uint2 *)(extra + 8 * b);
            out.extra[0] = words.x, out.extra[1] = words.y;
        }
        out.scale = scale_of(scales_of(b), b);
        return out;
    }

    /* What quad q of block b takes to decode, on its way from memory while other work is done. */
    struct raw {
        uint4 words;
        u32 high;
        uint4 scales;
    };
    __device__ __forceinline__ raw fetch(int b, int q) const {
        raw r = {};
        if constexpr (is::BITS == 32) {
            r.words = *piece(b, q);
        } else if constexpr (is::BITS == 16) {
            const uint2 words = ((const uint2 *)piece(b, q / 2))[q & 1];
            r.words.x = words.x, r.words.y = words.y;
        } else {
            r.words.x = ((const u32 *)piece(b, is::BITS == 8 ? q / 4 : 0))[q & 3];
            if constexpr (is::EXTRA == 4) r.high = *(const u32 *)(extra + 4 * b);
            if constexpr (is::EXTRA == 8) r.high = *(const u32 *)(extra + 8 * b + 4 * (q / 4));
            r.scales = scales_of(b);
        }
        return r;
    }
    static __device__ __forceinline__ float4 decode(const raw &r, int b, int q) {
        if constexpr (is::BITS == 32) {
            return make_float4(__uint_as_float(r.words.x), __uint_as_float(r.words.y), __uint_as_float(r.words.z),
                               __uint_as_float(r.words.w));
        } else if constexpr (is::BITS == 16) {
            return plain_words<W>(r.words.x, r.words.y);
        } else {
            const block_scale scale = scale_of(r.scales, b);
            return integer_quad<W>(r.words.x, r.high, q, q < 4 ? scale.d : scale.d_high, scale.m);
        }
    }
    __device__ __forceinline__ float4 quad(int b, int q) const {
        return decode(fetch(b, q), b, q);
    }
};

/* The same of a weight that is as a file has it. */
template <class W>
struct stored_row {
    typedef float4 raw;
    const u8 *data;
    i64 length;
    __device__ __forceinline__ stored_row(const view &w, i64 row) : data(at<u8>(w, row)), length(w.shape[1]) {
    }
    __device__ __forceinline__ raw fetch(int b, int q) const {
        return stored_quad<W>(data, b, q, length);
    }
    static __device__ __forceinline__ float4 decode(const raw &r, int, int) {
        return r;
    }
    __device__ __forceinline__ float4 quad(int b, int q) const {
        return fetch(b, q);
    }
};

#if PACKED
typedef packed_row<W> weight_row;
#else
typedef stored_row<W> weight_row;
#endif
