/* Writing the blocks that nlm/dtype.h describes and reads. Private to core/tensor. */
#ifndef NLM_TENSOR_BLOCKS_H
#define NLM_TENSOR_BLOCKS_H

#include "tensor/dtype.h"

enum {
    BLOCK = 32,         /* elements of a block of the plain quantised types */
    SUPER_BLOCK = 256,  /* elements of a block of the k types */
    SUB_BLOCKS = 8,     /* of 32 elements, in q4_k and q5_k */
    K_SCALES_BYTES = 12 /* 8 scales and 8 minima of 6 bits */
};

static inline void store_u16(uint8_t *bytes, uint16_t value) {
    memcpy(bytes, &value, sizeof value);
}

/* The inverse of nlm_k_scale_min, over scales that start zeroed. */
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

/* q[0..32) of 4 bits as nibbles; of 5 bits as fifth bits, then nibbles. */
static inline void store_q4(uint8_t *bytes, const uint8_t *q) {
    for (int j = 0; j < BLOCK / 2; j++) bytes[j] = (uint8_t)((q[j] & 15) | (q[j + BLOCK / 2] & 15) << 4);
}

static inline void store_q5(uint8_t *bytes, const uint8_t *q) {
    uint32_t fifth = 0;
    for (int j = 0; j < BLOCK; j++) fifth |= (uint32_t)(q[j] >> 4) << j;
    memcpy(bytes, &fifth, sizeof fifth);
    store_q4(bytes + 4, q);
}

/* quantize_k.c; finite input, and how much a squared error counts (not negative), NULL: everywhere as much.
 * false: a scale does not fit f16. */
bool nlm_quantize_block_q4_k(const float *x, const float *weights, uint8_t *block);
bool nlm_quantize_block_q5_k(const float *x, const float *weights, uint8_t *block);
bool nlm_quantize_block_q6_k(const float *x, const float *weights, uint8_t *block);

#endif
