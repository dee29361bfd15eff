/* The pairs of symbols that stand side by side in words: how often, in which words, the most frequent first. What
 * byte-pair training picks its merges from. */
#ifndef NLM_TEXT_PAIR_QUEUE_H
#define NLM_TEXT_PAIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word of the text as symbols. */
typedef struct nlm_symbol_word {
    size_t start; /* in the array of all symbols */
    uint64_t count;
    uint32_t length; /* it shrinks as its symbols merge */
} nlm_symbol_word;

/* Numbers of words, ascending as they are added. */
typedef struct nlm_word_list {
    uint32_t *data;
    uint32_t count, capacity;
} nlm_word_list;

/* What is known of a pair. Counts go down too, and below what the queue remembers. */
typedef struct nlm_pair_count {
    uint32_t left, right;
    int64_t count;
    uint32_t fresh; /* 1 + index of the words it came up in since the last flush, or 0 */
    bool is_used;
} nlm_pair_count;

typedef struct nlm_fresh_pair {
    uint32_t left, right;
    nlm_word_list words;
} nlm_fresh_pair;

typedef struct nlm_queued_pair {
    uint64_t count; /* when it was put in, or last looked at */
    uint32_t left, right;
    nlm_word_list words;
} nlm_queued_pair;

/* Zeroed is empty. */
typedef struct nlm_pair_queue {
    nlm_pair_count *slots; /* a hash table; linear probing, at most three quarters full */
    size_t slot_count, used;
    nlm_queued_pair *heap;
    size_t heap_count, heap_capacity;
    nlm_fresh_pair *fresh;
    size_t fresh_count, fresh_capacity;
} nlm_pair_queue;

/* Adds `change` to the count of a pair; for more of it, `word` is where. False when memory runs out. */
bool nlm_pair_queue_count(nlm_pair_queue *queue, uint32_t left, uint32_t right, int64_t change, uint32_t word);
/* Queues what came up since the last flush, each pair with the words it came up in. False when memory runs out. */
bool nlm_pair_queue_flush(nlm_pair_queue *queue);
/* Takes the most frequent pair out, of equals that with the lowest symbols; its words belong to the caller, who frees
 * words.data. False when none is left. */
bool nlm_pair_queue_next(nlm_pair_queue *queue, nlm_queued_pair *out);
void nlm_pair_queue_release(nlm_pair_queue *queue);

#endif
