/* The texts of a vocabulary's tokens as a trie that is walked from front to back: for each node, where its subtree
 * ends, so that what cannot come is passed over in one step. */
#ifndef NLM_TEXT_TOKEN_TRIE_H
#define NLM_TEXT_TOKEN_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/piece_map.h"

typedef struct nlm_byte_set {
    uint64_t words[4];
} nlm_byte_set;

static inline void nlm_byte_set_add(nlm_byte_set *set, uint8_t byte) {
    set->words[byte / 64] |= UINT64_C(1) << (byte % 64);
}
/* Whether all of `part` is in `set`. */
static inline bool nlm_byte_set_holds(const nlm_byte_set *set, const nlm_byte_set *part) {
    uint64_t missing = 0;
    for (int i = 0; i < 4; i++) missing |= part->words[i] & ~set->words[i];
    return missing == 0;
}

#define NLM_TRIE_FEW 0u /* of nlm_trie_node.bytes: too few nodes for a set to be worth it */

typedef struct nlm_trie_node {
    uint32_t end;         /* the first node that is not below this one */
    uint32_t first_token; /* those that end here come first, then those below; up to the first of `end` */
    uint32_t depth;       /* bytes in front of this one */
    uint32_t bytes : 24;  /* those below, as an index of byte_sets */
    uint32_t byte : 8;
} nlm_trie_node;

typedef struct nlm_token_trie {
    nlm_trie_node *nodes; /* [n_nodes + 1] in the order of their texts; the last ends the tokens */
    uint32_t n_nodes;
    uint32_t depth;  /* of the longest text */
    int32_t *tokens; /* [n_tokens] ids in the order of their texts */
    uint32_t n_tokens;
    nlm_byte_set *byte_sets;
    uint32_t n_byte_sets;
    int32_t *ends; /* [n_ends] tokens that end a generation, which have no place in the trie */
    uint32_t n_ends;
} nlm_token_trie;

/* A token with its text, which is not empty. */
typedef struct nlm_trie_token {
    nlm_bytes text;
    int32_t id;
} nlm_trie_token;

/* Sorts `tokens`; copies `ends`. Errors   LIMIT (2^24 nodes), OUT_OF_MEMORY. */
nlm_status nlm_token_trie_create(nlm_trie_token *tokens, size_t count, const int32_t *ends, size_t n_ends,
                                 nlm_token_trie **out, nlm_error *err);
void nlm_token_trie_destroy(nlm_token_trie *trie);

#endif
