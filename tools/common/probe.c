/* What this machine can do at most: bytes and multiply-adds a second. */
#include "common/probe.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"

#define LEAST_BYTES    (128ull << 20)
#define GREATEST_BYTES (1ull << 30)
#define CACHES         4u /* the buffer is this many times the last cache */
#define PASSES         3
#define LEAST_SAME     (1ull << 20)
#define GREATEST_TURNS 64u /* a small size is read again and again */
#define ROUNDS         (1ull << 20)
#define BARRIERS       1000

static uint64_t default_bytes(void) {
    uint64_t cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long told = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (told > 0) cache = (uint64_t)told;
#endif
    const uint64_t bytes = CACHES * cache;
    return bytes < LEAST_BYTES ? LEAST_BYTES : bytes > GREATEST_BYTES ? GREATEST_BYTES : bytes;
}

/* A thread's part of the first `bytes`: [*from, *from + returned). */
static size_t part_of(const probe *p, uint64_t bytes, uint32_t ith, uint32_t nth, char **from) {
    const size_t part = (size_t)bytes / nth / PROBE_READ_GRAIN * PROBE_READ_GRAIN;
    *from = p->buffer + ith * part;
    return part;
}

static void touch(void *user, uint32_t ith, uint32_t nth) {
    char *from;
    const size_t part = part_of(user, ((const probe *)user)->bytes, ith, nth, &from);
    memset(from, 1 + (int)(ith & 63), part);
}

nlm_status probe_open(probe *p, nlm_pool *pool, uint64_t bytes, nlm_error *err) {
    *p = (probe){.pool = pool, .kernels = probe_kernels_choose(), .bytes = (size_t)(bytes ? bytes : default_bytes())};
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

typedef struct reading {
    const probe *probe;
    uint64_t bytes;
    uint32_t turns;
} reading;

static void read_part(void *user, uint32_t ith, uint32_t nth) {
    const reading *r = user;
    char *from;
    const size_t part = part_of(r->probe, r->bytes, ith, nth, &from);
    for (uint32_t i = 0; i < r->turns; i++) use(r->probe->kernels->read(from, part));
}

static void multiply_add(void *user, uint32_t ith, uint32_t nth) {
    const probe_kernels *kernels = user;
    (void)ith;
    (void)nth;
    use((uint64_t)kernels->multiply_add(ROUNDS));
}

static void pass_barriers(void *user, uint32_t ith, uint32_t nth) {
    (void)nth;
    for (int i = 0; i < BARRIERS; i++) (void)nlm_pool_barrier(user, ith);
}

/* Nanoseconds of the fastest of a few passes, at least 1. */
static double best_ns(nlm_pool *pool, nlm_region_fn fn, void *user) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < PASSES; i++) {
        const uint64_t start = nlm_clock_ns();
        nlm_pool_run(pool, fn, user);
        const uint64_t ns = nlm_clock_ns() - start;
        if (ns < best) best = ns;
    }
    return best ? (double)best : 1;
}

static double read_gb_s(const probe *p, uint64_t bytes, uint32_t turns) {
    const uint32_t nth = nlm_pool_threads(p->pool);
    char *from;
    const double read = (double)part_of(p, bytes, 0, nth, &from) * nth * turns;
    reading r = {p, bytes, turns};
    return read / best_ns(p->pool, read_part, &r);
}

double probe_read_gb_s(const probe *p) {
    return read_gb_s(p, p->bytes, 1);
}

double probe_read_same_gb_s(const probe *p, uint64_t bytes) {
    if (bytes > p->bytes) bytes = p->bytes;
    if (bytes < LEAST_SAME) bytes = LEAST_SAME;
    const uint64_t turns = 1 + LEAST_BYTES / bytes;
    return read_gb_s(p, bytes, (uint32_t)(turns < GREATEST_TURNS ? turns : GREATEST_TURNS));
}

double probe_f32_gflop_s(const probe *p, const probe_kernels *kernels) {
    const double flop = (double)ROUNDS * kernels->flop_per_round * nlm_pool_threads(p->pool);
    probe_kernels own = *kernels;
    return flop / best_ns(p->pool, multiply_add, &own);
}

double probe_barrier_us(nlm_pool *pool) {
    return best_ns(pool, pass_barriers, pool) * 1e-3 / BARRIERS;
}
