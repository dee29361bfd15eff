/* The inner loops of the probes, for each instruction set that matters. */
#ifndef NLM_COMMON_PROBE_KERNELS_H
#define NLM_COMMON_PROBE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* `bytes` given to read are a multiple of this. */
#define PROBE_READ_GRAIN 1024u

typedef struct probe_kernels {
    const char *isa;
    /* Reads bytes at `from`, 64-aligned: four streams at once, each prefetched. Returns what depends on all. */
    uint64_t (*read)(const char *from, size_t bytes);
    /* `count` rounds of flop_per_round operations that wait for nothing but the multiply-add units. */
    float (*multiply_add)(uint64_t count);
    uint32_t flop_per_round;
} probe_kernels;

/* The widest that this CPU has. */
const probe_kernels *probe_kernels_choose(void);
/* The widest of those that code for `arch` has, the arch of a device ("x86_64+avx2"). */
const probe_kernels *probe_kernels_of(const char *arch);

#endif
