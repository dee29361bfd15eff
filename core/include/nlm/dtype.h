/* The element types: their sizes, and their values as f32. Header-only, so that a backend has them without
 * linking anything; C11 and C++17, GCC or Clang, little-endian machines.
 *
 * Every number is little-endian; d, m and dmin are f16. Blocks are read by bytes: a row needs no alignment.
 *
 *   type  bytes of a block                                                     value of an element
 *   q8_0  d, 32 x int8 q                                                       d * q
 *   q4_0  d, 16 x nibbles                                                      d * (q - 8)
 *   q4_1  d, m, 16 x nibbles                                                   d * q + m
 *   q5_0  d, 32 fifth bits, 16 x nibbles                                       d * (q - 16)
 *   q5_1  d, m, 32 fifth bits, 16 x nibbles                                    d * q + m
 *   q4_k  d, dmin, 12 bytes of scales, 128 x nibbles                           d * scale * q - dmin * min
 *   q5_k  d, dmin, 12 bytes of scales, 32 x fifth bits, 128 x nibbles          d * scale * q - dmin * min
 *   q6_k  128 x low nibbles, 64 x high pairs, 16 x int8 scale, d               d * scale * (q - 32)
 *   iq4_nl  d, 16 x nibbles                                                    d * nlm_iq4_nl_values[q]
 *
 * f16 scales have 11 significant bits and the integers they multiply at most 13 between them, so every product is
 * exact in f32 and only the last sum or difference rounds: with and without fused multiply-add the same bits. */
#ifndef NLM_DTYPE_H
#define NLM_DTYPE_H

#include <nlm/tensor.h>

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blocks are read in place, which needs a little-endian machine"
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nlm_dtype_info {
    nlm_dtype dtype;
    const char *name;        /* "q4_k" */
    uint32_t block_elements; /* 1 for plain types */
    uint32_t block_bytes;
} nlm_dtype_info;

/* NULL for a number that is not in NLM_DTYPE_LIST. */
static inline const nlm_dtype_info *nlm_dtype_find(nlm_dtype dtype) {
    switch (dtype) {
#define NLM_DTYPE_CASE(NAME, name, number, elements, bytes)                      \
    case number: {                                                               \
        static const nlm_dtype_info info = {number, #name, (elements), (bytes)}; \
        return &info;                                                            \
    }
        NLM_DTYPE_LIST(NLM_DTYPE_CASE)
#undef NLM_DTYPE_CASE
        default: return NULL;
    }
}

/* Sets of types, a bit each. */
#define NLM_TYPE_BIT(NAME)                                   (UINT64_C(1) << NLM_##NAME)
#define NLM_OR_TYPE_BIT(NAME, name, number, elements, bytes) | UINT64_C(1) << (number)
/* Every type of this header a weight can have: those that nlm_decode_row knows. */
#define NLM_TYPES_DECODED                                    ((UINT64_C(0) NLM_DTYPE_LIST(NLM_OR_TYPE_BIT)) & ~NLM_TYPE_BIT(I32))

/* ---- plain types ----------------------------------------------------------------------------- */

static inline float nlm_f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t nlm_bits_of_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The exponent moves from bias 15 to 127 by an exact multiplication with 2^112, which normalises subnormals
 * on the way; infinities and NaN then get the greatest exponent. Free of branches, so that a loop over it
 * becomes vector code. */
static inline float nlm_f16_to_f32(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t is_special = (0x0f7fffffu - magnitude) >> 31;
    const uint32_t bits = nlm_bits_of_f32(nlm_f32_of_bits(magnitude) * 0x1p112f);
    return nlm_f32_of_bits(bits | is_special * 0x7f800000u | (uint32_t)(half & 0x8000) << 16);
}
static inline float nlm_bf16_to_f32(uint16_t bits) {
    return nlm_f32_of_bits((uint32_t)bits << 16);
}

/* To the nearest, ties to even; overflow to infinity, NaN stays NaN. */
static inline uint16_t nlm_f16_from_f32(float value) {
    const uint32_t bits = nlm_bits_of_f32(value), magnitude = bits & 0x7fffffff;
    const uint32_t sign = bits >> 16 & 0x8000;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x1ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above */
    /* Below 2^-14 the spacing is 2^-24: adding 0.5 (spacing 2^-24) rounds there. */
    if (magnitude < 0x38800000)
        return (uint16_t)(sign | (nlm_bits_of_f32(nlm_f32_of_bits(magnitude) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}
static inline uint16_t nlm_bf16_from_f32(float value) {
    const uint32_t bits = nlm_bits_of_f32(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float nlm_load_f16(const uint8_t *bytes) {
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return nlm_f16_to_f32(half);
}

static inline void nlm_block_f32(const uint8_t *block, float *out) {
    memcpy(out, block, sizeof *out);
}
static inline void nlm_block_f16(const uint8_t *block, float *out) {
    *out = nlm_load_f16(block);
}
static inline void nlm_block_bf16(const uint8_t *block, float *out) {
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    *out = nlm_bf16_to_f32(bits);
}
static inline void nlm_block_i32(const uint8_t *block, float *out) {
    int32_t value;
    memcpy(&value, block, sizeof value);
    *out = (float)value;
}

/* ---- blocks of 32: byte j of the nibbles has element j (low) and j + 16 (high) ----------------- */

static inline void nlm_block_q8_0(const uint8_t *block, float *out) {
    const float d = nlm_load_f16(block);
    for (int j = 0; j < 32; j++) out[j] = d * (float)(int8_t)block[2 + j];
}

/* d * q + m; without a minimum d * (q - zero). */
static inline void nlm_block_q45(const uint8_t *block, int has_min, int has_fifth, float *out) {
    const float d = nlm_load_f16(block), m = has_min ? nlm_load_f16(block + 2) : 0;
    const uint8_t *fifth = block + (has_min ? 4 : 2), *nibbles = fifth + (has_fifth ? 4 : 0);
    const int zero = has_min ? 0 : has_fifth ? 16 : 8;
    uint32_t bits = 0;
    if (has_fifth) memcpy(&bits, fifth, sizeof bits);
    for (int j = 0; j < 16; j++) {
        const int low = (nibbles[j] & 15) | (int)(bits >> j & 1) << 4;
        const int high = nibbles[j] >> 4 | (int)(bits >> (j + 16) & 1) << 4;
        out[j] = has_min ? d * (float)low + m : d * (float)(low - zero);
        out[j + 16] = has_min ? d * (float)high + m : d * (float)(high - zero);
    }
}
static inline void nlm_block_q4_0(const uint8_t *block, float *out) {
    nlm_block_q45(block, 0, 0, out);
}
static inline void nlm_block_q4_1(const uint8_t *block, float *out) {
    nlm_block_q45(block, 1, 0, out);
}
static inline void nlm_block_q5_0(const uint8_t *block, float *out) {
    nlm_block_q45(block, 0, 1, out);
}
static inline void nlm_block_q5_1(const uint8_t *block, float *out) {
    nlm_block_q45(block, 1, 1, out);
}

/* What a nibble of iq4_nl stands for: close together where weights are many. */
static const int8_t nlm_iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};

static inline void nlm_block_iq4_nl(const uint8_t *block, float *out) {
    const float d = nlm_load_f16(block);
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)nlm_iq4_nl_values[block[2 + j] & 15];
        out[j + 16] = d * (float)nlm_iq4_nl_values[block[2 + j] >> 4];
    }
}

/* ---- blocks of 256 ----------------------------------------------------------------------------- */

/* The 6-bit scale and minimum of sub-block j of 8, from 12 bytes. The first four of each take the low six
 * bits of their byte; the rest keep four bits in bytes 8 to 11 and two in the tops of bytes 0 to 7. */
static inline void nlm_k_scale_min(const uint8_t *packed, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = packed[j] & 63;
        *min = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        *min = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
    }
}

/* 8 sub-blocks of 32: 32 bytes hold sub-block 2i in their low and 2i + 1 in their high nibbles; bit j of
 * byte l of the fifth bits is that of element l of sub-block j. */
static inline void nlm_block_q45_k(const uint8_t *block, int has_fifth, float *out) {
    const float d = nlm_load_f16(block), dmin = nlm_load_f16(block + 2);
    const uint8_t *fifth = block + 16, *nibbles = block + (has_fifth ? 48 : 16);
    for (int j = 0; j < 8; j++) {
        int scale, min;
        nlm_k_scale_min(block + 4, j, &scale, &min);
        const float step = d * (float)scale, offset = dmin * (float)min;
        const uint8_t *q = nibbles + 32 * (j / 2);
        const int shift = 4 * (j & 1);
        for (int i = 0; i < 32; i++) {
            const int high = has_fifth ? (fifth[i] >> j & 1) << 4 : 0;
            out[32 * j + i] = step * (float)((q[i] >> shift & 15) | high) - offset;
        }
    }
}
static inline void nlm_block_q4_k(const uint8_t *block, float *out) {
    nlm_block_q45_k(block, 0, out);
}
static inline void nlm_block_q5_k(const uint8_t *block, float *out) {
    nlm_block_q45_k(block, 1, out);
}

/* Each half of 128 has four runs of 32: nibbles of bytes 0-31 and 32-63, low then high; the pair of run r
 * stands at bit 2r. Every 16 elements share a scale. */
static inline void nlm_block_q6_k(const uint8_t *block, float *out) {
    const float d = nlm_load_f16(block + 208);
    for (int run = 0; run < 8; run++) {
        const int half = run / 4, r = run % 4, shift = 4 * (r / 2);
        const uint8_t *low = block + 64 * half + 32 * (r & 1), *high = block + 128 + 32 * half;
        const float step0 = d * (float)(int8_t)block[192 + 2 * run], step1 = d * (float)(int8_t)block[193 + 2 * run];
        for (int i = 0; i < 16; i++) {
            const int q0 = (low[i] >> shift & 15) | (high[i] >> 2 * r & 3) << 4;
            const int q1 = (low[i + 16] >> shift & 15) | (high[i + 16] >> 2 * r & 3) << 4;
            out[32 * run + i] = step0 * (float)(q0 - 32);
            out[32 * run + i + 16] = step1 * (float)(q1 - 32);
        }
    }
}

/* ---- rows -------------------------------------------------------------------------------------- */

typedef void (*nlm_block_fn)(const uint8_t *block, float *out);

/* Inlined, so that each type has a loop of its own around its block's body. */
__attribute__((always_inline)) static inline void nlm_decode_blocks(nlm_block_fn block, int64_t elements,
                                                                    int64_t bytes, const uint8_t *row, float *out,
                                                                    int64_t n) {
    for (int64_t i = 0; i < n / elements; i++) block(row + i * bytes, out + i * elements);
}

/* out[0..n) = the values at `row`, n a multiple of the type's block; any alignment. Exact up to one rounding
 * to f32. An unknown type leaves out as it is. */
static inline void nlm_decode_row(nlm_dtype dtype, const void *row, float *out, int64_t n) {
    switch (dtype) {
#define NLM_DECODE_CASE(NAME, name, number, elements, bytes) \
    case number: nlm_decode_blocks(nlm_block_##name, elements, bytes, (const uint8_t *)row, out, n); break;
        NLM_DTYPE_LIST(NLM_DECODE_CASE)
#undef NLM_DECODE_CASE
        default: break;
    }
}

#ifdef __cplusplus
}
#endif
#endif
