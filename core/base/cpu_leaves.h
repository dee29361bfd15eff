/* The x86 part of cpu.h's answer as a pure function, so that machines can be made up in a test. */
#ifndef NLM_BASE_CPU_LEAVES_H
#define NLM_BASE_CPU_LEAVES_H

#include <stdint.h>

/* What CPUID says, leaf 7 (and its subleaf 1) zero where the CPU lacks it; and XCR0, the register
 * states the operating system saves, zero unless OSXSAVE (bit 27 of leaf 1's ECX) is set. */
typedef struct nlm_cpu_leaves {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t leaf7_ecx;
    uint32_t leaf7_edx;
    uint32_t leaf7_1_eax;
    uint64_t xcr0;
} nlm_cpu_leaves;

/* A bit per NLM_CPU_*: features the CPU has and whose registers XCR0 covers. */
uint64_t nlm_cpu_features_of_leaves(const nlm_cpu_leaves *leaves);

#endif
