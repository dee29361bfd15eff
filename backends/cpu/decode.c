#include "cpu/decode.h"

#include <math.h>

const nlm_cpu_dtype *nlm_cpu_dtype_find(int32_t dtype) {
    switch (dtype) {
#define DTYPE_CASE(NAME, name, number, elements, bytes)                 \
    case number: {                                                      \
        static const nlm_cpu_dtype info = {#name, (elements), (bytes)}; \
        return &info;                                                   \
    }
        NLM_DTYPE_LIST(DTYPE_CASE)
#undef DTYPE_CASE
        default: return NULL;
    }
}

uint16_t nlm_cpu_f16_from_f32(float value) {
    const uint32_t bits = nlm_cpu_f32_to_bits(value);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00; /* 65520 and above round to infinity */
    if (magnitude < 0x38800000) {
        /* Below 2^-14 the spacing is 2^-24: adding 0.5 (spacing 2^-24) rounds there. */
        const float rounded = nlm_cpu_bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (nlm_cpu_f32_to_bits(rounded) - 0x3f000000));
    }
    const uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

uint16_t nlm_cpu_bf16_from_f32(float value) {
    const uint32_t bits = nlm_cpu_f32_to_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float f16_at(const uint8_t *bytes) {
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return nlm_cpu_f16_to_f32(half);
}

static void decode_f16(const uint8_t *row, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, row + 2 * i, sizeof half);
        out[i] = nlm_cpu_f16_to_f32(half);
    }
}

static void decode_bf16(const uint8_t *row, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, row + 2 * i, sizeof bits);
        out[i] = nlm_cpu_bf16_to_f32(bits);
    }
}

/* Blocks of 32: f16 scale d (, f16 minimum m) (, 32 fifth bits), then the quants. Element j < 16 is the
 * low nibble of byte j, element j + 16 its high nibble. */

static void decode_q4_0(const uint8_t *block, float *out) {
    const float d = f16_at(block);
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)((block[2 + j] & 15) - 8);
        out[j + 16] = d * (float)((block[2 + j] >> 4) - 8);
    }
}

static void decode_q4_1(const uint8_t *block, float *out) {
    const float d = f16_at(block), m = f16_at(block + 2);
    for (int j = 0; j < 16; j++) {
        out[j] = d * (float)(block[4 + j] & 15) + m;
        out[j + 16] = d * (float)(block[4 + j] >> 4) + m;
    }
}

static void decode_q5_0(const uint8_t *block, float *out) {
    const float d = f16_at(block);
    uint32_t high;
    memcpy(&high, block + 2, sizeof high);
    for (int j = 0; j < 16; j++) {
        const int low_bit = (int)(high >> j & 1) << 4, high_bit = (int)(high >> (j + 16) & 1) << 4;
        out[j] = d * (float)(((block[6 + j] & 15) | low_bit) - 16);
        out[j + 16] = d * (float)(((block[6 + j] >> 4) | high_bit) - 16);
    }
}

static void decode_q5_1(const uint8_t *block, float *out) {
    const float d = f16_at(block), m = f16_at(block + 2);
    uint32_t high;
    memcpy(&high, block + 4, sizeof high);
    for (int j = 0; j < 16; j++) {
        const int low_bit = (int)(high >> j & 1) << 4, high_bit = (int)(high >> (j + 16) & 1) << 4;
        out[j] = d * (float)((block[8 + j] & 15) | low_bit) + m;
        out[j + 16] = d * (float)((block[8 + j] >> 4) | high_bit) + m;
    }
}

static void decode_q8_0(const uint8_t *block, float *out) {
    const float d = f16_at(block);
    const int8_t *q = (const int8_t *)block + 2;
    for (int j = 0; j < 32; j++) out[j] = d * (float)q[j];
}

/* The 6-bit scale and minimum of sub-block j of 8, from the 12 packed bytes of q4_k and q5_k. */
static void k_scale_min(const uint8_t *packed, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = packed[j] & 63;
        *min = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        *min = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
    }
}

/* 256 elements in 8 sub-blocks of 32: f16 d, f16 dmin, 12 bytes of scales, (32 bytes of fifth bits,)
 * 128 bytes of nibbles: 32 bytes hold sub-block 2i in their low and 2i+1 in their high nibbles. */
static void decode_k45(const uint8_t *block, const uint8_t *fifth, const uint8_t *nibbles, float *out) {
    const float d = f16_at(block), dmin = f16_at(block + 2);
    for (int j = 0; j < 8; j++) {
        int scale, min;
        k_scale_min(block + 4, j, &scale, &min);
        const float step = d * (float)scale, offset = dmin * (float)min;
        const int shift = 4 * (j & 1);
        const uint8_t *q = nibbles + 32 * (j / 2);
        for (int i = 0; i < 32; i++) {
            const int high = fifth ? (fifth[i] >> j & 1) << 4 : 0;
            out[32 * j + i] = step * (float)((q[i] >> shift & 15) | high) - offset;
        }
    }
}

static void decode_q4_k(const uint8_t *block, float *out) {
    decode_k45(block, NULL, block + 16, out);
}

static void decode_q5_k(const uint8_t *block, float *out) {
    decode_k45(block, block + 16, block + 48, out);
}

/* 256 elements: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales (one per 16), f16 d.
 * Each half of 128 has four runs of 32: nibbles of bytes 0-31 and 32-63, low then high; the pair of run
 * r stands at bit 2r. */
static void decode_q6_k(const uint8_t *block, float *out) {
    const float d = f16_at(block + 208);
    for (int run = 0; run < 8; run++) {
        const int half = run / 4, r = run % 4;
        const uint8_t *low = block + 64 * half + 32 * (r & 1);
        const uint8_t *high = block + 128 + 32 * half;
        const int8_t *scales = (const int8_t *)block + 192 + 2 * run;
        const float step0 = d * (float)scales[0], step1 = d * (float)scales[1];
        const int shift = 4 * (r / 2);
        for (int i = 0; i < 16; i++) {
            const int q0 = (low[i] >> shift & 15) | (high[i] >> 2 * r & 3) << 4;
            const int q1 = (low[i + 16] >> shift & 15) | (high[i + 16] >> 2 * r & 3) << 4;
            out[32 * run + i] = step0 * (float)(q0 - 32);
            out[32 * run + i + 16] = step1 * (float)(q1 - 32);
        }
    }
}

typedef void (*decode_block)(const uint8_t *block, float *out);

/* Inlined so that each type has a loop of its own around its block's body. */
__attribute__((always_inline)) static inline void decode_blocks(decode_block decode, int64_t elements, int64_t bytes,
                                                                const uint8_t *row, float *out, int64_t n) {
    for (int64_t i = 0; i < n / elements; i++) decode(row + i * bytes, out + i * elements);
}

void nlm_cpu_decode(int32_t dtype, const void *row, float *out, int64_t n) {
    switch (dtype) {
        case NLM_F32: memcpy(out, row, (size_t)n * sizeof *out); break;
        case NLM_F16: decode_f16(row, out, n); break;
        case NLM_BF16: decode_bf16(row, out, n); break;
        case NLM_Q4_0: decode_blocks(decode_q4_0, 32, 18, row, out, n); break;
        case NLM_Q4_1: decode_blocks(decode_q4_1, 32, 20, row, out, n); break;
        case NLM_Q5_0: decode_blocks(decode_q5_0, 32, 22, row, out, n); break;
        case NLM_Q5_1: decode_blocks(decode_q5_1, 32, 24, row, out, n); break;
        case NLM_Q8_0: decode_blocks(decode_q8_0, 32, 34, row, out, n); break;
        case NLM_Q4_K: decode_blocks(decode_q4_k, 256, 144, row, out, n); break;
        case NLM_Q5_K: decode_blocks(decode_q5_k, 256, 176, row, out, n); break;
        case NLM_Q6_K: decode_blocks(decode_q6_k, 256, 210, row, out, n); break;
        default: break;
    }
}

static void encode_q8_0(const float *values, uint8_t *block) {
    float greatest = 0;
    for (int j = 0; j < 32; j++) greatest = fmaxf(greatest, fabsf(values[j]));
    const float d = greatest / 127;
    const float inverse = d > 0 ? 1 / d : 0;
    const uint16_t half = nlm_cpu_f16_from_f32(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < 32; j++) {
        /* NaN becomes 0 here; its block's scale need not be NaN. */
        const float q = rintf(values[j] * inverse);
        block[2 + j] = (uint8_t)(int8_t)(q >= 127 ? 127 : q > -127 ? (int)q : q <= -127 ? -127 : 0);
    }
}

void nlm_cpu_encode(int32_t dtype, const float *values, void *row, int64_t n) {
    uint8_t *bytes = row;
    uint16_t *halves = row;
    switch (dtype) {
        case NLM_F32: memcpy(row, values, (size_t)n * sizeof *values); break;
        case NLM_F16:
            for (int64_t i = 0; i < n; i++) halves[i] = nlm_cpu_f16_from_f32(values[i]);
            break;
        case NLM_BF16:
            for (int64_t i = 0; i < n; i++) halves[i] = nlm_cpu_bf16_from_f32(values[i]);
            break;
        case NLM_Q8_0:
            for (int64_t i = 0; i < n / 32; i++) encode_q8_0(values + 32 * i, bytes + 34 * i);
            break;
        default: break;
    }
}
