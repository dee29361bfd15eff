/* GGUF's element types to f32 and back, by the formulas of the formats.
 *
 * Decoding is exact up to one rounding to f32, so any other decoder that works in f32 or better gives
 * the same bits. */
#ifndef NLM_CPU_DECODE_H
#define NLM_CPU_DECODE_H

#include <nlm/tensor.h>
#include <string.h>

typedef struct nlm_cpu_dtype {
    const char *name;
    int64_t block_elements;
    int64_t block_bytes;
} nlm_cpu_dtype;

/* NULL for a number that is not in NLM_DTYPE_LIST. */
const nlm_cpu_dtype *nlm_cpu_dtype_find(int32_t dtype);

/* out[0..n) = the values at `row`, n a multiple of the type's block. Any type but i32; any alignment. */
void nlm_cpu_decode(int32_t dtype, const void *row, float *out, int64_t n);
/* The reverse, for the types a cache can have: f32, f16, bf16, q8_0. Rounds to nearest even; q8_0 takes
 * max|x|/127 of a block as its scale. */
void nlm_cpu_encode(int32_t dtype, const float *values, void *row, int64_t n);

static inline float nlm_cpu_bits_to_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t nlm_cpu_f32_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The exponent moves from bias 15 to 127 by an exact multiplication with 2^112, which normalises
 * subnormals on the way; infinities and NaN then get the greatest exponent. Free of branches, so that a
 * loop over it becomes vector code. */
static inline float nlm_cpu_f16_to_f32(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t is_special = (0x0f7fffffu - magnitude) >> 31;
    const uint32_t bits = nlm_cpu_f32_to_bits(nlm_cpu_bits_to_f32(magnitude) * 0x1p112f);
    return nlm_cpu_bits_to_f32(bits | is_special * 0x7f800000u | (uint32_t)(half & 0x8000) << 16);
}
static inline float nlm_cpu_bf16_to_f32(uint16_t bits) {
    return nlm_cpu_bits_to_f32((uint32_t)bits << 16);
}
uint16_t nlm_cpu_f16_from_f32(float value);  /* overflow to infinity, NaN stays NaN */
uint16_t nlm_cpu_bf16_from_f32(float value); /* NaN stays NaN */

#endif
