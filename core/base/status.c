/* Failing with a sentence, and saying more about the failure of a callee. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *nlm_status_text(nlm_status status) {
    switch (status) {
#define STATUS_CASE(name, number, text) \
    case NLM_##name: return text;
        NLM_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
        default: return "unknown status";
    }
}

static void fill(nlm_error *err, nlm_status code, int native_code, const char *where, const char *format,
                 va_list args) {
    err->struct_size = (uint32_t)sizeof *err;
    err->code = code;
    err->native_code = native_code;
    snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    vsnprintf(err->msg, sizeof err->msg, format, args);
}

nlm_status nlm_fail(nlm_error *err, nlm_status code, const char *where, const char *format, ...) {
    if (!err) return code;
    va_list args;
    va_start(args, format);
    fill(err, code, 0, where, format, args);
    va_end(args);
    return code;
}

nlm_status nlm_fail_errno(nlm_error *err, nlm_status code, const char *where, const char *format, ...) {
    if (!err) return code;
    const int saved = errno;
    va_list args;
    va_start(args, format);
    fill(err, code, saved, where, format, args);
    va_end(args);
    const size_t used = strlen(err->msg);
    char buffer[128];
    snprintf(err->msg + used, sizeof err->msg - used, ": %s", strerror_r(saved, buffer, sizeof buffer));
    errno = saved;
    return code;
}

nlm_status nlm_status_from_errno(int errno_value) {
    switch (errno_value) {
        case EACCES:
        case EPERM: return NLM_PERMISSION;
        case ENOENT:
        case ENOTDIR: return NLM_NOT_FOUND;
        case ENOMEM: return NLM_OUT_OF_MEMORY;
        default: return NLM_IO;
    }
}

nlm_status nlm_clean_status(nlm_status status) {
    return status >= NLM_OK && status <= NLM_NUMERIC ? status : NLM_DEVICE_ERROR;
}

nlm_status nlm_status_prefix(nlm_status status, nlm_error *err, const char *format, ...) {
    const nlm_status known = nlm_clean_status(status);
    if (status == NLM_OK || !err) return known;
    char cause[sizeof err->msg];
    snprintf(cause, sizeof cause, "%s", err->code == status && err->msg[0] ? err->msg : nlm_status_text(known));
    va_list args;
    va_start(args, format);
    vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    const size_t used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s", cause);
    err->struct_size = (uint32_t)sizeof *err;
    err->code = known;
    return known;
}
