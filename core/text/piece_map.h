/* A hash map from byte strings to numbers. */
#ifndef NLM_TEXT_PIECE_MAP_H
#define NLM_TEXT_PIECE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A byte string that someone else owns: not terminated. */
typedef struct nlm_bytes {
    const char *data;
    uint32_t length;
} nlm_bytes;

/* A slot is small, as there are two for every entry of a vocabulary: the hash is not kept. */
typedef struct nlm_piece_slot {
    const char *data;
    uint32_t length;
    int32_t value; /* -1: the slot is free */
} nlm_piece_slot;

/* Zeroed is empty. Keys are borrowed and must outlive the map. */
typedef struct nlm_piece_map {
    nlm_piece_slot *slots; /* linear probing, at most three quarters full */
    size_t capacity;       /* 0 or a power of two */
    size_t count;
} nlm_piece_map;

/* A polynomial in NLM_HASH_BASE with the first byte as its constant term, so that the hashes of all
 * prefixes and suffixes of a string come from one pass over it (see spm.c). */
#define NLM_HASH_BASE         UINT64_C(0x9E3779B97F4A7C15)
#define NLM_HASH_BASE_INVERSE UINT64_C(0xF1DE83E19937733D) /* modulo 2^64 */
static inline uint64_t nlm_hash_term(char byte, uint64_t power) {
    return ((uint64_t)(unsigned char)byte + 1) * power;
}
uint64_t nlm_piece_hash(const char *data, size_t length);

/* Makes room for `count` keys in all. False when memory runs out. */
bool nlm_piece_map_reserve(nlm_piece_map *map, size_t count);
/* Adds a key unless it is there already; value >= 0. False when memory runs out. */
bool nlm_piece_map_add(nlm_piece_map *map, nlm_bytes key, int32_t value);
/* The key's value, or -1. */
int32_t nlm_piece_map_find(const nlm_piece_map *map, const char *data, size_t length);
/* As nlm_piece_map_find for a caller who knows the key's hash. */
int32_t nlm_piece_map_find_hashed(const nlm_piece_map *map, uint64_t hash, const char *data, size_t length);
void nlm_piece_map_release(nlm_piece_map *map);

#endif
