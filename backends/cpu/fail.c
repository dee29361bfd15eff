#include "cpu/fail.h"

#include <stdarg.h>
#include <stdio.h>

nlm_status nlm_cpu_fail(nlm_error *error, nlm_status code, const char *where, const char *format, ...) {
    if (!error || error->struct_size < sizeof *error) return code;
    error->code = code;
    error->native_code = 0;
    snprintf(error->where, sizeof error->where, "%s", where);
    va_list args;
    va_start(args, format);
    vsnprintf(error->msg, sizeof error->msg, format, args);
    va_end(args);
    return code;
}

nlm_status nlm_cpu_refuse(nlm_caps_v1 *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(out->reason, sizeof out->reason, format, args);
    va_end(args);
    return NLM_UNSUPPORTED;
}
