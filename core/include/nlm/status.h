/* Status codes and the error record that travel through every nlm interface.
 *
 * A function returns an nlm_status (0 is success) and, where it fails, says why once, in the
 * caller-owned nlm_error it was handed. Codes are append-only: a number is never reused. */
#ifndef NLM_STATUS_H
#define NLM_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, number, text) */
#define NLM_STATUS_LIST(X)                     \
    X(OK, 0, "ok")                             \
    X(INVALID_ARGUMENT, 1, "invalid argument") \
    X(OUT_OF_MEMORY, 2, "out of memory")       \
    X(UNSUPPORTED, 3, "unsupported")           \
    X(NOT_FOUND, 4, "not found")               \
    X(IO, 5, "input/output error")             \
    X(BAD_FORMAT, 6, "malformed data")         \
    X(DEVICE_ERROR, 7, "device error")         \
    X(DEVICE_LOST, 8, "device lost")           \
    X(CANCELLED, 9, "cancelled")               \
    X(INTERNAL, 10, "internal error")          \
    X(PERMISSION, 11, "permission denied")     \
    X(LIMIT, 12, "limit exceeded")             \
    X(NUMERIC, 13, "not a finite number")

typedef int32_t nlm_status;

enum {
#define NLM_STATUS_ENUM(name, number, text) NLM_##name = number,
    NLM_STATUS_LIST(NLM_STATUS_ENUM)
#undef NLM_STATUS_ENUM
};

/* Why a call failed. Owned by the caller, who zeroes it and sets struct_size (0: that of this definition); no byte
 * beyond it is written. The callee writes `where` (the function or the file:line of the input) and `msg` (one
 * sentence: what, and what was expected), both always terminated; where libnlm wrote them they are one line, and what
 * they quote is escaped ("\x1b") where a terminal would act on it. `native_code` is errno, a CUresult, ... or 0. */
typedef struct nlm_error {
    uint32_t struct_size;
    int32_t code;
    int32_t native_code;
    uint32_t reserved;
    char where[112];
    char msg[896];
} nlm_error;

#define NLM_ERROR_INIT                               \
    {                                                \
        (uint32_t)sizeof(nlm_error), 0, 0, 0, {0}, { \
            0                                        \
        }                                            \
    }

#ifdef __cplusplus
}
#endif
#endif
