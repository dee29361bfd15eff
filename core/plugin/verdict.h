/* The outcome of a check of a plugin: go on, or a state with its reason. */
#ifndef NLM_PLUGIN_VERDICT_H
#define NLM_PLUGIN_VERDICT_H

#include <stdbool.h>
#include "plugin/plugins.h"

typedef struct nlm_verdict {
    nlm_entry_state state;
    char reason[512]; /* "" while READY */
} nlm_verdict;

/* Each writes the state and a reason that says what was found and what was expected, and returns
 * false: `return nlm_refuse(v, "...")` ends a check. */
bool nlm_refuse(nlm_verdict *verdict, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
bool nlm_skip(nlm_verdict *verdict, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

#endif
