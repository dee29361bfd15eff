/* A grammar as an automaton over bytes whose edges may call rules: a pushdown automaton, one small graph a rule. */
#ifndef NLM_TEXT_GRAMMAR_PUSHDOWN_H
#define NLM_TEXT_GRAMMAR_PUSHDOWN_H

#include "text/grammar_tree.h"

typedef enum nlm_edge_kind { NLM_EDGE_EMPTY, NLM_EDGE_BYTES, NLM_EDGE_CALL } nlm_edge_kind;

typedef struct nlm_edge {
    uint32_t to;
    uint32_t rule;       /* of a CALL */
    uint8_t kind;        /* nlm_edge_kind */
    uint8_t first, last; /* of BYTES: any byte of these */
} nlm_edge;

enum {
    NLM_POSITION_END = 1,  /* its rule may end here, and nothing else can happen */
    NLM_POSITION_READS = 2 /* it has edges of bytes */
};

#define NLM_NEVER UINT32_MAX

/* Every position that is reached can be left: a text that the automaton has not refused can be completed. */
typedef struct nlm_pushdown {
    uint32_t n_positions, n_rules, root;
    nlm_edge *edges;
    uint32_t *first_edge; /* [n_positions + 1] */
    uint8_t *flags;       /* [n_positions] NLM_POSITION_* */
    uint32_t *shortest;   /* [n_positions] the fewest bytes to the end of its rule; NLM_NEVER: unused */
    uint32_t *entry;      /* [n_rules] */
} nlm_pushdown;

/* Makes the automaton of rules that were read; they may be released then. Rules are added to them.
 * Errors   the rules' own; BAD_FORMAT (a rule calls itself before it reads a byte: which; no text is ever complete),
 *          LIMIT (it becomes too large), OUT_OF_MEMORY. */
nlm_status nlm_pushdown_create(nlm_rules *rules, nlm_pushdown *out, nlm_error *err);
void nlm_pushdown_release(nlm_pushdown *program);

/* Edges of bytes that spell the code points of a finished set above U+007F, as UTF-8; `add` is told each. */
typedef void (*nlm_utf8_edge_fn)(void *user, uint32_t from, uint32_t to, uint8_t first, uint8_t last);
typedef uint32_t (*nlm_utf8_position_fn)(void *user);
typedef struct nlm_utf8_edges {
    void *user;
    nlm_utf8_edge_fn add;
    nlm_utf8_position_fn position; /* a new one */
    uint32_t from, to, any[4];     /* any[n]: n bytes before `to`, whatever they are; 0: not made yet */
} nlm_utf8_edges;
void nlm_utf8_edges_of(nlm_utf8_edges *made, const nlm_code_set *set);

#endif
