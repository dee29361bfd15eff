/* What the machine can do now: read bandwidth and f32 multiply-adds, on the threads that the work runs on.
 * Clocks and neighbours drift, so probes run between the measurements they are compared with. */
#ifndef NLM_BENCH_PROBE_H
#define NLM_BENCH_PROBE_H

#include "base/threads.h"
#include "nlm-bench/probe_kernels.h"

typedef struct probe {
    nlm_pool *pool; /* borrowed */
    const probe_kernels *kernels;
    char *buffer; /* larger than the caches, in huge pages where there are any */
    size_t bytes;
} probe;

/* Each thread writes its part of the buffer first. Errors OUT_OF_MEMORY. */
nlm_status probe_open(probe *p, nlm_pool *pool, nlm_error *err);
void probe_close(probe *p);

/* The best of a few passes. */
double probe_read_gb_s(probe *p);
double probe_f32_gflop_s(probe *p);

#endif
