/* What a chat template says, as a tree. */
#ifndef NLM_TEXT_JINJA_TREE_H
#define NLM_TEXT_JINJA_TREE_H

#include "base/arena.h"
#include "text/jinja_value.h"

/* What a node holds of a, b, c, list and name. Lists go on by `next`. */
typedef enum nlm_jinja_node_kind {
    /* expressions */
    NLM_JINJA_CONSTANT,  /* value */
    NLM_JINJA_NAME,      /* name */
    NLM_JINJA_LIST_OF,   /* list */
    NLM_JINJA_TUPLE_OF,  /* list */
    NLM_JINJA_DICT_OF,   /* list of PAIR */
    NLM_JINJA_PAIR,      /* a: b */
    NLM_JINJA_ATTRIBUTE, /* a.name */
    NLM_JINJA_ITEM,      /* a[b] */
    NLM_JINJA_SLICE,     /* [a:b:c], each or NULL; the b of an ITEM */
    NLM_JINJA_CALL,      /* a(list) */
    NLM_JINJA_NAMED,     /* name=a, in the list of a call */
    NLM_JINJA_SPREAD,    /* *a; op is STAR, or POWER for **a */
    NLM_JINJA_FILTER,    /* a | name(list); a NULL: the text of a block */
    NLM_JINJA_TEST,      /* a is name(list) */
    NLM_JINJA_NOT,       /* a */
    NLM_JINJA_AND,       /* a, b */
    NLM_JINJA_OR,        /* a, b */
    NLM_JINJA_SIGN,      /* op: MINUS or PLUS; a */
    NLM_JINJA_BINARY,    /* a op b */
    NLM_JINJA_COMPARE,   /* a, then a list of OPERAND */
    NLM_JINJA_OPERAND,   /* op, a */
    NLM_JINJA_CONDITION, /* b if a else c, which may be NULL */
    /* statements */
    NLM_JINJA_TEXT,         /* value */
    NLM_JINJA_PRINT,        /* a */
    NLM_JINJA_IF,           /* list of BRANCH */
    NLM_JINJA_BRANCH,       /* a, or NULL for else; list: the body */
    NLM_JINJA_FOR,          /* for a in b if c, each but c; list: the body; alternative; op STAR: recursive */
    NLM_JINJA_SET,          /* a = b */
    NLM_JINJA_SET_BLOCK,    /* a = list, through the filters b, or NULL */
    NLM_JINJA_MACRO,        /* name; a: the first PARAMETER, or NULL; list: the body */
    NLM_JINJA_PARAMETER,    /* name=a, which may be NULL */
    NLM_JINJA_CALL_BLOCK,   /* b: a CALL; a: as of MACRO; list: the body */
    NLM_JINJA_FILTER_BLOCK, /* b: filters; list */
    NLM_JINJA_WITH,         /* a: the first SET; list */
    NLM_JINJA_SCOPE,        /* list: a {% generation %} */
    NLM_JINJA_LEAVE         /* op: STAR for break, PLUS for continue */
} nlm_jinja_node_kind;

typedef enum nlm_jinja_operator {
    NLM_JINJA_PLUS,
    NLM_JINJA_MINUS,
    NLM_JINJA_STAR,
    NLM_JINJA_SLASH,
    NLM_JINJA_FLOOR,
    NLM_JINJA_PERCENT,
    NLM_JINJA_POWER,
    NLM_JINJA_TILDE,
    NLM_JINJA_EQ,
    NLM_JINJA_NE,
    NLM_JINJA_LT,
    NLM_JINJA_LE,
    NLM_JINJA_GT,
    NLM_JINJA_GE,
    NLM_JINJA_IN,
    NLM_JINJA_NOT_IN
} nlm_jinja_operator;

typedef struct nlm_jinja_node {
    nlm_jinja_node_kind kind;
    nlm_jinja_operator op;
    uint32_t line;
    const char *name;
    const struct nlm_jinja_entry *entry; /* of a filter or test; NULL if there is none of that name */
    nlm_jinja_value value;
    struct nlm_jinja_node *a, *b, *c;
    struct nlm_jinja_node *list;
    struct nlm_jinja_node *alternative;
    struct nlm_jinja_node *next;
} nlm_jinja_node;

struct nlm_jinja {
    nlm_arena arena;
    nlm_jinja_node *body;
    struct nlm_jinja_literal *literals; /* all texts */
};

typedef struct nlm_jinja_literal {
    struct nlm_jinja_literal *next;
    nlm_jinja_string string;
} nlm_jinja_literal;

#endif
