/* GBNF: a grammar as text. Its syntax is in docs/constrained-output.md. */
#ifndef NLM_TEXT_GRAMMAR_GBNF_H
#define NLM_TEXT_GRAMMAR_GBNF_H

#include "text/grammar_tree.h"

/* Reads text[0..length) into zeroed rules. The failure, kept in them, is BAD_FORMAT (grammar:line, what, what was
 * expected), UNSUPPORTED (tokens by name), LIMIT or OUT_OF_MEMORY. */
void nlm_gbnf_read(nlm_rules *rules, const char *text, size_t length);

/* A count of a repeat above this is refused. */
#define NLM_GBNF_REPEAT_MAX 100000u

#endif
