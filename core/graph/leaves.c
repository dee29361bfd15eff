/* Which value of a graph stands for a weight, a state or a parameter: a table by address, so that a graph of many
 * layers is built in a time that grows as they do. */
#include <stdlib.h>

#include "graph/graph_impl.h"

static uint32_t slot_of(const nlm_leaves *leaves, const void *object, nlm_value_kind kind) {
    const uint64_t hash = (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t slot = (uint32_t)(hash >> 32) & (leaves->capacity - 1);
    for (;; slot = (slot + 1) & (leaves->capacity - 1)) {
        const nlm_leaf *leaf = &leaves->entries[slot];
        if (!leaf->object || (leaf->object == object && leaf->kind == kind)) return slot;
    }
}

nlm_value nlm_leaves_find(const nlm_leaves *leaves, const void *object, nlm_value_kind kind) {
    if (leaves->capacity == 0) return NLM_NO_VALUE;
    const nlm_leaf *leaf = &leaves->entries[slot_of(leaves, object, kind)];
    return leaf->object ? leaf->value : NLM_NO_VALUE;
}

static bool grow(nlm_leaves *leaves) {
    nlm_leaves larger = {.capacity = leaves->capacity ? leaves->capacity * 2 : 64, .count = leaves->count};
    larger.entries = calloc(larger.capacity, sizeof *larger.entries);
    if (!larger.entries) return false;
    for (uint32_t i = 0; i < leaves->capacity; i++) {
        const nlm_leaf *leaf = &leaves->entries[i];
        if (leaf->object) larger.entries[slot_of(&larger, leaf->object, leaf->kind)] = *leaf;
    }
    free(leaves->entries);
    *leaves = larger;
    return true;
}

bool nlm_leaves_add(nlm_leaves *leaves, const void *object, nlm_value_kind kind, nlm_value value) {
    if (2 * (leaves->count + 1) > leaves->capacity && !grow(leaves)) return false;
    leaves->entries[slot_of(leaves, object, kind)] = (nlm_leaf){object, kind, value};
    leaves->count++;
    return true;
}
