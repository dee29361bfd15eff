/* What --grammar and --json-schema keep a text to. */
#ifndef NLM_RUN_GRAMMAR_H
#define NLM_RUN_GRAMMAR_H

#include "nlm-run/settings.h"

/* *out is NULL where neither was given. Errors   those of reading the file, and of what is in it: FILE:line, or FILE#
 * and the place in a schema. */
nlm_status grammar_open(const settings *set, const nlm_model *model, nlm_grammar_state **out, nlm_error *err);

#endif
