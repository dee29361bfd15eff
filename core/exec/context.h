/* Saying for what a callee was called. */
#ifndef NLM_EXEC_CONTEXT_H
#define NLM_EXEC_CONTEXT_H

#include <nlm/status.h>

/* Returns status, or DEVICE_ERROR for a number that is none; when it is a failure, puts the formatted text and ": "
 * in front of err's message, or of the status's own text if the callee left none. */
nlm_status nlm_with_context(nlm_status status, nlm_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
