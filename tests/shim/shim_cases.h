/* What the sources of a shim's test, which are compiled for its instruction set, and main.c have of each other. */
#ifndef NLM_TESTS_SHIM_CASES_H
#define NLM_TESTS_SHIM_CASES_H

#include <stddef.h>

#include "unit/check.h"

extern const check_case shim_float_cases[], shim_integer_cases[];
extern const size_t n_shim_float_cases, n_shim_integer_cases;

/* The same bytes where the next one cannot be read or written; up to a page. */
void *shim_at_end(const void *bytes, size_t size);
/* Where `size` bytes are to be written, zeros now. */
void *shim_room(size_t size);

#endif
