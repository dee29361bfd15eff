/* Floating point: half precision and smaller as bits, roundings, and instructions that are not exact. */
#ifndef EMU_RUNTIME_FLOAT_H
#define EMU_RUNTIME_FLOAT_H

enum rounding { TO_ZERO, DOWN, UP };

/* a * b + c in double with the last bit set where the sum is not exact, so that a second rounding, to a shorter
 * number, is that of the exact sum. The product must be exact: of numbers of at most 26 bits it is. */
RUNTIME double odd_sum(double product, double c) {
    double sum = product + c;
    const double rest = sum - product;
    const double error = (product - (sum - rest)) + (c - rest);
    if (error != 0 && isfinite(sum) && !(as_u64(sum) & 1)) {
        const int grows = (error > 0) == (sum > 0);
        sum = as_f64(as_u64(sum) + (grows ? 1 : ~0ull));
    }
    return sum;
}

/* A double to float with a directed rounding. */
RUNTIME float round_f32(double x, enum rounding to) {
    const float nearest = (float)x;
    if (isnan(x) || (double)nearest == x) return nearest;
    const int is_low = (double)nearest < x;
    const int wants_low = to == DOWN || (to == TO_ZERO && x > 0);
    if (is_low == wants_low) return nearest;
    return nextafterf(nearest, wants_low ? -INFINITY : INFINITY);
}
RUNTIME float add_f32(float a, float b, enum rounding to) {
    return round_f32(odd_sum(a, b), to);
}
RUNTIME float sub_f32(float a, float b, enum rounding to) {
    return round_f32(odd_sum(a, -b), to);
}
RUNTIME float mul_f32(float a, float b, enum rounding to) {
    return round_f32((double)a * b, to);
}

/* fma with a rounding has one operand more. */
RUNTIME float fma_f32_to(float a, float b, float c, enum rounding to) {
    return round_f32(odd_sum((double)a * b, c), to);
}
RUNTIME float fma_f32_nearest(float a, float b, float c) {
    return fmaf(a, b, c);
}
#define FMA_OF(a, b, c, d, name, ...) name
#define fma_f32(...)                  FMA_OF(__VA_ARGS__, fma_f32_to, fma_f32_nearest, 0)(__VA_ARGS__)
RUNTIME double fma_f64(double a, double b, double c) {
    return fma(a, b, c);
}

/* min and max take the number beside a NaN, and -0 is below +0. */
#define SMALLER_AND_LARGER(t, c)                                                   \
    RUNTIME c min_##t(c a, c b) {                                                  \
        return a != a ? b : b != b ? a : a < b || (a == b && signbit(a)) ? a : b;  \
    }                                                                              \
    RUNTIME c max_##t(c a, c b) {                                                  \
        return a != a ? b : b != b ? a : a > b || (a == b && !signbit(a)) ? a : b; \
    }                                                                              \
    RUNTIME c min_nan_##t(c a, c b) {                                              \
        return a != a || b != b ? (c)NAN : min_##t(a, b);                          \
    }                                                                              \
    RUNTIME c max_nan_##t(c a, c b) {                                              \
        return a != a || b != b ? (c)NAN : max_##t(a, b);                          \
    }                                                                              \
    RUNTIME c saturate_##t(c x) {                                                  \
        return x > 0 ? x < 1 ? x : 1 : 0;                                          \
    }
SMALLER_AND_LARGER(f32, float)
SMALLER_AND_LARGER(f64, double)
RUNTIME float abs_f32(float x) {
    return fabsf(x);
}
RUNTIME double abs_f64(double x) {
    return fabs(x);
}
RUNTIME float copysign_f32(float sign, float x) {
    return copysignf(x, sign);
}
RUNTIME double copysign_f64(double sign, double x) {
    return copysign(x, sign);
}
RUNTIME float flush(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x;
}

/* Float to integer saturates; a NaN is 0, or the lowest bits of the sign where the source or the target is wide. */
#define FROM_DOUBLE(t, c, low, above)                                                        \
    RUNTIME c t##_of_double(double x, int is_wide) {                                         \
        if (x != x) return is_wide && sizeof(c) >= 4 ? (c)(1ull << (8 * sizeof(c) - 1)) : 0; \
        return x < (double)(low) ? (c)(low) : x >= (above) ? (c) ~(c)(low) : (c)x;           \
    }
FROM_DOUBLE(u8, uint8_t, 0, 0x1p8)
FROM_DOUBLE(s8, int8_t, INT8_MIN, 0x1p7)
FROM_DOUBLE(u16, uint16_t, 0, 0x1p16)
FROM_DOUBLE(s16, int16_t, INT16_MIN, 0x1p15)
FROM_DOUBLE(u32, uint32_t, 0, 0x1p32)
FROM_DOUBLE(s32, int32_t, INT32_MIN, 0x1p31)
FROM_DOUBLE(u64, uint64_t, 0, 0x1p64)
FROM_DOUBLE(s64, int64_t, INT64_MIN, 0x1p63)

/* Approximations are off as far as they may be, by a lot that the exact result draws: no test passes for their exact
 * bits, and the same operands give the same bits each time, as they do on a GPU. */
RUNTIME uint32_t lot(float x) {
    return as_u32(x) * 2654435761u >> 8;
}
RUNTIME float approximate_f32(float x) {
    const int32_t by = (int32_t)(lot(x) % 5) - 2;
    return !isfinite(x) || fabsf(x) < 0x1p-126f || fabsf(x) > 0x1.fp127f ? x : as_f32(as_u32(x) + (uint32_t)by);
}
RUNTIME double approximate_f64(double x) { /* 20 bits of the fraction are right */
    return isfinite(x) && x != 0 ? as_f64(as_u64(x) & ~0xffffffffull) : x;
}
RUNTIME float off_by(float x, float bound) {
    return x + bound * ((float)(lot(x) & 0xffff) / 32768.0f - 1);
}
RUNTIME float approximate_sine(float x) {
    return off_by(x, 0x1p-21f);
}
RUNTIME float approximate_logarithm(float x) {
    return isfinite(x) ? off_by(x, 0x1p-22f * fmaxf(1, fabsf(x) * 0.5f)) : x;
}
RUNTIME float approximate_tangent(float x) {
    return off_by(x, 0x1p-11f * fabsf(x));
}

/* f16 and bf16. The compiler's own type where that is an instruction: the header of all intrinsics would be most of
 * what a small kernel takes to compile. */
#if defined(__F16C__) && defined(__FLT16_MANT_DIG__)
RUNTIME float f32_of_f16(uint16_t bits) {
    _Float16 half;
    memcpy(&half, &bits, sizeof half);
    return half;
}
RUNTIME uint16_t f16_of_f32(float x) {
    const _Float16 half = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return x != x ? 0x7fff : bits;
}
#else
RUNTIME float f32_of_f16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = ldexpf((float)((exponent ? 1024 : 0) + fraction), (exponent ? exponent : 1) - 25);
    if (exponent == 31) size = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -size : size;
}
RUNTIME uint16_t f16_of_f32(float x) {
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const float size = fabsf(x);
    if (x != x) return 0x7fff;
    if (size >= 65520) return sign | 0x7c00;
    int exponent = size > 0 ? ilogbf(size) : -14;
    if (exponent < -14) exponent = -14;
    /* In units of the last place; a carry goes into the exponent by itself. */
    const int units = (int)rintf(ldexpf(size, 10 - exponent));
    return (uint16_t)(sign | (((exponent + 14) << 10) + units));
}
#endif
/* A double to float, cut, with the last bit set where something was cut off: halves round from it once. */
RUNTIME float cut_f32(double x) {
    const float cut = round_f32(x, TO_ZERO);
    return (double)cut != x && !(as_u32(cut) & 1) ? as_f32(as_u32(cut) | 1) : cut;
}
RUNTIME uint16_t f16_of_f64(double x) {
    return f16_of_f32(cut_f32(x));
}
RUNTIME uint16_t f16_of_f32_rz(float x) {
    const uint16_t nearest = f16_of_f32(x);
    return isfinite(x) && fabsf(f32_of_f16(nearest)) > fabsf(x) ? (uint16_t)(nearest - 1) : nearest;
}
RUNTIME float f32_of_bf16(uint16_t bits) {
    return as_f32((uint32_t)bits << 16);
}
RUNTIME uint16_t bf16_of_f32(float x) {
    const uint32_t bits = as_u32(x);
    return x != x ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
RUNTIME uint16_t bf16_of_f32_rz(float x) {
    return x != x ? 0x7fff : (uint16_t)(as_u32(x) >> 16);
}
RUNTIME uint16_t bf16_of_f64(double x) {
    return bf16_of_f32(cut_f32(x));
}

/* Each operation of a half, and of the two halves of a word. */
#define HALF_1(t, name, value)                                                            \
    RUNTIME uint16_t t##_##name(uint16_t a) {                                             \
        return value;                                                                     \
    }                                                                                     \
    RUNTIME uint32_t t##x2_##name(uint32_t a) {                                           \
        return (uint32_t)t##_##name((uint16_t)(a >> 16)) << 16 | t##_##name((uint16_t)a); \
    }
#define HALF_2(t, name, value)                                                        \
    RUNTIME uint16_t t##_##name(uint16_t a, uint16_t b) {                             \
        return value;                                                                 \
    }                                                                                 \
    RUNTIME uint32_t t##x2_##name(uint32_t a, uint32_t b) {                           \
        return (uint32_t)t##_##name((uint16_t)(a >> 16), (uint16_t)(b >> 16)) << 16 | \
               t##_##name((uint16_t)a, (uint16_t)b);                                  \
    }
#define HALF_3(t, name, value)                                                                             \
    RUNTIME uint16_t t##_##name(uint16_t a, uint16_t b, uint16_t c) {                                      \
        return value;                                                                                      \
    }                                                                                                      \
    RUNTIME uint32_t t##x2_##name(uint32_t a, uint32_t b, uint32_t c) {                                    \
        return (uint32_t)t##_##name((uint16_t)(a >> 16), (uint16_t)(b >> 16), (uint16_t)(c >> 16)) << 16 | \
               t##_##name((uint16_t)a, (uint16_t)b, (uint16_t)c);                                          \
    }
/* A sum or product in float, rounded to a half, is the half's own: float has more than twice its bits. */
#define HALF_OPERATIONS(t)                                                                        \
    HALF_2(t, add, t##_of_f32(f32_of_##t(a) + f32_of_##t(b)))                                     \
    HALF_2(t, sub, t##_of_f32(f32_of_##t(a) - f32_of_##t(b)))                                     \
    HALF_2(t, mul, t##_of_f32(f32_of_##t(a) * f32_of_##t(b)))                                     \
    HALF_3(t, fma, t##_of_f64(odd_sum((double)f32_of_##t(a) * f32_of_##t(b), f32_of_##t(c))))     \
    HALF_2(t, min, t##_of_f32(min_f32(f32_of_##t(a), f32_of_##t(b))))                             \
    HALF_2(t, max, t##_of_f32(max_f32(f32_of_##t(a), f32_of_##t(b))))                             \
    HALF_2(t, min_nan, t##_of_f32(min_nan_f32(f32_of_##t(a), f32_of_##t(b))))                     \
    HALF_2(t, max_nan, t##_of_f32(max_nan_f32(f32_of_##t(a), f32_of_##t(b))))                     \
    HALF_1(t, abs, (uint16_t)(a & 0x7fff))                                                        \
    HALF_1(t, neg, (uint16_t)(a ^ 0x8000))                                                        \
    HALF_1(t, saturate, t##_of_f32(saturate_f32(f32_of_##t(a))))                                  \
    HALF_1(t, relu, t##_of_f32(f32_of_##t(a) != f32_of_##t(a) ? NAN : max_f32(f32_of_##t(a), 0))) \
    HALF_1(t, ex2, t##_of_f32(exp2f(f32_of_##t(a))))                                              \
    HALF_1(t, tanh, t##_of_f32(tanhf(f32_of_##t(a))))
HALF_OPERATIONS(f16)
HALF_OPERATIONS(bf16)

/* tf32: a float of which ten bits of the fraction count. */
RUNTIME uint32_t tf32_of_f32_rna(float x) {
    return isfinite(x) ? (as_u32(x) + 0x1000) & ~0x1fffu : as_u32(x);
}
RUNTIME uint32_t tf32_of_f32_rn(float x) {
    const uint32_t bits = as_u32(x);
    return isfinite(x) ? (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu : bits;
}

/* Eight-bit floats: `fraction` bits of fraction, the exponent's bias, the largest finite value, the NaN. */
struct small_float {
    int fraction, bias;
    float largest;
    uint8_t largest_bits, nan_bits;
};
static const struct small_float e4m3 = {3, 7, 448, 0x7e, 0x7f}, e5m2 = {2, 15, 57344, 0x7b, 0x7f};

RUNTIME uint8_t small_of_f32(const struct small_float *k, float x) {
    const uint8_t sign = signbit(x) ? 0x80 : 0;
    if (x != x) return k->nan_bits;
    const float size = fabsf(x);
    if (size >= k->largest) return sign | k->largest_bits; /* .satfinite */
    int exponent = size > 0 ? ilogbf(size) : 1 - k->bias;
    if (exponent < 1 - k->bias) exponent = 1 - k->bias;
    /* In units of the last place; a carry goes into the exponent by itself. */
    const int units = (int)rintf(ldexpf(size, k->fraction - exponent));
    return (uint8_t)(sign | (((exponent + k->bias - 1) << k->fraction) + units));
}
RUNTIME float f32_of_small(const struct small_float *k, uint8_t bits) {
    const int exponent = (bits & 0x7f) >> k->fraction, fraction = bits & ((1 << k->fraction) - 1);
    float size = ldexpf((float)((exponent ? 1 << k->fraction : 0) + fraction),
                        (exponent ? exponent : 1) - k->bias - k->fraction);
    if (k->fraction == 2 && exponent == 31) size = fraction ? NAN : INFINITY;
    if (k->fraction == 3 && (bits & 0x7f) == 0x7f) size = NAN;
    return bits & 0x80 ? -size : size;
}
RUNTIME uint8_t e4m3_of_f32(float x) {
    return small_of_f32(&e4m3, x);
}
RUNTIME uint8_t e5m2_of_f32(float x) {
    return small_of_f32(&e5m2, x);
}
RUNTIME float f32_of_e4m3(uint8_t bits) {
    return f32_of_small(&e4m3, bits);
}
RUNTIME float f32_of_e5m2(uint8_t bits) {
    return f32_of_small(&e5m2, bits);
}

#endif
