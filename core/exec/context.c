#include "exec/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "plugin/loaded.h"

static void put_before(nlm_error *err, const char *cause, const char *format, va_list args) {
    vsnprintf(err->msg, sizeof err->msg, format, args);
    const size_t used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s", cause);
}

nlm_status nlm_with_context(nlm_status status, nlm_error *err, const char *format, ...) {
    const nlm_status known = nlm_clean_status(status);
    if (status == NLM_OK || !err) return known;
    char cause[sizeof err->msg];
    snprintf(cause, sizeof cause, "%s", err->code == status && err->msg[0] ? err->msg : nlm_status_text(known));
    va_list args;
    va_start(args, format);
    put_before(err, cause, format, args);
    va_end(args);
    err->struct_size = (uint32_t)sizeof *err;
    err->code = known;
    return known;
}
