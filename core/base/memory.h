/* How much memory there is for this process. */
#ifndef NLM_BASE_MEMORY_H
#define NLM_BASE_MEMORY_H

#include <stdint.h>

/* Bytes that can still be had without swapping: MemAvailable of /proc/meminfo, or what the memory limits
 * of the process's cgroups leave, whichever is less; 0 if neither can be read. `root` goes before
 * every path: "" for this machine, a folder in tests.
 * Source   proc_meminfo(5). */
uint64_t nlm_memory_available(const char *root);

#endif
