/* What the two halves of the parser of chat templates share. */
#ifndef NLM_TEXT_JINJA_PARSER_H
#define NLM_TEXT_JINJA_PARSER_H

#include "text/jinja_lexer.h"
#include "text/jinja_tree.h"

/* A failure is kept in `status`; whatever is parsed after it is of no use. Every loop over tokens ends then: the
 * token at hand is END. */
typedef struct nlm_jinja_parser {
    struct nlm_jinja *jinja;
    const nlm_jinja_token *at;
    unsigned depth;
    nlm_status status;
    nlm_error *err;
} nlm_jinja_parser;

/* A list being made. */
typedef struct nlm_jinja_chain {
    nlm_jinja_node *first, **end;
} nlm_jinja_chain;

/* Keeps the first failure, at the line of the token at hand. */
void nlm_jinja_parse_fail(nlm_jinja_parser *p, nlm_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
bool nlm_jinja_parse_enter(nlm_jinja_parser *p); /* one deeper, if that is not too deep */
void nlm_jinja_parse_exit(nlm_jinja_parser *p);

/* Never NULL: where there is no memory, a node that is shared and a failure. */
nlm_jinja_node *nlm_jinja_node_new(nlm_jinja_parser *p, nlm_jinja_node_kind kind);
void nlm_jinja_chain_add(nlm_jinja_chain *chain, nlm_jinja_node *node);
nlm_jinja_value nlm_jinja_template_text(nlm_jinja_parser *p, const char *text, size_t length);

void nlm_jinja_advance(nlm_jinja_parser *p); /* to the next token; END stays at hand */
/* Whether the token at hand is this operator or word; the second passes it, the third fails if it is another. */
bool nlm_jinja_is_at(const nlm_jinja_parser *p, const char *what);
bool nlm_jinja_skip(nlm_jinja_parser *p, const char *what);
void nlm_jinja_expect(nlm_jinja_parser *p, const char *what);
/* A name, of the template's arena. */
const char *nlm_jinja_expect_name(nlm_jinja_parser *p);
void nlm_jinja_fail_unexpected(nlm_jinja_parser *p, const char *expected);

nlm_jinja_node *nlm_jinja_parse_expression(nlm_jinja_parser *p);
/* "a, b" is a tuple; without `has_conditions`, "if" ends it. */
nlm_jinja_node *nlm_jinja_parse_tuple(nlm_jinja_parser *p, bool has_conditions);
/* What can be assigned to: names, tuples of them, with `has_attributes` name.name. */
nlm_jinja_node *nlm_jinja_parse_target(nlm_jinja_parser *p, bool has_attributes);
/* Filters after `input`, the first without its bar if `starts_inline`. */
nlm_jinja_node *nlm_jinja_parse_filters(nlm_jinja_parser *p, nlm_jinja_node *input, bool starts_inline);

#endif
