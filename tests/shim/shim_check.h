/* The test of a shim: one source, compiled with the flags of each. Each function is checked lane by lane against what
 * simd.h and the shims say of it. */
#ifndef NLM_TESTS_SHIM_CHECK_H
#define NLM_TESTS_SHIM_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "cpu/vector/simd.h"
#include "shim_cases.h"

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* NaNs are as good as each other; of zeros the sign counts. */
static inline bool is_same(float a, float b) {
    return isnan(b) ? isnan(a) : bits_of(a) == bits_of(b);
}

/* Fails a case once for each lane that differs, and says where. */
#define EXPECT_FLOAT(what, lane, got, wanted)                                                                        \
    do {                                                                                                             \
        const float is_ = (got), wanted_ = (wanted);                                                                 \
        if (!is_same(is_, wanted_))                                                                                  \
            printf("%s, lane %d: %a (0x%08x), expected %a (0x%08x)\n", what, (int)(lane), (double)is_, bits_of(is_), \
                   (double)wanted_, bits_of(wanted_));                                                               \
        CU_ASSERT(is_same(is_, wanted_));                                                                            \
    } while (0)
#define EXPECT_INT(what, place, got, wanted)                                                                       \
    do {                                                                                                           \
        const int64_t is_ = (got), wanted_ = (wanted);                                                             \
        if (is_ != wanted_)                                                                                        \
            printf("%s, place %d: %lld, expected %lld\n", what, (int)(place), (long long)is_, (long long)wanted_); \
        CU_ASSERT(is_ == wanted_);                                                                                 \
    } while (0)

/* To the nearest whole number, of two as near the even one. */
static inline double nearest_even(double x) {
    const double low = floor(x), rest = x - low;
    const double whole = rest < 0.5 || (rest == 0.5 && fmod(low, 2) == 0) ? low : low + 1;
    return copysign(whole, x);
}

/* Marsaglia's xorshift: the same bytes in every run. */
static inline void fill_random(void *out, size_t size, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((uint8_t *)out)[i] = (uint8_t)(state >> 32);
    }
}

#endif
