/* What the machine can do now: read bandwidth and f32 multiply-adds, on the threads that the work runs on.
 * Clocks and neighbours drift, so probes run between the measurements they are compared with. */
#ifndef NLM_COMMON_PROBE_H
#define NLM_COMMON_PROBE_H

#include "base/threads.h"
#include "common/probe_kernels.h"

typedef struct probe {
    nlm_pool *pool; /* borrowed */
    const probe_kernels *kernels;
    char *buffer; /* larger than the caches, in huge pages where there are any */
    size_t bytes;
} probe;

/* A buffer of `bytes` (0: four times the last cache, 128 MiB to 1 GiB), each thread's part written by it first.
 * Errors   OUT_OF_MEMORY. */
nlm_status probe_open(probe *p, nlm_pool *pool, uint64_t bytes, nlm_error *err);
void probe_close(probe *p);

/* The best of a few passes: over the whole buffer; over as many bytes as something else reads, at most the
 * buffer and at least 1 MiB, which a cache may hold; in registers. */
double probe_read_gb_s(const probe *p);
double probe_read_same_gb_s(const probe *p, uint64_t bytes);
double probe_f32_gflop_s(const probe *p, const probe_kernels *kernels);

/* Microseconds of a barrier between the threads, at best. */
double probe_barrier_us(nlm_pool *pool);

#endif
