/* Rows to f32.
 *
 * f16 scales have 11 significant bits and the integers they multiply at most 13 between them, so every
 * product here is exact in f32 and only the final sum or difference rounds: the results are the same
 * with and without fused multiply-add. */
#include "tensor/blocks.h"

static void row_f16(const uint8_t *row, float *out, int64_t elements) {
    for (int64_t i = 0; i < elements; i++) out[i] = load_f16(row + 2 * i);
}

static void row_bf16(const uint8_t *row, float *out, int64_t elements) {
    for (int64_t i = 0; i < elements; i++) {
        uint16_t bits;
        memcpy(&bits, row + 2 * i, sizeof bits);
        out[i] = nlm_bf16_to_f32(bits);
    }
}

static void block_q8_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int j = 0; j < BLOCK; j++) out[j] = d * (float)(int8_t)block[2 + j];
}

static void block_q4_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int j = 0; j < BLOCK / 2; j++) {
        const uint8_t pair = block[2 + j];
        out[j] = d * (float)((pair & 15) - 8);
        out[j + BLOCK / 2] = d * (float)((pair >> 4) - 8);
    }
}

static void block_q4_1(const uint8_t *block, float *out) {
    const float d = load_f16(block), m = load_f16(block + 2);
    for (int j = 0; j < BLOCK / 2; j++) {
        const uint8_t pair = block[4 + j];
        out[j] = d * (float)(pair & 15) + m;
        out[j + BLOCK / 2] = d * (float)(pair >> 4) + m;
    }
}

/* q5 value of element j and of element j + 16, from the fifth bits and the nibbles. */
static void load_q5(const uint8_t *fifth_bits, const uint8_t *nibbles, int j, int *low, int *high) {
    uint32_t bits;
    memcpy(&bits, fifth_bits, sizeof bits);
    *low = (int)((nibbles[j] & 15u) | ((bits >> j) & 1) << 4);
    *high = (int)((nibbles[j] >> 4) | ((bits >> (j + 16)) & 1) << 4);
}

static void block_q5_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int j = 0; j < BLOCK / 2; j++) {
        int low, high;
        load_q5(block + 2, block + 6, j, &low, &high);
        out[j] = d * (float)(low - 16);
        out[j + BLOCK / 2] = d * (float)(high - 16);
    }
}

static void block_q5_1(const uint8_t *block, float *out) {
    const float d = load_f16(block), m = load_f16(block + 2);
    for (int j = 0; j < BLOCK / 2; j++) {
        int low, high;
        load_q5(block + 4, block + 8, j, &low, &high);
        out[j] = d * (float)low + m;
        out[j + BLOCK / 2] = d * (float)high + m;
    }
}

/* q4_k, and q5_k where `fifth` is not NULL: bit j of fifth[l] belongs to element l of sub-block j. */
static void block_k(const uint8_t *block, const uint8_t *fifth, const uint8_t *nibbles, float *out) {
    const float d = load_f16(block), dmin = load_f16(block + 2);
    for (int j = 0; j < SUB_BLOCKS; j++) {
        uint8_t scale, minimum;
        load_k_scale(block + 4, j, &scale, &minimum);
        const float step = d * (float)scale, offset = dmin * (float)minimum;
        const uint8_t *pairs = nibbles + 32 * (j / 2);
        const int shift = 4 * (j % 2);
        for (int l = 0; l < 32; l++) {
            int q = (pairs[l] >> shift) & 15;
            if (fifth) q |= ((fifth[l] >> j) & 1) << 4;
            out[32 * j + l] = step * (float)q - offset;
        }
    }
}

static void block_q4_k(const uint8_t *block, float *out) {
    block_k(block, NULL, block + 4 + K_SCALES_BYTES, out);
}

static void block_q5_k(const uint8_t *block, float *out) {
    const uint8_t *fifth = block + 4 + K_SCALES_BYTES;
    block_k(block, fifth, fifth + 32, out);
}

/* Each half of 128 elements has 64 bytes of low nibbles and 32 bytes of high pairs. Quarter k of the
 * half (32 elements) finds its low nibbles in bytes 32 * (k % 2), low half of the byte for k < 2, and
 * its high two bits at bit 2k of the pairs. Every 16 elements share a scale. */
static void block_q6_k(const uint8_t *block, float *out) {
    const float d = load_f16(block + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = block + 64 * half, *high = block + 128 + 32 * half;
        for (int i = 0; i < 128; i++) {
            const int k = i / 32, l = i % 32;
            const int nibble = (low[32 * (k % 2) + l] >> (k < 2 ? 0 : 4)) & 15;
            const int q = nibble | ((high[l] >> (2 * k)) & 3) << 4;
            const int8_t scale = (int8_t)block[192 + 8 * half + i / 16];
            out[128 * half + i] = d * (float)scale * (float)(q - 32);
        }
    }
}

void nlm_dequantize_row(nlm_dtype dtype, const void *row, float *out, int64_t elements) {
    const uint8_t *bytes = row;
    void (*block)(const uint8_t *, float *);
    switch (dtype) {
        case NLM_F32: memcpy(out, row, (size_t)elements * sizeof *out); return;
        case NLM_F16: row_f16(bytes, out, elements); return;
        case NLM_BF16: row_bf16(bytes, out, elements); return;
        case NLM_Q8_0: block = block_q8_0; break;
        case NLM_Q4_0: block = block_q4_0; break;
        case NLM_Q4_1: block = block_q4_1; break;
        case NLM_Q5_0: block = block_q5_0; break;
        case NLM_Q5_1: block = block_q5_1; break;
        case NLM_Q4_K: block = block_q4_k; break;
        case NLM_Q5_K: block = block_q5_k; break;
        case NLM_Q6_K: block = block_q6_k; break;
        default: return;
    }
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    for (int64_t i = 0; i < elements; i += info->block_elements, bytes += info->block_bytes) block(bytes, out + i);
}
