/* Monotonic time. */
#ifndef NLM_BASE_CLOCK_H
#define NLM_BASE_CLOCK_H

#include <stdint.h>

uint64_t nlm_clock_ns(void);

#endif
