/* Weights that few tokens read: streams of panels, fetched ahead of their loads. How far and into which cache is
 * the CPU's matter: docs/adr/0019-streams-are-fetched-as-the-cpu-likes.md has the measurement. */
#ifndef NLM_CPU_STREAM_H
#define NLM_CPU_STREAM_H

#include "cpu/vector/simd.h"

#define STREAM_NEAR_BYTES 1024 /* into the first cache */
#define STREAM_FAR_BYTES  2048 /* into the second */

V_INLINE int stream_is_far(void) {
#if defined(__x86_64__)
    return __builtin_cpu_is("amd");
#else
    return 0;
#endif
}

/* The line of what a stream will read some while after `at`. */
V_INLINE void stream_bring(const uint8_t *at, int is_far) {
    if (is_far)
        __builtin_prefetch(at + STREAM_FAR_BYTES, 0, 2);
    else
        __builtin_prefetch(at + STREAM_NEAR_BYTES, 0, 3);
}

#endif
