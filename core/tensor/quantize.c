/* f32 to rows: the reference quantisers. The blocks of 32 are written as GGUF files in the wild have
 * them: the scale is the f32 quotient rounded to f16, the integers come from the unrounded quotient. */
#include "base/status.h"
#include "tensor/blocks.h"

#include <math.h>

static bool fits_f16(float value) {
    return fabsf(value) < 65520.0f;
}

/* Stores d and returns 1/d, or 0 where d is too small for f16: then the whole block is its offset. */
static float store_scale(uint8_t *bytes, float d) {
    store_u16(bytes, nlm_f16_from_f32(d));
    return nlm_load_f16(bytes) != 0 ? 1.0f / d : 0;
}

/* floor(value), held within 0..max. */
static uint8_t clamp_q(float value, int max) {
    if (!(value > 0)) return 0;
    return (uint8_t)(value >= (float)max ? (float)max : value);
}

/* The value of largest magnitude, with its sign; the first of equals. */
static float extreme(const float *x) {
    float best = 0;
    for (int j = 0; j < BLOCK; j++) {
        if (fabsf(x[j]) > fabsf(best)) best = x[j];
    }
    return best;
}

static void range(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int j = 1; j < BLOCK; j++) {
        if (x[j] < *low) *low = x[j];
        if (x[j] > *high) *high = x[j];
    }
}

static bool block_q8_0(const float *x, uint8_t *block) {
    const float d = fabsf(extreme(x)) / 127.0f;
    if (!fits_f16(d)) return false;
    const float inverse = store_scale(block, d);
    for (int j = 0; j < BLOCK; j++) block[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
    return true;
}

/* The extreme value maps to the lowest integer exactly, so the negative side's extra step is used. */
static bool block_q4_0(const float *x, uint8_t *block) {
    const float d = extreme(x) / -8.0f;
    if (!fits_f16(d)) return false;
    const float inverse = store_scale(block, d);
    for (int j = 0; j < BLOCK / 2; j++) {
        const uint8_t low = clamp_q(x[j] * inverse + 8.5f, 15);
        const uint8_t high = clamp_q(x[j + BLOCK / 2] * inverse + 8.5f, 15);
        block[2 + j] = (uint8_t)(low | high << 4);
    }
    return true;
}

static bool block_q4_1(const float *x, uint8_t *block) {
    float low_x, high_x;
    range(x, &low_x, &high_x);
    const float d = (high_x - low_x) / 15.0f;
    if (!fits_f16(d) || !fits_f16(low_x)) return false;
    const float inverse = store_scale(block, d);
    store_u16(block + 2, nlm_f16_from_f32(low_x));
    for (int j = 0; j < BLOCK / 2; j++) {
        const uint8_t low = clamp_q((x[j] - low_x) * inverse + 0.5f, 15);
        const uint8_t high = clamp_q((x[j + BLOCK / 2] - low_x) * inverse + 0.5f, 15);
        block[4 + j] = (uint8_t)(low | high << 4);
    }
    return true;
}

static bool block_q5_0(const float *x, uint8_t *block) {
    const float d = extreme(x) / -16.0f;
    if (!fits_f16(d)) return false;
    const float inverse = store_scale(block, d);
    uint8_t q[BLOCK];
    for (int j = 0; j < BLOCK; j++) q[j] = clamp_q(x[j] * inverse + 16.5f, 31);
    store_q5(block + 2, q);
    return true;
}

static bool block_q5_1(const float *x, uint8_t *block) {
    float low, high;
    range(x, &low, &high);
    const float d = (high - low) / 31.0f;
    if (!fits_f16(d) || !fits_f16(low)) return false;
    const float inverse = store_scale(block, d);
    store_u16(block + 2, nlm_f16_from_f32(low));
    uint8_t q[BLOCK];
    for (int j = 0; j < BLOCK; j++) q[j] = clamp_q((x[j] - low) * inverse + 0.5f, 31);
    store_q5(block + 4, q);
    return true;
}

static uint8_t nearest_iq4_nl(float value) {
    uint8_t q = 0;
    while (q < 15 && value > 0.5f * (float)(nlm_iq4_nl_values[q] + nlm_iq4_nl_values[q + 1])) q++;
    return q;
}

/* The extreme value maps to the lowest one; then the scale becomes the best for the indices so found. */
static bool block_iq4_nl(const float *x, uint8_t *block) {
    const float d = extreme(x) / (float)nlm_iq4_nl_values[0];
    if (!fits_f16(d)) return false;
    const float inverse = store_scale(block, d);
    float product = 0, power = 0;
    uint8_t q[BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        q[j] = nearest_iq4_nl(x[j] * inverse);
        const float value = (float)nlm_iq4_nl_values[q[j]];
        product += value * x[j] * inverse;
        power += value * value;
    }
    store_q4(block + 2, q);
    const float best = d * (product / power);
    store_scale(block, best);
    return fits_f16(best);
}

static bool block_q4_k(const float *x, uint8_t *block) {
    return nlm_quantize_block_q4_k(x, NULL, block);
}

static bool block_q5_k(const float *x, uint8_t *block) {
    return nlm_quantize_block_q5_k(x, NULL, block);
}

static bool block_q6_k(const float *x, uint8_t *block) {
    return nlm_quantize_block_q6_k(x, NULL, block);
}

static bool one_f32(const float *x, uint8_t *block) {
    memcpy(block, x, sizeof *x);
    return true;
}

static bool one_f16(const float *x, uint8_t *block) {
    store_u16(block, nlm_f16_from_f32(*x));
    return fits_f16(*x);
}

static bool one_bf16(const float *x, uint8_t *block) {
    const uint16_t bits = nlm_bf16_from_f32(*x);
    store_u16(block, bits);
    return isfinite(nlm_bf16_to_f32(bits));
}

typedef bool (*block_fn)(const float *x, uint8_t *block);

static block_fn find_quantizer(nlm_dtype dtype) {
    switch (dtype) {
        case NLM_F32: return one_f32;
        case NLM_F16: return one_f16;
        case NLM_BF16: return one_bf16;
        case NLM_Q8_0: return block_q8_0;
        case NLM_Q4_0: return block_q4_0;
        case NLM_Q4_1: return block_q4_1;
        case NLM_Q5_0: return block_q5_0;
        case NLM_Q5_1: return block_q5_1;
        case NLM_IQ4_NL: return block_iq4_nl;
        case NLM_Q4_K: return block_q4_k;
        case NLM_Q5_K: return block_q5_k;
        case NLM_Q6_K: return block_q6_k;
        default: return NULL;
    }
}

nlm_status nlm_quantize_row(nlm_dtype dtype, const float *values, void *out_row, int64_t elements, nlm_error *err) {
    const block_fn quantize = find_quantizer(dtype);
    if (!quantize) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "no f32 row becomes %s", nlm_dtype_name(dtype));
    }
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    if (elements < 0 || elements % info->block_elements != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "%lld elements are no multiple of a %s block's %u",
                        (long long)elements, info->name, info->block_elements);
    }
    for (int64_t i = 0; i < elements; i++) {
        if (!isfinite(values[i])) {
            return nlm_fail(err, NLM_NUMERIC, __func__, "element %lld is %f", (long long)i, (double)values[i]);
        }
    }
    uint8_t *block = out_row;
    for (int64_t i = 0; i < elements; i += info->block_elements, block += info->block_bytes) {
        if (!quantize(values + i, block)) {
            return nlm_fail(err, NLM_NUMERIC, __func__, "elements from %lld on are too large for %s", (long long)i,
                            info->name);
        }
    }
    return NLM_OK;
}
