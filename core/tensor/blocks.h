/* The block formats of GGUF's quantised types, byte by byte. Private to core/tensor.
 *
 * Every number is little-endian; d, m and dmin are f16. A block is read through byte offsets, so a
 * row needs no alignment.
 *
 *   type  bytes of a block                                         value of element i
 *   q8_0  d, 32 x int8 q                                           d * q
 *   q4_0  d, 16 x nibbles                                          d * (q - 8)
 *   q4_1  d, m, 16 x nibbles                                       d * q + m
 *   q5_0  d, u32 of fifth bits, 16 x nibbles                       d * (q - 16)
 *   q5_1  d, m, u32 of fifth bits, 16 x nibbles                    d * q + m
 *   q4_k  d, dmin, 12 bytes of scales, 128 x nibbles               d * sc * q - dmin * mn
 *   q5_k  d, dmin, 12 bytes of scales, 32 x fifth bits, 128 x nibbles  the same
 *   q6_k  128 x low nibbles, 64 x high pairs, 16 x int8 sc, d      d * sc * (q - 32)
 *
 * In blocks of 32 byte j holds element j (low nibble) and j + 16 (high). In the k types each group of
 * 64 elements has 32 bytes: element j low, j + 32 high. q6_k is described at its reader. */
#ifndef NLM_TENSOR_BLOCKS_H
#define NLM_TENSOR_BLOCKS_H

#include "tensor/dtype.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF data is read in place, which needs a little-endian machine"
#endif

enum {
    BLOCK = 32,         /* elements of a block of the plain quantised types */
    SUPER_BLOCK = 256,  /* elements of a block of the k types */
    SUB_BLOCKS = 8,     /* of 32 elements, in q4_k and q5_k */
    K_SCALES_BYTES = 12 /* 8 scales and 8 minima of 6 bits */
};

static inline float load_f16(const uint8_t *bytes) {
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return nlm_f16_to_f32(half);
}

static inline void store_u16(uint8_t *bytes, uint16_t value) {
    memcpy(bytes, &value, sizeof value);
}

/* The 6-bit scale and minimum of sub-block j. The first four of each take the low six bits of their
 * byte; the rest keep four bits in bytes 8..11 and two in the tops of bytes 0..7. */
static inline void load_k_scale(const uint8_t *scales, int j, uint8_t *scale, uint8_t *minimum) {
    if (j < 4) {
        *scale = scales[j] & 63;
        *minimum = scales[j + 4] & 63;
        return;
    }
    *scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
    *minimum = (uint8_t)(scales[j + 4] >> 4 | (scales[j] >> 6) << 4);
}

/* The inverse, over scales that start zeroed. */
static inline void store_k_scale(uint8_t *scales, int j, uint8_t scale, uint8_t minimum) {
    if (j < 4) {
        scales[j] |= scale;
        scales[j + 4] |= minimum;
        return;
    }
    scales[j + 4] = (uint8_t)((scale & 15) | (minimum & 15) << 4);
    scales[j - 4] |= (uint8_t)((scale >> 4) << 6);
    scales[j] |= (uint8_t)((minimum >> 4) << 6);
}

/* quantize_k.c; finite input. false: a scale does not fit f16. */
bool nlm_quantize_block_q4_k(const float *x, uint8_t *block);
bool nlm_quantize_block_q5_k(const float *x, uint8_t *block);
bool nlm_quantize_block_q6_k(const float *x, uint8_t *block);

#endif
