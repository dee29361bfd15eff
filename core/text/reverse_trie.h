/* Finds, at every place of a text, the longest of many patterns that begins there: the automaton of Aho and
 * Corasick (1975) over the patterns read from their ends, so that a text is gone through once, from its end. */
#ifndef NLM_TEXT_REVERSE_TRIE_H
#define NLM_TEXT_REVERSE_TRIE_H

#include "text/piece_map.h"

#include <nlm/status.h>

/* A pattern that is not empty; of several of the same text the one with the least id counts. */
typedef struct nlm_pattern {
    nlm_bytes text;
    int32_t id;
} nlm_pattern;

/* States are numbered level by level, 0 is the root. A state stands for the bytes on the way to it, read
 * backwards. */
typedef struct nlm_reverse_trie {
    nlm_pattern *patterns; /* a copy, sorted by their reversed bytes, without doubles */
    size_t count;
    uint32_t n_states;     /* 0: there are no patterns */
    uint32_t *first_child; /* [n_states + 1]: a state's children are first_child[s] .. first_child[s+1]-1 */
    uint32_t *failure;     /* [n_states]: the state of the longest proper suffix of what this one stands for */
    uint32_t *longest;     /* [n_states]: 1 + the index of the longest pattern that begins here; 0: none */
    unsigned char *byte;   /* [n_states]: on the way from the parent */
    uint32_t of_root[256]; /* the root's children by byte; 0: none */
} nlm_reverse_trie;

/* The patterns' bytes are borrowed. Time and memory are linear in the bytes of all patterns, sorting apart.
 * Errors LIMIT (4 GiB of them), OUT_OF_MEMORY. Release `out` after an error too. */
nlm_status nlm_reverse_trie_create(const nlm_pattern *patterns, size_t count, nlm_reverse_trie *out, nlm_error *err);
void nlm_reverse_trie_release(nlm_reverse_trie *trie);

/* The state after the byte before those read so far. A walk of n bytes takes at most 2n looks at children. */
uint32_t nlm_reverse_trie_step(const nlm_reverse_trie *trie, uint32_t state, unsigned char byte);

#endif
