/* Numbers in files: little-endian, unaligned. */
#ifndef NLM_BASE_LITTLE_ENDIAN_H
#define NLM_BASE_LITTLE_ENDIAN_H

#include <stdint.h>

/* `bytes`: 1 to 8. */
static inline uint64_t nlm_get_le(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static inline void nlm_put_le(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> (8 * i));
}

#endif
