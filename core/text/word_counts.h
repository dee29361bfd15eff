/* The distinct words of much text, and how often each of them came. */
#ifndef NLM_TEXT_WORD_COUNTS_H
#define NLM_TEXT_WORD_COUNTS_H

#include "base/str.h"

#include <stdint.h>

typedef struct nlm_word {
    size_t offset; /* of its bytes in nlm_word_counts.text */
    uint64_t count;
    uint32_t length;
    uint32_t hash;
} nlm_word;

/* Zeroed is empty. */
typedef struct nlm_word_counts {
    nlm_str text;    /* the words, end to end */
    nlm_word *words; /* in the order they first came */
    size_t count, capacity;
    uint32_t *slots;   /* 1 + index of a word, 0 is free; linear probing, at most three quarters full */
    size_t slot_count; /* 0 or a power of two */
} nlm_word_counts;

/* Counts a word `times` times. False when memory runs out, or numbers of 32 bits for the words or its length. */
bool nlm_word_counts_add(nlm_word_counts *counts, const char *word, size_t length, uint64_t times);
/* Adds what `from` has counted, which is empty afterwards. False as above; some words are then added. */
bool nlm_word_counts_take(nlm_word_counts *counts, nlm_word_counts *from);
void nlm_word_counts_release(nlm_word_counts *counts);

static inline const char *nlm_word_text(const nlm_word_counts *counts, size_t index) {
    return counts->text.data + counts->words[index].offset;
}

#endif
