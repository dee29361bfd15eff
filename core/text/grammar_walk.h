/* A pushdown automaton run over bytes: its states are made when they are first reached, and so are the ways between
 * them, which then cost as much as those of a finite automaton. */
#ifndef NLM_TEXT_GRAMMAR_WALK_H
#define NLM_TEXT_GRAMMAR_WALK_H

#include "text/grammar_stacks.h"
#include "text/token_trie.h"

/* What one call may do: some tenths of a second. */
#define NLM_WALK_WORK (UINT64_C(20) << 20)

/* A set that may stand below a position, and the next of that position. */
typedef struct nlm_walk_pending {
    uint32_t set, next; /* next: index + 1; 0: none */
} nlm_walk_pending;

typedef struct nlm_walk {
    const nlm_pushdown *program;
    nlm_stacks stacks;
    uint32_t start; /* the first state */
    /* Of the state that is being made: */
    uint32_t *below;         /* [n_positions] what may stand below a position that was reached; 0: it was not */
    uint32_t *reached;       /* [n_positions] those that were */
    uint32_t *queue;         /* [n_positions] a ring of those to go on from */
    uint8_t *is_queued;      /* [n_positions] */
    uint32_t *first_pending; /* [n_positions] sets to be joined with `below`: index of `pending` + 1, or 0 */
    nlm_walk_pending *pending;
    uint32_t *joined; /* [pending_capacity] room to join them in */
    uint32_t n_pending, pending_capacity;
    uint32_t n_reached, queue_first, n_queued;
    bool may_end;
    uint32_t *path; /* [path_capacity] states along a way down a trie */
    uint32_t path_capacity;
} nlm_walk;

/* A zeroed one stands at the start of a program, which is borrowed. Release it after an error too. Errors
 * OUT_OF_MEMORY, LIMIT. */
nlm_status nlm_walk_begin(nlm_walk *walk, const nlm_pushdown *program, nlm_error *err);
void nlm_walk_release(nlm_walk *walk);

/* At the head of each call that steps: what it may do, and whether that was too much, begin anew. */
static inline void nlm_walk_renew(nlm_walk *walk) {
    walk->stacks.work = NLM_WALK_WORK;
    walk->stacks.status = NLM_OK;
}

/* The state after a byte; NLM_STACKS_NONE where it may not come, and after a failure (stacks.status). */
uint32_t nlm_walk_step_slowly(nlm_walk *walk, uint32_t state, uint8_t byte);
static inline uint32_t nlm_walk_step(nlm_walk *walk, uint32_t state, uint8_t byte) {
    const uint32_t *next = walk->stacks.sets[state].next;
    return next && next[byte] != NLM_UNKNOWN ? next[byte] : nlm_walk_step_slowly(walk, state, byte);
}
/* The state after text[0..length), or NLM_STACKS_NONE; *out_count: how many of its bytes may come. */
uint32_t nlm_walk_text(nlm_walk *walk, uint32_t state, const char *text, size_t length, size_t *out_count);

/* Sets the bit of each token of the trie that may come after a state, in zeroed words. Errors   LIMIT,
 * OUT_OF_MEMORY. */
nlm_status nlm_walk_tokens(nlm_walk *walk, uint32_t state, const nlm_token_trie *trie, uint32_t *bits,
                           nlm_error *err);

#endif
