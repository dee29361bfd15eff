/* Reading and writing the structs of nlm.h, whose size is the caller's. */
#ifndef NLM_SESSION_OPTIONS_H
#define NLM_SESSION_OPTIONS_H

#include <nlm/status.h>

/* The struct_size that the caller has set. INVALID_ARGUMENT if it is none. */
nlm_status nlm_struct_size(const void *given, const char *name, uint32_t *out_size, nlm_error *err);

/* Copies what the caller's struct_size covers into *own, a zeroed struct of own_size bytes. given NULL:
 * all zero. INVALID_ARGUMENT if struct_size was not set, or if bytes beyond own_size are not zero: options
 * of a newer header that this library would ignore. `name` is the struct's. */
nlm_status nlm_take_options(void *own, size_t own_size, const void *given, const char *name, nlm_error *err);

/* Copies *own to the caller's struct, as much as its struct_size covers, and zeroes the rest of it. */
nlm_status nlm_give_struct(void *given, const void *own, size_t own_size, const char *name, nlm_error *err);

#endif
