/* A grammar as rules of trees: what GBNF and JSON Schema are read into, and automata are made from. */
#ifndef NLM_TEXT_GRAMMAR_TREE_H
#define NLM_TEXT_GRAMMAR_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

#define NLM_CODE_MAX   0x10FFFFu
#define NLM_NO_LIMIT   UINT32_MAX /* of a repeat: any number of times */
#define NLM_GRAMMAR_AT "grammar"  /* where of what is too large, as no line is to blame */

typedef struct nlm_code_range {
    uint32_t first, last;
} nlm_code_range;

/* A set of code points. Once finished its ranges ascend and do not touch. */
typedef struct nlm_code_set {
    nlm_code_range *ranges; /* of the rules' arena */
    size_t count, capacity;
} nlm_code_set;

typedef enum nlm_tree_kind {
    NLM_TREE_TEXT,     /* these bytes */
    NLM_TREE_SET,      /* one code point of a set, as UTF-8 */
    NLM_TREE_SEQUENCE, /* all items, one behind the other; none: the empty text */
    NLM_TREE_CHOICE,   /* one of the items; none: no text matches */
    NLM_TREE_REPEAT,   /* an item, so many times */
    NLM_TREE_RULE,     /* what a rule stands for */
    NLM_TREE_GRAPH     /* the edges along a way from state 0 to a final state */
} nlm_tree_kind;

typedef struct nlm_tree nlm_tree;

typedef struct nlm_graph_edge {
    uint32_t from, to;
    const nlm_tree *tree;
} nlm_graph_edge;

struct nlm_tree {
    nlm_tree_kind kind;
    union {
        struct {
            const char *bytes;
            size_t length;
        } text;
        nlm_code_set set;
        struct {
            const nlm_tree **items;
            size_t count, capacity;
        } list; /* SEQUENCE, CHOICE */
        struct {
            const nlm_tree *item;
            uint32_t least, most;
        } repeat;
        uint32_t rule;
        struct {
            nlm_graph_edge *edges;
            size_t n_edges, capacity;
            uint32_t n_states;
            uint8_t *is_final; /* [n_states] */
        } graph;
    };
};

typedef struct nlm_rule {
    const char *name;     /* for errors; NULL: made by the compiler */
    const nlm_tree *body; /* NULL until it is defined */
    uint32_t line;        /* where it was first named */
} nlm_rule;

/* Zeroed is empty. The first failure is kept, and what is made after it is of no use: make freely and look once. */
typedef struct nlm_rules {
    nlm_arena arena;
    nlm_rule *items;
    size_t count, capacity;
    uint32_t root;
    uint64_t n_parts; /* trees, edges and ranges made, which is bounded */
    nlm_status status;
    nlm_error error;
} nlm_rules;

void nlm_rules_release(nlm_rules *rules);
/* Keeps the failure if it is the first. */
void nlm_rules_fail(nlm_rules *rules, nlm_status code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));
/* Returns the new rule's number, 0 after a failure. The name is borrowed. */
uint32_t nlm_rules_add(nlm_rules *rules, const char *name, uint32_t line);
/* Memory of the arena, zeroed; NULL after a failure, which it may be. */
void *nlm_rules_alloc(nlm_rules *rules, size_t count, size_t element_bytes);

/* Trees are never NULL: after a failure they are the empty text. Those that are not const may be added to. */
const nlm_tree *nlm_tree_text(nlm_rules *rules, const char *bytes, size_t length); /* copied */
const nlm_tree *nlm_tree_string(nlm_rules *rules, const char *string);
const nlm_tree *nlm_tree_set(nlm_rules *rules, const nlm_code_set *set); /* a finished one */
const nlm_tree *nlm_tree_repeat(nlm_rules *rules, const nlm_tree *item, uint32_t least, uint32_t most);
const nlm_tree *nlm_tree_rule(nlm_rules *rules, uint32_t rule);
nlm_tree *nlm_tree_sequence(nlm_rules *rules);
nlm_tree *nlm_tree_choice(nlm_rules *rules);
void nlm_tree_add(nlm_rules *rules, nlm_tree *list, const nlm_tree *item);
nlm_tree *nlm_tree_graph(nlm_rules *rules, uint32_t n_states);
void nlm_tree_connect(nlm_rules *rules, nlm_tree *graph, uint32_t from, uint32_t to, const nlm_tree *tree);

/* A growing array of the arena: room for one more element. NULL after a failure. */
void *nlm_rules_grow(nlm_rules *rules, void *items, size_t count, size_t *capacity, size_t element_bytes);

void nlm_code_set_add(nlm_rules *rules, nlm_code_set *set, uint32_t first, uint32_t last);
void nlm_code_set_finish(nlm_code_set *set);
/* A finished set of all code points that are not in a finished set. */
nlm_code_set nlm_code_set_complement(nlm_rules *rules, const nlm_code_set *set);
bool nlm_code_set_has(const nlm_code_set *set, uint32_t code);

#endif
