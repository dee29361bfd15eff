/* A 64-bit checksum against damage (not against an attacker): XXH64 with seed 0.
 * Source   Y. Collet, "xxHash fast digest algorithm", version 0.1.1. */
#ifndef NLM_BASE_CHECKSUM_H
#define NLM_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Of a stream given in pieces; how it is cut into pieces does not matter. */
typedef struct nlm_checksum {
    uint64_t lanes[4];
    uint64_t bytes;            /* seen so far */
    unsigned char pending[32]; /* the last bytes % 32 of them */
} nlm_checksum;

void nlm_checksum_init(nlm_checksum *sum);
void nlm_checksum_update(nlm_checksum *sum, const void *data, size_t bytes);
/* The checksum so far; more may follow. */
uint64_t nlm_checksum_value(const nlm_checksum *sum);

uint64_t nlm_checksum_of(const void *data, size_t bytes);

#endif
