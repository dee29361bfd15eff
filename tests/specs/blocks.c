/* Contents of tensors by type. Quantised blocks are random bits with scales in range, so that every bit of
 * a block matters, without any quantiser. */
#include <math.h>
#include <string.h>

#include "oracle/oracle.h"
#include "spec.h"
#include "tensor/dtype.h"

/* The f16 nearest to value, ties anyhow. */
static uint16_t f16_bits(double value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double magnitude = fabs(value);
    if (isnan(value)) return 0x7E00;
    if (magnitude >= 65520) return sign | 0x7C00;
    if (magnitude < 0x1p-14) return (uint16_t)(sign | (uint16_t)lround(magnitude * 0x1p24));
    int exponent;
    const double fraction = frexp(magnitude, &exponent); /* [0.5, 1) */
    return (uint16_t)(sign | (uint16_t)(((exponent + 13) << 10) + lround(fraction * 2048)));
}

static void put_f16(uint8_t *at, double value) {
    const uint16_t bits = f16_bits(value);
    memcpy(at, &bits, sizeof bits);
}

void spec_store(int32_t dtype, void *at, double value) {
    const float f32 = (float)value;
    int32_t i32;
    uint32_t bits;
    switch (dtype) {
        case NLM_F32: memcpy(at, &f32, sizeof f32); break;
        case NLM_F16: put_f16(at, value); break;
        case NLM_I32:
            i32 = (int32_t)value;
            memcpy(at, &i32, sizeof i32);
            break;
        case NLM_BF16:
            memcpy(&bits, &f32, sizeof bits);
            bits >>= 16;
            memcpy(at, &bits, 2);
            break;
        default: break;
    }
}

static void fill_block(spec_instance *in, const oracle_block *form, uint8_t *block, uint32_t bytes,
                       double deviation) {
    for (uint32_t i = 0; i < bytes; i++) block[i] = (uint8_t)spec_random(in);
    const double scale = deviation / form->spread * (0.5 + spec_uniform(in)) * (spec_random(in) & 1 ? 1 : -1);
    put_f16(block + form->scale_at, scale);
    if (form->min_at >= 0) put_f16(block + form->min_at, scale * form->middle * (0.9 + 0.2 * spec_uniform(in)));
}

void spec_fill_blocks(spec_instance *in, const nlm_tensor *t, double deviation) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    const oracle_block *form = oracle_block_of(t->dtype);
    const int last = t->rank - 1;
    const int64_t per_row = t->shape[last] / type->block_elements;
    int64_t rows = 1;
    for (int i = 0; i < last; i++) rows *= t->shape[i];
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *row = t->data;
        int64_t left = r;
        for (int i = last - 1; i >= 0; i--) {
            row += left % t->shape[i] * t->stride_bytes[i];
            left /= t->shape[i];
        }
        for (int64_t b = 0; b < per_row; b++) {
            fill_block(in, form, row + b * type->block_bytes, type->block_bytes, deviation);
        }
    }
}
