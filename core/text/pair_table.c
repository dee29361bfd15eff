/* A hash table from two symbols to the one they merge into. */
#include "text/pair_table.h"

#include <stdlib.h>

static nlm_pair *probe(nlm_pair *slots, size_t capacity, uint32_t left, uint32_t right) {
    uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 32;
    size_t at = (size_t)hash & (capacity - 1);
    for (;; at = (at + 1) & (capacity - 1)) {
        nlm_pair *slot = &slots[at];
        if (slot->result < 0 || (slot->left == left && slot->right == right)) return slot;
    }
}

static bool resize(nlm_pair_table *table, size_t capacity) {
    nlm_pair *slots = calloc(capacity, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < capacity; i++) slots[i].result = -1;
    for (size_t i = 0; i < table->capacity; i++) {
        const nlm_pair *old = &table->slots[i];
        if (old->result >= 0) *probe(slots, capacity, old->left, old->right) = *old;
    }
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return true;
}

bool nlm_pair_table_reserve(nlm_pair_table *table, size_t count) {
    size_t capacity = table->capacity ? table->capacity : 64;
    while (capacity / 4 * 3 < count) {
        if (capacity > SIZE_MAX / 4) return false;
        capacity *= 2;
    }
    return capacity == table->capacity || resize(table, capacity);
}

bool nlm_pair_table_add(nlm_pair_table *table, nlm_pair pair) {
    if (!nlm_pair_table_reserve(table, table->count + 1)) return false;
    nlm_pair *slot = probe(table->slots, table->capacity, pair.left, pair.right);
    if (slot->result >= 0) return true;
    *slot = pair;
    table->count++;
    return true;
}

const nlm_pair *nlm_pair_table_find(const nlm_pair_table *table, uint32_t left, uint32_t right) {
    if (table->count == 0) return NULL;
    const nlm_pair *slot = probe(table->slots, table->capacity, left, right);
    return slot->result >= 0 ? slot : NULL;
}

void nlm_pair_table_release(nlm_pair_table *table) {
    free(table->slots);
    *table = (nlm_pair_table){0};
}
