/* The decoders of nlm/dtype.h, and encoders of the types a cache can have. */
#include "cpu/decode.h"

#include <math.h>

void nlm_cpu_decode(int32_t dtype, const void *row, float *out, int64_t n) {
    nlm_decode_row(dtype, row, out, n);
}

static void encode_q8_0(const float *values, uint8_t *block) {
    float greatest = 0, spoilt = 0; /* NaN where a value is NaN or infinite, and then so is the scale */
    for (int j = 0; j < 32; j++) {
        greatest = fmaxf(greatest, fabsf(values[j]));
        spoilt += 0 * values[j];
    }
    const float d = greatest / 127 + spoilt;
    const float inverse = d > 0 ? 1 / d : 0;
    const uint16_t half = nlm_f16_from_f32(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < 32; j++) {
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
            for (int64_t i = 0; i < n; i++) halves[i] = nlm_f16_from_f32(values[i]);
            break;
        case NLM_BF16:
            for (int64_t i = 0; i < n; i++) halves[i] = nlm_bf16_from_f32(values[i]);
            break;
        case NLM_Q8_0:
            for (int64_t i = 0; i < n / 32; i++) encode_q8_0(values + 32 * i, bytes + 34 * i);
            break;
        default: break;
    }
}
