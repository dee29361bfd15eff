/* Elements of every type, one at a time.
 * Source   the block layouts of the GGUF specification (ggml docs/gguf.md). */
#include "oracle.h"

#include <math.h>
#include <string.h>

static double f16_value(const uint8_t *bytes) {
    const int bits = bytes[0] | bytes[1] << 8;
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31) return fraction ? (double)NAN : sign * INFINITY;
    if (exponent == 0) return sign * fraction * 0x1p-24;
    return sign * (1024 + fraction) * (1 << exponent) * 0x1p-25;
}

static double bf16_value(const uint8_t *bytes) {
    const int bits = bytes[0] | bytes[1] << 8;
    const int exponent = bits >> 7 & 255, fraction = bits & 127;
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == 255) return fraction ? (double)NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, -133);
    return sign * ldexp(128 + fraction, exponent - 134);
}

/* Element e of 32 whose nibbles stand in 16 bytes: 0-15 low, 16-31 high. */
static int nibble(const uint8_t *quants, int e) {
    return e < 16 ? quants[e] % 16 : quants[e - 16] / 16;
}
static int bit_of(const uint8_t *bytes, int n) {
    return bytes[n / 8] >> n % 8 & 1;
}
static int signed_byte(uint8_t byte) {
    return byte < 128 ? byte : byte - 256;
}

/* 12 bytes hold eight 6-bit scales, then eight 6-bit minimums: the first four of each in the low six bits
 * of bytes 0-3 and 4-7; of the others the low four bits in bytes 8-11 (scales low, minimums high nibble)
 * and the upper two in the top bits of bytes 0-3 and 4-7. */
static int k_scale(const uint8_t *packed, int sub) {
    return sub < 4 ? packed[sub] % 64 : packed[4 + sub] % 16 + 16 * (packed[sub - 4] / 64);
}
static int k_minimum(const uint8_t *packed, int sub) {
    return sub < 4 ? packed[4 + sub] % 64 : packed[4 + sub] / 16 + 16 * (packed[sub] / 64);
}

static double k45_value(const uint8_t *block, const uint8_t *fifth, const uint8_t *nibbles, int e) {
    const int sub = e / 32, byte = 32 * (sub / 2) + e % 32;
    int quant = sub % 2 ? nibbles[byte] / 16 : nibbles[byte] % 16;
    if (fifth) quant += 16 * (fifth[e % 32] >> sub & 1);
    return f16_value(block) * k_scale(block + 4, sub) * quant - f16_value(block + 2) * k_minimum(block + 4, sub);
}

/* Halves of 128: nibbles in 64 bytes (first 64 elements low, next 64 high), bit pairs in 32 bytes. */
static double q6_k_value(const uint8_t *block, int e) {
    const int half = e / 128, in_half = e % 128;
    const uint8_t byte = block[64 * half + in_half % 64];
    const int low = in_half < 64 ? byte % 16 : byte / 16;
    const int high = block[128 + 32 * half + in_half % 32] >> 2 * (in_half / 32) & 3;
    return f16_value(block + 208) * signed_byte(block[192 + e / 16]) * (low + 16 * high - 32);
}

/* The errors are those of an ideal uniform quantiser at a block's range (about 2.1 sigma a block of 32, 1.8 a group
 * of 16), with some room: a wrong scale, nibble or offset is far outside them. */
static const oracle_block blocks[] = {
    {NLM_Q8_0, 0, -1, 73.9, 0, 0.0060},      {NLM_Q4_0, 0, -1, 4.6, 0, 0.095},
    {NLM_Q4_1, 0, 2, 4.6, -7.5, 0.085},      {NLM_Q5_0, 0, -1, 9.2, 0, 0.048},
    {NLM_Q5_1, 0, 2, 9.2, -15.5, 0.042},     {NLM_Q4_K, 0, 2, 4.6 * 32, 7.5, 0.075},
    {NLM_Q5_K, 0, 2, 9.2 * 32, 15.5, 0.038}, {NLM_Q6_K, 208, -1, 18.5 * 73.9, 0, 0.019},
    {NLM_IQ4_NL, 0, -1, 67.4, 0, 0.082},
};

const oracle_block *oracle_block_of(int32_t dtype) {
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (blocks[i].dtype == dtype) return &blocks[i];
    }
    return NULL;
}

static const int iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static double block_value(int32_t dtype, const uint8_t *b, int e) {
    float f32;
    double f64;
    int32_t i32;
    switch (dtype) {
        case ORACLE_F64: memcpy(&f64, b, sizeof f64); return f64;
        case NLM_F32: memcpy(&f32, b, sizeof f32); return (double)f32;
        case NLM_I32: memcpy(&i32, b, sizeof i32); return i32;
        case NLM_F16: return f16_value(b);
        case NLM_BF16: return bf16_value(b);
        case NLM_Q8_0: return f16_value(b) * signed_byte(b[2 + e]);
        case NLM_Q4_0: return f16_value(b) * (nibble(b + 2, e) - 8);
        case NLM_Q4_1: return f16_value(b) * nibble(b + 4, e) + f16_value(b + 2);
        case NLM_Q5_0: return f16_value(b) * (nibble(b + 6, e) + 16 * bit_of(b + 2, e) - 16);
        case NLM_Q5_1: return f16_value(b) * (nibble(b + 8, e) + 16 * bit_of(b + 4, e)) + f16_value(b + 2);
        case NLM_IQ4_NL: return f16_value(b) * iq4_nl_values[nibble(b + 2, e)];
        case NLM_Q4_K: return k45_value(b, NULL, b + 16, e);
        case NLM_Q5_K: return k45_value(b, b + 16, b + 48, e);
        case NLM_Q6_K: return q6_k_value(b, e);
        default: return (double)NAN;
    }
}

static int64_t block_elements(int32_t dtype) {
    switch (dtype) {
#define ELEMENTS_CASE(NAME, name, number, elements, bytes) \
    case number: return elements;
        NLM_DTYPE_LIST(ELEMENTS_CASE)
#undef ELEMENTS_CASE
        default: return 1;
    }
}

const void *oracle_address(const nlm_tensor *t, int64_t i, int64_t j, int64_t k, int64_t l) {
    const int64_t index[NLM_MAX_RANK] = {i, j, k, l};
    const int last = t->rank - 1;
    const char *address = t->data;
    for (int d = 0; d < last; d++) address += index[d] * t->stride_bytes[d];
    return address + index[last] / block_elements(t->dtype) * t->stride_bytes[last];
}

double oracle_at(const nlm_tensor *t, int64_t i, int64_t j, int64_t k, int64_t l) {
    const int64_t index[NLM_MAX_RANK] = {i, j, k, l};
    return block_value(t->dtype, oracle_address(t, i, j, k, l), (int)(index[t->rank - 1] % block_elements(t->dtype)));
}

double oracle_element(const nlm_tensor *t, int64_t number) {
    int64_t index[NLM_MAX_RANK] = {0};
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = number % t->shape[d];
        number /= t->shape[d];
    }
    return oracle_at(t, index[0], index[1], index[2], index[3]);
}

int64_t oracle_count(const nlm_tensor *t) {
    int64_t count = 1;
    for (int d = 0; d < t->rank; d++) count *= t->shape[d];
    return count;
}

static double round_to(double value, int fraction_bits, int least_exponent, int greatest_exponent) {
    if (!isfinite(value) || value == 0) return value;
    int exponent;
    frexp(value, &exponent); /* |value| in [2^(exponent-1), 2^exponent) */
    exponent = exponent - 1 < least_exponent ? least_exponent : exponent - 1;
    const double step = ldexp(1, exponent - fraction_bits);
    const double rounded = nearbyint(value / step) * step;
    return fabs(rounded) >= ldexp(1, greatest_exponent + 1) ? copysign(INFINITY, value) : rounded;
}

double oracle_round(int32_t dtype, double value) {
    switch (dtype) {
        case NLM_F16: return round_to(value, 10, -14, 15);
        case NLM_BF16: return round_to(value, 7, -126, 127);
        case NLM_F32: return round_to(value, 23, -126, 127);
        default: return value;
    }
}
