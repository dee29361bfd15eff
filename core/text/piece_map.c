/* A hash table from a piece's text to its id. */
#include "text/piece_map.h"

#include <stdlib.h>
#include <string.h>

uint64_t nlm_piece_hash(const char *data, size_t length) {
    uint64_t hash = 0, power = 1;
    for (size_t i = 0; i < length; i++) {
        hash += nlm_hash_term(data[i], power);
        power *= NLM_HASH_BASE;
    }
    return hash;
}

/* The low bits of a polynomial modulo 2^64 depend on little of the text: mix before masking. */
static size_t slot_of(uint64_t hash, size_t capacity) {
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    return (size_t)hash & (capacity - 1);
}

static nlm_piece_slot *probe(nlm_piece_slot *slots, size_t capacity, uint64_t hash, const char *data, size_t length) {
    size_t at = slot_of(hash, capacity);
    for (;; at = (at + 1) & (capacity - 1)) {
        nlm_piece_slot *slot = &slots[at];
        if (slot->value < 0) return slot;
        if (slot->length == length && memcmp(slot->data, data, length) == 0) return slot;
    }
}

static bool resize(nlm_piece_map *map, size_t capacity) {
    nlm_piece_slot *slots = calloc(capacity, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < capacity; i++) slots[i].value = -1;
    for (size_t i = 0; i < map->capacity; i++) {
        const nlm_piece_slot *old = &map->slots[i];
        if (old->value < 0) continue;
        *probe(slots, capacity, nlm_piece_hash(old->data, old->length), old->data, old->length) = *old;
    }
    free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

bool nlm_piece_map_reserve(nlm_piece_map *map, size_t count) {
    size_t capacity = map->capacity ? map->capacity : 64;
    while (capacity / 4 * 3 < count) {
        if (capacity > SIZE_MAX / 4) return false;
        capacity *= 2;
    }
    return capacity == map->capacity || resize(map, capacity);
}

bool nlm_piece_map_add(nlm_piece_map *map, nlm_bytes key, int32_t value) {
    if (!nlm_piece_map_reserve(map, map->count + 1)) return false;
    const uint64_t hash = nlm_piece_hash(key.data, key.length);
    nlm_piece_slot *slot = probe(map->slots, map->capacity, hash, key.data, key.length);
    if (slot->value >= 0) return true;
    *slot = (nlm_piece_slot){key.data, key.length, value};
    map->count++;
    return true;
}

int32_t nlm_piece_map_find_hashed(const nlm_piece_map *map, uint64_t hash, const char *data, size_t length) {
    if (map->count == 0) return -1;
    return probe(map->slots, map->capacity, hash, data, length)->value;
}

int32_t nlm_piece_map_find(const nlm_piece_map *map, const char *data, size_t length) {
    return nlm_piece_map_find_hashed(map, nlm_piece_hash(data, length), data, length);
}

void nlm_piece_map_release(nlm_piece_map *map) {
    free(map->slots);
    *map = (nlm_piece_map){0};
}
