/* From edges as they were made to an automaton that is checked, without what can never be completed. */
#ifndef NLM_TEXT_GRAMMAR_SHORTEST_H
#define NLM_TEXT_GRAMMAR_SHORTEST_H

#include "text/grammar_pushdown.h"

typedef struct nlm_from_edge {
    uint32_t from;
    nlm_edge edge;
} nlm_from_edge;

/* Position 0 is an edge's nowhere. */
typedef struct nlm_loose_automaton {
    const nlm_rules *rules;
    uint32_t n_positions;
    const nlm_from_edge *edges;
    size_t n_edges;
    const uint32_t *entry, *end; /* of each rule */
} nlm_loose_automaton;

/* Fills a zeroed automaton, which the caller releases after an error too. Errors as nlm_pushdown_create. */
nlm_status nlm_pushdown_tighten(const nlm_loose_automaton *loose, nlm_pushdown *out, nlm_error *err);

/* Errors   BAD_FORMAT (a rule that calls itself before a byte was read). */
nlm_status nlm_check_left_recursion(const nlm_loose_automaton *loose, const nlm_pushdown *program, nlm_error *err);

#endif
