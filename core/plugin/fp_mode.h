/* The calling thread's floating-point mode: rounding, traps, flushing of subnormals; not the sticky
 * exception flags, which every computation may raise. */
#ifndef NLM_PLUGIN_FP_MODE_H
#define NLM_PLUGIN_FP_MODE_H

#include <stdint.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#define NLM_MXCSR_FLAGS 0x3Fu
#endif

typedef uint64_t nlm_fp_mode;

static inline nlm_fp_mode nlm_fp_mode_get(void) {
#if defined(__SSE__)
    return _mm_getcsr() & ~NLM_MXCSR_FLAGS;
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
#else
    return 0;
#endif
}

static inline void nlm_fp_mode_set(nlm_fp_mode mode) {
#if defined(__SSE__)
    _mm_setcsr((uint32_t)mode | (_mm_getcsr() & NLM_MXCSR_FLAGS));
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

#endif
