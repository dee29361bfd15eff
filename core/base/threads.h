/* A thread pool for parallel regions, laid out over the machine's cores. */
#ifndef NLM_BASE_THREADS_H
#define NLM_BASE_THREADS_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct nlm_pool nlm_pool;

typedef struct nlm_pool_options {
    uint32_t threads; /* 0: one per physical core within the process's cpuset and cgroup CPU quota */
    bool bind_caller; /* also bind the thread that calls nlm_pool_run (a program does, a library not),
                       * until nlm_pool_destroy in that thread; a pool created meanwhile sees one core */
    bool is_unbound;  /* bind no thread at all */
} nlm_pool_options;

/* Starts threads-1 workers; the caller of nlm_pool_run is worker 0. If the pool takes every core it may
 * use, each worker is bound to a core of its own; a smaller pool leaves its place to the scheduler, as
 * another process may have chosen the same cores.
 * Errors   INVALID_ARGUMENT (more than 1024 threads), OUT_OF_MEMORY, INTERNAL (no thread). */
nlm_status nlm_pool_create(const nlm_pool_options *options, nlm_pool **out_pool, nlm_error *err);
void nlm_pool_destroy(nlm_pool *pool);

uint32_t nlm_pool_threads(const nlm_pool *pool);
/* How often its threads have waited for each other so far: barriers that were passed, and ends of regions. For
 * whoever calls nlm_pool_run, between calls. */
uint64_t nlm_pool_waits(const nlm_pool *pool);
/* For people: "2 threads: one per physical core of 2 allowed CPUs (no cgroup quota)". */
const char *nlm_pool_reason(const nlm_pool *pool);

/* Runs fn(user, ith, nth) on every worker and returns when all have. Not reentrant; one region at a
 * time per pool. */
typedef void (*nlm_region_fn)(void *user, uint32_t ith, uint32_t nth);
void nlm_pool_run(nlm_pool *pool, nlm_region_fn fn, void *user);

/* Inside a region: waits for all workers. Returns NLM_OK, or NLM_CANCELLED when the barrier was
 * broken in this region. Everything written before is visible after. */
nlm_status nlm_pool_barrier(nlm_pool *pool, uint32_t ith);
/* Before a region: the number of the first of n ops that it does. */
uint64_t nlm_pool_count_ops(nlm_pool *pool, uint32_t n);
/* Inside a region, in that op: how often this was asked for of worker `of` before, by whichever worker; 65,535 once
 * that is so many, or when another worker is in a later op already. A worker that has asked for another's numbers may
 * go on to the next op without a barrier once it was told that there are none left of use. */
uint32_t nlm_pool_claim(nlm_pool *pool, uint32_t of, uint64_t op);
/* Inside a region: makes every present and later nlm_pool_barrier of this region return
 * NLM_CANCELLED. */
void nlm_pool_break(nlm_pool *pool);

#endif
