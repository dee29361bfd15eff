/* Failing with a sentence, and saying more about the failure of a callee. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/printable.h"

const char *nlm_status_text(nlm_status status) {
    switch (status) {
#define STATUS_CASE(name, number, text) \
    case NLM_##name: return text;
        NLM_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
        default: return "unknown status";
    }
}

/* What the caller's struct has room for: 0, not set, stands for the whole. */
static size_t room(const nlm_error *err) {
    return err->struct_size && err->struct_size < sizeof *err ? err->struct_size : sizeof *err;
}

void nlm_error_give(nlm_error *err, const nlm_error *own) {
    if (!err) return;
    const size_t bytes = room(err);
    const uint32_t size = err->struct_size ? err->struct_size : (uint32_t)sizeof *err;
    memcpy(err, own, bytes);
    if (bytes > offsetof(nlm_error, where)) ((char *)err)[bytes - 1] = '\0';
    if (bytes >= sizeof size) memcpy(err, &size, sizeof size);
}

static void fill(nlm_error *own, nlm_status code, const char *where, const char *format, va_list args) {
    own->code = code;
    snprintf(own->where, sizeof own->where, "%s", where ? where : "");
    vsnprintf(own->msg, sizeof own->msg, format, args);
    nlm_make_printable(own->where, sizeof own->where);
    nlm_make_printable(own->msg, sizeof own->msg);
}

static void append(nlm_error *own, const char *text) {
    const size_t used = strlen(own->msg);
    if (snprintf(own->msg + used, sizeof own->msg - used, ": %s", text) < 0) own->msg[used] = '\0';
}

nlm_status nlm_fail(nlm_error *err, nlm_status code, const char *where, const char *format, ...) {
    if (!err) return code;
    nlm_error own = NLM_ERROR_INIT;
    va_list args;
    va_start(args, format);
    fill(&own, code, where, format, args);
    va_end(args);
    nlm_error_give(err, &own);
    return code;
}

nlm_status nlm_fail_errno(nlm_error *err, nlm_status code, const char *where, const char *format, ...) {
    if (!err) return code;
    const int saved = errno;
    nlm_error own = NLM_ERROR_INIT;
    va_list args;
    va_start(args, format);
    fill(&own, code, where, format, args);
    va_end(args);
    char buffer[128];
    own.native_code = saved;
    append(&own, strerror_r(saved, buffer, sizeof buffer));
    nlm_error_give(err, &own);
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
    nlm_error cause = NLM_ERROR_INIT;
    memcpy(&cause, err, room(err));
    nlm_error own = cause;
    va_list args;
    va_start(args, format);
    vsnprintf(own.msg, sizeof own.msg, format, args);
    va_end(args);
    append(&own, cause.code == status && cause.msg[0] ? cause.msg : nlm_status_text(known));
    nlm_make_printable(own.msg, sizeof own.msg);
    own.code = known;
    nlm_error_give(err, &own);
    return known;
}
