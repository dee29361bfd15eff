/* Regular expressions of JSON Schema's `pattern`, as ECMA-262 writes them, read into trees of code points. */
#ifndef NLM_TEXT_GRAMMAR_REGEX_H
#define NLM_TEXT_GRAMMAR_REGEX_H

#include "text/grammar_tree.h"

/* Rule numbers that stand for the anchors ^ and $. */
#define NLM_REGEX_START (UINT32_MAX - 1)
#define NLM_REGEX_END   UINT32_MAX

/* A tree of sets, sequences, choices, repeats and anchors; a match may stand anywhere in a text, as the anchors leave
 * it. `where` stands for the place of the pattern. Failures, kept in the rules: BAD_FORMAT, and UNSUPPORTED
 * (lookarounds, backreferences, \b, \p: by name). */
const nlm_tree *nlm_regex_read(nlm_rules *rules, const char *where, const char *pattern);

#endif
