#include "nlm-bench/probe.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"

#define LEAST_BYTES    (128ull << 20)
#define GREATEST_BYTES (1ull << 30)
#define CACHES         4u /* the buffer is this many times the last cache */
#define PASSES         3
#define ROUNDS         (1ull << 20)

static uint64_t buffer_bytes(void) {
    uint64_t cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long told = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (told > 0) cache = (uint64_t)told;
#endif
    const uint64_t bytes = CACHES * cache;
    return bytes < LEAST_BYTES ? LEAST_BYTES : bytes > GREATEST_BYTES ? GREATEST_BYTES : bytes;
}

/* A thread's part: [*from, *from + returned). */
static size_t part_of(const probe *p, uint32_t ith, uint32_t nth, char **from) {
    const size_t part = p->bytes / nth / PROBE_READ_GRAIN * PROBE_READ_GRAIN;
    *from = p->buffer + ith * part;
    return part;
}

static void touch(void *user, uint32_t ith, uint32_t nth) {
    char *from;
    const size_t part = part_of(user, ith, nth, &from);
    memset(from, 1 + (int)(ith & 63), part);
}

nlm_status probe_open(probe *p, nlm_pool *pool, nlm_error *err) {
    *p = (probe){.pool = pool, .kernels = probe_kernels_choose(), .bytes = (size_t)buffer_bytes()};
    void *memory = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, "probe", "no memory for %zu bytes", p->bytes);
    }
    (void)madvise(memory, p->bytes, MADV_HUGEPAGE);
    p->buffer = memory;
    nlm_pool_run(pool, touch, p);
    return NLM_OK;
}

void probe_close(probe *p) {
    if (p->buffer) munmap(p->buffer, p->bytes);
    p->buffer = NULL;
}

/* Keeps a result alive without a place that threads share. */
static void use(uint64_t value) {
    __asm__ volatile("" : : "r"(value));
}

static void read_part(void *user, uint32_t ith, uint32_t nth) {
    const probe *p = user;
    char *from;
    const size_t part = part_of(p, ith, nth, &from);
    use(p->kernels->read(from, part));
}

static void multiply_add(void *user, uint32_t ith, uint32_t nth) {
    const probe *p = user;
    (void)ith;
    (void)nth;
    use((uint64_t)p->kernels->multiply_add(ROUNDS));
}

/* Nanoseconds of the fastest of a few passes, at least 1. */
static double best_ns(probe *p, nlm_region_fn fn) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < PASSES; i++) {
        const uint64_t start = nlm_clock_ns();
        nlm_pool_run(p->pool, fn, p);
        const uint64_t ns = nlm_clock_ns() - start;
        if (ns < best) best = ns;
    }
    return best ? (double)best : 1;
}

double probe_read_gb_s(probe *p) {
    const uint32_t nth = nlm_pool_threads(p->pool);
    char *from;
    const size_t bytes = part_of(p, 0, nth, &from) * nth;
    return (double)bytes / best_ns(p, read_part);
}

double probe_f32_gflop_s(probe *p) {
    const double flop = (double)ROUNDS * p->kernels->flop_per_round * nlm_pool_threads(p->pool);
    return flop / best_ns(p, multiply_add);
}
