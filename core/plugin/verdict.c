/* Sentences on why a plugin is not used. */
#include "plugin/verdict.h"

#include <stdarg.h>
#include <stdio.h>

static void fill(nlm_verdict *verdict, nlm_entry_state state, const char *format, va_list args) {
    verdict->state = state;
    vsnprintf(verdict->reason, sizeof verdict->reason, format, args);
}

bool nlm_refuse(nlm_verdict *verdict, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(verdict, NLM_ENTRY_REFUSED, format, args);
    va_end(args);
    return false;
}

bool nlm_skip(nlm_verdict *verdict, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(verdict, NLM_ENTRY_SKIPPED, format, args);
    va_end(args);
    return false;
}
