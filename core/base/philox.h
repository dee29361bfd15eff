/* Philox4x32-10: random numbers as a pure function of a key and a counter, so that a draw depends on
 * the seed and on where it is made, not on what was drawn before.
 * Source   Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef NLM_BASE_PHILOX_H
#define NLM_BASE_PHILOX_H

#include <stdint.h>

typedef struct nlm_philox_block {
    uint32_t word[4];
} nlm_philox_block;

static inline nlm_philox_block nlm_philox(nlm_philox_block counter, uint64_t seed) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * counter.word[0];
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * counter.word[2];
        counter = (nlm_philox_block){{(uint32_t)(product1 >> 32) ^ counter.word[1] ^ key0, (uint32_t)product1,
                                      (uint32_t)(product0 >> 32) ^ counter.word[3] ^ key1, (uint32_t)product0}};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/* Uniform in [0, 1), 53 bits: draw number `which` at `position`. */
static inline double nlm_philox_uniform_of(uint64_t seed, uint64_t position, uint32_t which) {
    const nlm_philox_block at = {{(uint32_t)position, (uint32_t)(position >> 32), which, 0}};
    const nlm_philox_block block = nlm_philox(at, seed);
    const uint64_t bits = (uint64_t)block.word[0] << 32 | block.word[1];
    return (double)(bits >> 11) * 0x1p-53;
}

/* The first of them. */
static inline double nlm_philox_uniform(uint64_t seed, uint64_t position) {
    return nlm_philox_uniform_of(seed, position, 0);
}

#endif
