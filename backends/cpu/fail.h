/* Filling in an nlm_error from inside a backend. */
#ifndef NLM_CPU_FAIL_H
#define NLM_CPU_FAIL_H

#include <nlm/plugin.h>

/* Writes code, where and one formatted sentence into *error (if not NULL and big enough); returns code. */
nlm_status nlm_cpu_fail(nlm_error *error, nlm_status code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Writes the formatted clause into out->reason; returns NLM_UNSUPPORTED. */
nlm_status nlm_cpu_refuse(nlm_caps_v1 *out, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

#define NLM_CPU_TRY(expr)                                              \
    do {                                                               \
        const nlm_status nlm_cpu_try_status_ = (expr);                 \
        if (nlm_cpu_try_status_ != NLM_OK) return nlm_cpu_try_status_; \
    } while (0)

#endif
