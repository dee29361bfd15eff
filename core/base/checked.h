/* Arithmetic that says when it wraps. Each returns 1 and writes *out, or returns 0 on overflow. */
#ifndef NLM_BASE_CHECKED_H
#define NLM_BASE_CHECKED_H

#include <stdint.h>

static inline int nlm_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline int nlm_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
/* Rounds up to a multiple of alignment, a power of two. */
static inline int nlm_align_u64(uint64_t value, uint64_t alignment, uint64_t *out) {
    uint64_t sum;
    if (!nlm_add_u64(value, alignment - 1, &sum)) return 0;
    *out = sum & ~(alignment - 1);
    return 1;
}
static inline int nlm_is_power_of_two(uint64_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

#endif
