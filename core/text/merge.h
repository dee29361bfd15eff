/* Byte-pair merging of one word with a priority queue: O(n log n). SentencePiece's BPE and byte-level
 * BPE differ in what the symbols are and what ranks a pair, not in this. */
#ifndef NLM_TEXT_MERGE_H
#define NLM_TEXT_MERGE_H

#include "text/pair_table.h"

/* The symbols of a word stay where they were put: a merged symbol stands at the index of its first
 * one, and the next live symbol is at index + count. */
typedef struct nlm_merge_symbol {
    int32_t id;        /* -1: merges with nothing */
    uint32_t count;    /* how many symbols it now spans; 0: it is inside another */
    uint32_t previous; /* the live symbol before it */
    uint32_t offset;   /* where it starts in the text: the caller's business */
} nlm_merge_symbol;

typedef struct nlm_merge_candidate {
    uint64_t key;   /* rank, then index of the left symbol: the least is merged first */
    uint32_t count; /* of both together: tells candidates that a merge has overtaken */
    int32_t result;
} nlm_merge_candidate;

/* The two ids that an id was last merged from. */
typedef struct nlm_merge_parts {
    int32_t left, right;
} nlm_merge_parts;

/* Scratch memory, used for one word after another. Zeroed is ready; not thread-safe. */
typedef struct nlm_merger {
    nlm_merge_symbol *symbols;
    size_t count, capacity;
    nlm_merge_candidate *heap;
    size_t heap_count, heap_capacity;
    nlm_merge_parts *parts; /* NULL, or the caller's array over all ids, kept up to date */
} nlm_merger;

/* Appends a symbol to the word; false when memory runs out. A word holds less than 2^32 symbols. */
bool nlm_merger_push(nlm_merger *merger, int32_t id, uint32_t offset);
/* Merges the pair of lowest rank, the leftmost of equals, until none is in the table; false when
 * memory runs out. Set merger->count to 0 to begin the next word. */
bool nlm_merger_run(nlm_merger *merger, const nlm_pair_table *table);
void nlm_merger_release(nlm_merger *merger);

#endif
