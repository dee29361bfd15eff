#include "tensor/dtype.h"

#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bits / 2^shift to the nearest integer, ties to even. shift: 1..31. */
static uint32_t round_shift(uint32_t bits, uint32_t shift) {
    const uint32_t quotient = bits >> shift;
    const uint32_t rest = bits & ((UINT32_C(1) << shift) - 1);
    const uint32_t half = UINT32_C(1) << (shift - 1);
    return quotient + (rest > half || (rest == half && (quotient & 1)));
}

float nlm_f16_to_f32(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1Fu;
    const uint32_t fraction = half & 0x3FFu;
    if (exponent == 0) return float_of(sign | bits_of((float)fraction * 0x1p-24f));
    if (exponent == 31) return float_of(sign | 0x7F800000u | fraction << 13);
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t nlm_f16_from_f32(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | ((magnitude >> 13) & 0x1FFu));
    if (magnitude >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520, halfway past the largest */
    if (magnitude >= 0x38800000u) return (uint16_t)(sign | round_shift(magnitude - (UINT32_C(112) << 23), 13));
    /* Below 2^-14 the result counts units of 2^-24; below 2^-25 it is zero. */
    const uint32_t exponent = magnitude >> 23;
    if (exponent < 102) return (uint16_t)sign;
    return (uint16_t)(sign | round_shift((magnitude & 0x7FFFFFu) | 0x800000u, 126 - exponent));
}

float nlm_bf16_to_f32(uint16_t bits) {
    return float_of((uint32_t)bits << 16);
}

uint16_t nlm_bf16_from_f32(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)round_shift(bits, 16);
}
