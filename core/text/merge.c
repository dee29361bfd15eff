/* The queue of candidate merges that both kinds of encoders work off. */
#include "text/merge.h"

#include <stdlib.h>

static bool reserve(void **data, size_t *capacity, size_t needed, size_t element_bytes) {
    if (needed <= *capacity) return true;
    const size_t target = *capacity ? *capacity * 2 : 64;
    if (target > SIZE_MAX / element_bytes) return false;
    void *grown = realloc(*data, target * element_bytes);
    if (!grown) return false;
    *data = grown;
    *capacity = target;
    return true;
}

bool nlm_merger_push(nlm_merger *merger, int32_t id, uint32_t offset) {
    if (!reserve((void **)&merger->symbols, &merger->capacity, merger->count + 1, sizeof *merger->symbols)) {
        return false;
    }
    const uint32_t previous = (uint32_t)merger->count - 1; /* unused in the first symbol */
    merger->symbols[merger->count++] = (nlm_merge_symbol){id, 1, previous, offset};
    return true;
}

static void sift_down(nlm_merge_candidate *heap, size_t count, size_t at) {
    const nlm_merge_candidate moving = heap[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1].key < heap[child].key) child++;
        if (moving.key <= heap[child].key) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

static void sift_up(nlm_merge_candidate *heap, size_t at) {
    const nlm_merge_candidate moving = heap[at];
    while (at > 0 && moving.key < heap[(at - 1) / 2].key) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = moving;
}

/* Appends the candidate that `left` makes with its neighbour, if they merge, in no order. */
static bool add_candidate(nlm_merger *merger, const nlm_pair_table *table, uint32_t left) {
    const nlm_merge_symbol *a = &merger->symbols[left];
    const size_t right = (size_t)left + a->count;
    if (right >= merger->count) return true;
    const nlm_merge_symbol *b = &merger->symbols[right];
    if (a->id < 0 || b->id < 0) return true;
    const nlm_pair *pair = nlm_pair_table_find(table, (uint32_t)a->id, (uint32_t)b->id);
    if (!pair) return true;
    if (!reserve((void **)&merger->heap, &merger->heap_capacity, merger->heap_count + 1, sizeof *merger->heap)) {
        return false;
    }
    if (merger->parts) merger->parts[pair->result] = (nlm_merge_parts){a->id, b->id};
    merger->heap[merger->heap_count++] =
        (nlm_merge_candidate){(uint64_t)pair->rank << 32 | left, a->count + b->count, pair->result};
    return true;
}

static bool queue_candidate(nlm_merger *merger, const nlm_pair_table *table, uint32_t left) {
    const size_t before = merger->heap_count;
    if (!add_candidate(merger, table, left)) return false;
    if (merger->heap_count > before) sift_up(merger->heap, before);
    return true;
}

static nlm_merge_candidate pop(nlm_merger *merger) {
    const nlm_merge_candidate best = merger->heap[0];
    merger->heap[0] = merger->heap[--merger->heap_count];
    if (merger->heap_count > 1) sift_down(merger->heap, merger->heap_count, 0);
    return best;
}

/* A symbol only ever grows to the right by whole neighbours, so a candidate still stands if and only
 * if its left symbol is live and reaches as far with its present neighbour. */
static bool apply(nlm_merger *merger, const nlm_pair_table *table, nlm_merge_candidate best) {
    const uint32_t left = (uint32_t)best.key;
    nlm_merge_symbol *a = &merger->symbols[left];
    if (a->count == 0 || left + (size_t)a->count >= merger->count) return true;
    nlm_merge_symbol *b = a + a->count;
    if (a->count + b->count != best.count) return true;
    a->id = best.result;
    a->count = best.count;
    b->count = 0;
    const size_t next = (size_t)left + a->count;
    if (next < merger->count) merger->symbols[next].previous = left;
    if (left > 0 && !queue_candidate(merger, table, a->previous)) return false;
    return queue_candidate(merger, table, left);
}

bool nlm_merger_run(nlm_merger *merger, const nlm_pair_table *table) {
    merger->heap_count = 0;
    for (size_t i = 0; i < merger->count; i++) {
        if (!add_candidate(merger, table, (uint32_t)i)) return false;
    }
    for (size_t i = merger->heap_count / 2; i > 0; i--) sift_down(merger->heap, merger->heap_count, i - 1);
    while (merger->heap_count > 0) {
        if (!apply(merger, table, pop(merger))) return false;
    }
    return true;
}

void nlm_merger_release(nlm_merger *merger) {
    free(merger->symbols);
    free(merger->heap);
    *merger = (nlm_merger){0};
}
