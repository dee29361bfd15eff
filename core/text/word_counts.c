/* A hash table from words to counts. */
#include "text/word_counts.h"

#include <stdlib.h>
#include <string.h>

#define FACTOR UINT64_C(0x9E3779B97F4A7C15)

/* Eight bytes at a time: most words are no longer. */
static uint32_t hash_of(const char *data, size_t length) {
    uint64_t hash = length * FACTOR, eight;
    for (; length >= sizeof eight; data += sizeof eight, length -= sizeof eight) {
        memcpy(&eight, data, sizeof eight);
        hash = (hash ^ eight) * FACTOR;
        hash ^= hash >> 32;
    }
    eight = 0;
    memcpy(&eight, data, length);
    hash = (hash ^ eight) * FACTOR;
    return (uint32_t)(hash >> 32);
}

static uint32_t *probe(const nlm_word_counts *counts, uint32_t hash, const char *word, size_t length) {
    const size_t mask = counts->slot_count - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        uint32_t *slot = &counts->slots[at];
        if (*slot == 0) return slot;
        const nlm_word *other = &counts->words[*slot - 1];
        if (other->hash == hash && other->length == length &&
            memcmp(counts->text.data + other->offset, word, length) == 0) {
            return slot;
        }
    }
}

/* Room for one more slot. */
static bool grow_slots(nlm_word_counts *counts) {
    if (counts->slot_count / 4 * 3 > counts->count) return true;
    const size_t slot_count = counts->slot_count ? 2 * counts->slot_count : 1024;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < counts->count; i++) {
        size_t at = counts->words[i].hash & (slot_count - 1);
        while (slots[at]) at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)(i + 1);
    }
    free(counts->slots);
    counts->slots = slots;
    counts->slot_count = slot_count;
    return true;
}

static bool grow_words(nlm_word_counts *counts) {
    if (counts->count < counts->capacity) return true;
    const size_t capacity = counts->capacity ? 2 * counts->capacity : 512;
    nlm_word *words = reallocarray(counts->words, capacity, sizeof *words);
    if (!words) return false;
    counts->words = words;
    counts->capacity = capacity;
    return true;
}

bool nlm_word_counts_add(nlm_word_counts *counts, const char *word, size_t length, uint64_t times) {
    if (length > UINT32_MAX || counts->count >= UINT32_MAX - 1 || !grow_slots(counts)) return false;
    const uint32_t hash = hash_of(word, length);
    uint32_t *slot = probe(counts, hash, word, length);
    if (*slot) {
        counts->words[*slot - 1].count += times;
        return true;
    }
    if (!grow_words(counts)) return false;
    const size_t offset = counts->text.length;
    nlm_str_append(&counts->text, word, length);
    if (counts->text.has_failed) return false;
    counts->words[counts->count++] = (nlm_word){offset, times, (uint32_t)length, hash};
    *slot = (uint32_t)counts->count;
    return true;
}

bool nlm_word_counts_take(nlm_word_counts *counts, nlm_word_counts *from) {
    if (counts->count == 0) {
        nlm_word_counts_release(counts);
        *counts = *from;
        *from = (nlm_word_counts){0};
        return true;
    }
    for (size_t i = 0; i < from->count; i++) {
        const nlm_word *word = &from->words[i];
        if (!nlm_word_counts_add(counts, nlm_word_text(from, i), word->length, word->count)) return false;
    }
    nlm_word_counts_release(from);
    return true;
}

void nlm_word_counts_release(nlm_word_counts *counts) {
    nlm_str_release(&counts->text);
    free(counts->words);
    free(counts->slots);
    *counts = (nlm_word_counts){0};
}
