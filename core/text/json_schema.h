/* JSON Schema as a grammar: the texts of the documents that it describes. docs/constrained-output.md says which
 * keywords there are, and how a text may be spaced. */
#ifndef NLM_TEXT_JSON_SCHEMA_H
#define NLM_TEXT_JSON_SCHEMA_H

#include "text/grammar_tree.h"

/* Reads a schema of draft 2020-12, as JSON text, into zeroed rules. The failure, kept in them, is BAD_FORMAT (not
 * JSON, or where in the schema, what, what was expected), UNSUPPORTED (a keyword by name, and where), LIMIT or
 * OUT_OF_MEMORY. */
void nlm_json_schema_read(nlm_rules *rules, const char *text, size_t length, bool is_compact);

#endif
