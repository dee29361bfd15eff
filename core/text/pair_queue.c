/* Pair counts in a hash table, and a heap of them that is brought up to date as it is emptied. */
#include "text/pair_queue.h"

#include <stdlib.h>

static nlm_pair_count *probe(nlm_pair_count *slots, size_t slot_count, uint32_t left, uint32_t right) {
    uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 32;
    for (size_t at = (size_t)hash & (slot_count - 1);; at = (at + 1) & (slot_count - 1)) {
        nlm_pair_count *slot = &slots[at];
        if (!slot->is_used || (slot->left == left && slot->right == right)) return slot;
    }
}

/* Room for one more pair. */
static bool grow_slots(nlm_pair_queue *queue) {
    if (queue->slot_count / 4 * 3 > queue->used) return true;
    const size_t slot_count = queue->slot_count ? 2 * queue->slot_count : 4096;
    nlm_pair_count *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < queue->slot_count; i++) {
        const nlm_pair_count *old = &queue->slots[i];
        if (old->is_used) *probe(slots, slot_count, old->left, old->right) = *old;
    }
    free(queue->slots);
    queue->slots = slots;
    queue->slot_count = slot_count;
    return true;
}

/* A larger array for `count` elements, or the same. NULL when memory runs out. */
static void *grow(void *array, size_t count, size_t *capacity, size_t element_bytes) {
    if (count < *capacity) return array;
    void *bigger = reallocarray(array, *capacity ? 2 * *capacity : 256, element_bytes);
    if (bigger) *capacity = *capacity ? 2 * *capacity : 256;
    return bigger;
}

/* Words come one after another, and with a pair several times each. */
static bool add_word(nlm_word_list *list, uint32_t word) {
    if (list->count > 0 && list->data[list->count - 1] == word) return true;
    if (list->count == list->capacity) {
        const uint32_t capacity = list->capacity ? 2 * list->capacity : 4;
        uint32_t *data = reallocarray(list->data, capacity, sizeof *data);
        if (!data) return false;
        list->data = data;
        list->capacity = capacity;
    }
    list->data[list->count++] = word;
    return true;
}

bool nlm_pair_queue_count(nlm_pair_queue *queue, uint32_t left, uint32_t right, int64_t change, uint32_t word) {
    if (!grow_slots(queue)) return false;
    nlm_pair_count *slot = probe(queue->slots, queue->slot_count, left, right);
    if (!slot->is_used) {
        *slot = (nlm_pair_count){.left = left, .right = right, .is_used = true};
        queue->used++;
    }
    slot->count += change;
    if (change <= 0) return true;
    if (slot->fresh == 0) {
        nlm_fresh_pair *fresh = grow(queue->fresh, queue->fresh_count, &queue->fresh_capacity, sizeof *fresh);
        if (!fresh) return false;
        queue->fresh = fresh;
        fresh[queue->fresh_count++] = (nlm_fresh_pair){.left = left, .right = right};
        slot->fresh = (uint32_t)queue->fresh_count;
    }
    return add_word(&queue->fresh[slot->fresh - 1].words, word);
}

static bool comes_before(const nlm_queued_pair *a, const nlm_queued_pair *b) {
    if (a->count != b->count) return a->count > b->count;
    if (a->left != b->left) return a->left < b->left;
    return a->right < b->right;
}

/* Puts `pair` in at or above position `at`, a hole. */
static void sift_up(nlm_queued_pair *heap, size_t at, const nlm_queued_pair *pair) {
    while (at > 0 && comes_before(pair, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = *pair;
}

/* Puts `pair` in at the top, a hole, or below. */
static void sift_down(nlm_queued_pair *heap, size_t count, const nlm_queued_pair *pair) {
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_before(&heap[child + 1], &heap[child])) child++;
        if (!comes_before(&heap[child], pair)) break;
        heap[at] = heap[child];
    }
    heap[at] = *pair;
}

bool nlm_pair_queue_flush(nlm_pair_queue *queue) {
    while (queue->fresh_count > 0) {
        nlm_fresh_pair *fresh = &queue->fresh[queue->fresh_count - 1];
        nlm_queued_pair *heap = grow(queue->heap, queue->heap_count, &queue->heap_capacity, sizeof *heap);
        if (!heap) return false;
        queue->heap = heap;
        nlm_pair_count *slot = probe(queue->slots, queue->slot_count, fresh->left, fresh->right);
        slot->fresh = 0;
        queue->fresh_count--;
        if (slot->count <= 0) { /* it came up, and went in the same merge */
            free(fresh->words.data);
            continue;
        }
        const nlm_queued_pair pair = {(uint64_t)slot->count, slot->left, slot->right, fresh->words};
        sift_up(heap, queue->heap_count++, &pair);
    }
    return true;
}

bool nlm_pair_queue_next(nlm_pair_queue *queue, nlm_queued_pair *out) {
    if (queue->heap_count == 0) return false;
    nlm_queued_pair *heap = queue->heap;
    for (;;) {
        nlm_queued_pair top = heap[0];
        const nlm_pair_count *slot = probe(queue->slots, queue->slot_count, top.left, top.right);
        const uint64_t count = slot->count > 0 ? (uint64_t)slot->count : 0;
        if (top.count == count) break;
        top.count = count;
        sift_down(heap, queue->heap_count, &top);
    }
    if (heap[0].count == 0) return false;
    *out = heap[0];
    const nlm_queued_pair last = heap[--queue->heap_count];
    if (queue->heap_count > 0) sift_down(heap, queue->heap_count, &last);
    return true;
}

void nlm_pair_queue_release(nlm_pair_queue *queue) {
    for (size_t i = 0; i < queue->heap_count; i++) free(queue->heap[i].words.data);
    for (size_t i = 0; i < queue->fresh_count; i++) free(queue->fresh[i].words.data);
    free(queue->slots);
    free(queue->heap);
    free(queue->fresh);
    *queue = (nlm_pair_queue){0};
}
