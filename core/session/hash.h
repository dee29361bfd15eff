/* FNV-1a, 64 bits: of two inputs of one length that differ in a single byte it never gives the same.
 * Source   Fowler, Noll & Vo; draft-eastlake-fnv. Not against an adversary. */
#ifndef NLM_SESSION_HASH_H
#define NLM_SESSION_HASH_H

#include <stddef.h>
#include <stdint.h>

#define NLM_HASH_START 0xcbf29ce484222325u

static inline uint64_t nlm_hash(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

#endif
