/* Sets of stacks of positions, each set there once: what a pushdown automaton may be in the middle of.
 *
 * A set is a list of entries (position, set of what may stand below), ascending, one for each position that stands on
 * top of any of its stacks; so two sets are the same if and only if their numbers are. Set 0 has no stack, set 1 the
 * empty stack alone. A state of the automaton is the set of the stacks whose tops read bytes, and the empty stack
 * where the text may end. Sets are made from below: those below have smaller numbers. */
#ifndef NLM_TEXT_GRAMMAR_STACKS_H
#define NLM_TEXT_GRAMMAR_STACKS_H

#include "text/grammar_pushdown.h"

#define NLM_STACKS_NONE  0u
#define NLM_STACKS_EMPTY 1u
#define NLM_BOTTOM       0u         /* the position of the empty stack's entry, below which there is nothing */
#define NLM_UNKNOWN      UINT32_MAX /* of a transition: not computed yet */

typedef struct nlm_stack_entry {
    uint32_t position;
    uint32_t below;
} nlm_stack_entry;

typedef struct nlm_stack_set {
    uint32_t first, count; /* of `entries` */
    uint32_t hash;
    uint32_t shortest; /* the fewest bytes after which a text may end here */
    uint32_t depth;    /* of its highest stack */
    uint32_t *next;    /* [256] as a state: the state after each byte, or NLM_UNKNOWN; NULL: none is known */
    uint32_t *mask;    /* of tokens, as a state; NULL: not known */
} nlm_stack_set;

typedef struct nlm_stacks {
    const nlm_pushdown *program;
    nlm_stack_set *sets;
    uint32_t n_sets, sets_capacity;
    nlm_stack_entry *entries;
    uint32_t n_entries, entries_capacity;
    uint32_t *slots; /* [n_slots] of sets by hash; 0: free */
    uint32_t n_slots;
    struct nlm_union *unions; /* [n_unions] a cache of them */
    uint32_t n_unions;
    uint64_t n_tables, n_masks; /* nexts and masks there are */
    uint64_t work;              /* that may still be done in this call */
    unsigned depth;             /* of unions within unions */
    nlm_status status;          /* why a set could not be made, in this call */
} nlm_stacks;

typedef struct nlm_union {
    uint32_t a, b, made; /* a < b; a 0: free */
} nlm_union;

/* A zeroed one becomes the two first sets. Release it after an error too. Errors OUT_OF_MEMORY. */
nlm_status nlm_stacks_begin(nlm_stacks *s, const nlm_pushdown *program);
void nlm_stacks_release(nlm_stacks *s);
uint64_t nlm_stacks_bytes(const nlm_stacks *s); /* without masks */

/* The set of these entries, which ascend. After a failure, kept in `status`, 0. */
uint32_t nlm_stacks_set(nlm_stacks *s, const nlm_stack_entry *entries, uint32_t count);
uint32_t nlm_stacks_union(nlm_stacks *s, uint32_t a, uint32_t b);
/* Counts work; false, and a failure, when it is too much. */
bool nlm_stacks_spend(nlm_stacks *s, uint32_t work);
nlm_status nlm_stacks_explain(const nlm_stacks *s, nlm_error *err);

/* Drops all sets but those that `roots` need, which are renumbered in place. Transitions and masks go. */
nlm_status nlm_stacks_compact(nlm_stacks *s, uint32_t *const *roots, size_t count, nlm_error *err);

#endif
