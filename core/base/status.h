/* Failing with a sentence: helpers over nlm_error. */
#ifndef NLM_BASE_STATUS_H
#define NLM_BASE_STATUS_H

#include <nlm/status.h>

/* "out of memory" for NLM_OUT_OF_MEMORY; "unknown status" for a number not in the list. */
const char *nlm_status_text(nlm_status status);

/* Writes code, where and the formatted message into *err (if not NULL) and returns code. Called once,
 * where the reason is known; `where` is a function, or a file, file:line, file:offset of the input. Both come from
 * outside as often as not: what is not printable in them is escaped, here and below (base/printable.h). */
nlm_status nlm_fail(nlm_error *err, nlm_status code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* As nlm_fail, with native_code = errno and strerror appended: "MSG: No such file or directory". */
nlm_status nlm_fail_errno(nlm_error *err, nlm_status code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Copies *own to *err (if not NULL), as much as err->struct_size covers; what is cut stays terminated. */
void nlm_error_give(nlm_error *err, const nlm_error *own);

/* The status for an errno: EACCES and EPERM are PERMISSION, ENOENT NOT_FOUND, ENOMEM OUT_OF_MEMORY,
 * the rest IO. */
nlm_status nlm_status_from_errno(int errno_value);

/* The status, or DEVICE_ERROR for a number that is none: of what a plugin returned. */
nlm_status nlm_clean_status(nlm_status status);

/* Says for what a callee was called: returns nlm_clean_status(status); when it is a failure, puts the formatted text
 * and ": " in front of err's message, or of the status's own text if the callee left none. */
nlm_status nlm_status_prefix(nlm_status status, nlm_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns early with the status of a failed call. */
#define NLM_TRY(expr)                                          \
    do {                                                       \
        const nlm_status nlm_try_status_ = (expr);             \
        if (nlm_try_status_ != NLM_OK) return nlm_try_status_; \
    } while (0)

#endif
