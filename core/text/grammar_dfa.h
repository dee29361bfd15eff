/* Finite automata over code points: what several conditions on one string or number have in common. */
#ifndef NLM_TEXT_GRAMMAR_DFA_H
#define NLM_TEXT_GRAMMAR_DFA_H

#include "text/grammar_tree.h"

#define NLM_DFA_DEAD UINT32_MAX

/* Of the rules' arena, never changed once made. State 0 is the start. */
typedef struct nlm_dfa {
    uint32_t n_states; /* 0: no text matches */
    uint32_t n_classes;
    uint32_t *bounds;  /* [n_classes + 1] class c is of the code points bounds[c] to bounds[c + 1] - 1 */
    uint32_t *next;    /* [n_states, n_classes], or NLM_DFA_DEAD */
    uint8_t *is_final; /* [n_states] */
} nlm_dfa;

/* None is NULL: after a failure, which is kept in the rules, nothing matches. States from which no final one is
 * reached are left out. Failures: LIMIT (more states than there may be, or too much work), OUT_OF_MEMORY. */

/* Of a tree that nlm_regex_read has read. */
const nlm_dfa *nlm_dfa_of_tree(nlm_rules *rules, const nlm_tree *tree);
/* Any texts of least to most code points. */
const nlm_dfa *nlm_dfa_of_length(nlm_rules *rules, uint32_t least, uint32_t most);
/* These texts alone. */
const nlm_dfa *nlm_dfa_of_words(nlm_rules *rules, const char *const *words, size_t count);
const nlm_dfa *nlm_dfa_intersect(nlm_rules *rules, const nlm_dfa *a, const nlm_dfa *b);
const nlm_dfa *nlm_dfa_complement(nlm_rules *rules, const nlm_dfa *a);
bool nlm_dfa_is_empty(const nlm_dfa *dfa);
bool nlm_dfa_matches(const nlm_dfa *dfa, const char *text);

/* One with these states and classes, no final state and no way between any, to be filled; NULL after a failure. */
nlm_dfa *nlm_dfa_new(nlm_rules *rules, uint32_t n_states, uint32_t n_classes);
const nlm_dfa *nlm_dfa_trim(nlm_rules *rules, const nlm_dfa *dfa);

/* A graph that reads what the automaton does: code points as they are or, within a JSON string, as one writes them
 * there. */
const nlm_tree *nlm_dfa_tree(nlm_rules *rules, const nlm_dfa *dfa, bool is_in_string);

#endif
