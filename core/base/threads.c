/* A pool whose workers spin a little before they sleep, with a barrier inside a region. */
#include "base/threads.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/placement.h"
#include "base/status.h"

#include <errno.h>
#include <hwloc/glibc-sched.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longer than a sampler takes between two decode steps, shorter than anyone's patience with an idle
 * process that burns CPU. */
#define SPIN_NS    100000u
/* Looks between two looks at the clock, which costs as much as several. */
#define SPIN_LOOKS 64u
/* Yields before sleeping where threads outnumber CPUs. */
#define YIELDS     4u

#define CACHE_LINE 128 /* two lines: the prefetcher of adjacent lines counts as sharing */

/* A word that threads wait on until it changes. Who changes it wakes them only if some sleep; the
 * number of those is rarely written, and apart from the value it stays in everyone's cache. */
typedef struct signal_word {
    _Alignas(CACHE_LINE) _Atomic uint32_t value;
    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers;
} signal_word;

#define ROUNDS_MAX 10u /* of a barrier: ceil(log2(NLM_THREADS_MAX)) */

/* One thread of the pool; number 0 is whoever calls nlm_pool_run. */
typedef struct worker {
    nlm_pool *pool;
    pthread_t thread;
    uint32_t ith;
    uint32_t barriers;                           /* passed since the barrier was last reset */
    _Alignas(CACHE_LINE) _Atomic uint64_t drawn; /* op << CLAIM_BITS | numbers drawn of this worker in it */
    signal_word arrivals[ROUNDS_MAX];            /* barriers that the thread 2^round before this one has reached */
} worker;

struct nlm_pool {
    nlm_placement placement;
    worker *workers;  /* [threads] */
    uint32_t started; /* beside number 0 */
    bool spins;
    bool has_membarrier;

    bool bind_caller;
    bool has_bound_caller;
    pthread_t bound_caller;

    nlm_region_fn fn; /* of the region; written before `region` moves */
    void *user;
    const nlm_log_sink *log; /* where the caller's messages go: the workers' do too */
    bool is_stopping;
    uint64_t waits; /* written by number 0 alone */
    uint64_t ops;   /* counted so far; as `waits` */

    signal_word region;  /* counts regions begun */
    signal_word running; /* workers that have not finished the region */
    _Alignas(CACHE_LINE) _Atomic uint32_t is_broken;
};

/* ---- waiting ------------------------------------------------------------------------------ */

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t while_value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static inline bool has_changed(signal_word *word, uint32_t old) {
    return atomic_load_explicit(&word->value, memory_order_acquire) != old;
}

static bool spin_until_changed(const nlm_pool *pool, signal_word *word, uint32_t old) {
    if (!pool->spins) {
        for (uint32_t i = 0; i < YIELDS; i++) {
            if (has_changed(word, old)) return true;
            sched_yield();
        }
        return false;
    }
    /* At full speed first: one pause is as long as a cache line takes from core to core. */
    for (uint32_t i = 0; i < SPIN_LOOKS; i++) {
        if (has_changed(word, old)) return true;
    }
    const uint64_t start_ns = nlm_clock_ns();
    do {
        for (uint32_t i = 0; i < SPIN_LOOKS; i++) {
            if (has_changed(word, old)) return true;
            cpu_relax();
        }
    } while (nlm_clock_ns() - start_ns < SPIN_NS);
    return false;
}

static bool is_set(const _Atomic uint32_t *flag) {
    return flag && atomic_load(flag) != 0;
}

/* Or until *stop (which may be NULL) is set and the value changed. */
static void wait_until_changed(const nlm_pool *pool, signal_word *word, uint32_t old, const _Atomic uint32_t *stop) {
    if (spin_until_changed(pool, word, old)) return;
    /* Either we see the new value, or who changes it sees us: see signal_value. */
    atomic_fetch_add(&word->sleepers, 1);
    if (pool->has_membarrier) syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    while (atomic_load(&word->value) == old && !is_set(stop)) futex_wait(&word->value, old);
    atomic_fetch_sub(&word->sleepers, 1);
}

/* After the value was changed with a sequentially consistent operation. */
static inline void wake_sleepers(signal_word *word) {
    if (atomic_load(&word->sleepers) != 0) futex_wake_all(&word->value);
}

/* Sets a value that one thread alone writes. The store must not be overtaken by the look at the sleepers; a
 * fence for that would wait until the waiter's CPU has given up the cache line. Who goes to sleep, which is
 * rare, makes all threads pass such a fence instead (membarrier(2)). */
static inline void signal_value(const nlm_pool *pool, signal_word *word, uint32_t value) {
    atomic_store_explicit(&word->value, value, memory_order_release);
    if (pool->has_membarrier) {
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_thread_fence(memory_order_seq_cst);
    }
    if (atomic_load_explicit(&word->sleepers, memory_order_relaxed) != 0) futex_wake_all(&word->value);
}

/* ---- regions ------------------------------------------------------------------------------ */

static void *worker_main(void *argument) {
    const worker *self = argument;
    nlm_pool *pool = self->pool;
    for (uint32_t region = 0;;) {
        wait_until_changed(pool, &pool->region, region, NULL);
        region++; /* the caller starts no region before this worker has finished the last */
        if (pool->is_stopping) return NULL;
        nlm_log_redirect(pool->log);
        pool->fn(pool->user, self->ith, pool->placement.threads);
        if (atomic_fetch_sub(&pool->running.value, 1) == 1) wake_sleepers(&pool->running);
    }
}

/* Puts the calling thread on core 0, once per thread that calls. */
static void bind_caller(nlm_pool *pool);

static void begin_region(nlm_pool *pool) {
    signal_value(pool, &pool->region, atomic_load_explicit(&pool->region.value, memory_order_relaxed) + 1);
}

static void reset_barrier(nlm_pool *pool) {
    for (uint32_t i = 0; i < pool->placement.threads; i++) {
        worker *self = &pool->workers[i];
        self->barriers = 0;
        for (uint32_t r = 0; r < ROUNDS_MAX; r++) {
            atomic_store_explicit(&self->arrivals[r].value, 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&pool->is_broken, 0, memory_order_relaxed);
}

void nlm_pool_run(nlm_pool *pool, nlm_region_fn fn, void *user) {
    const uint32_t threads = pool->placement.threads;
    if (pool->bind_caller) bind_caller(pool);
    /* All workers wait for a region now: nobody else looks at what is written here. */
    if (atomic_load_explicit(&pool->is_broken, memory_order_relaxed)) reset_barrier(pool);
    atomic_store_explicit(&pool->running.value, threads - 1, memory_order_relaxed);
    pool->fn = fn;
    pool->user = user;
    pool->log = nlm_log_redirected();
    begin_region(pool);
    fn(user, 0, threads);
    pool->waits++;
    for (;;) {
        const uint32_t left = atomic_load_explicit(&pool->running.value, memory_order_acquire);
        if (left == 0) return;
        wait_until_changed(pool, &pool->running, left, NULL);
    }
}

/* False if the barrier was broken first. The count is read before is_broken: nlm_pool_break sets that
 * and then moves every count, so a thread that has seen the moved count sees the break too, and one
 * that has not is woken by the move. A count that is moved and then set by its owner stands for a true
 * arrival; the next wait for it ends when it would sleep, at the latest. */
static bool wait_for_arrivals(nlm_pool *pool, signal_word *arrivals, uint32_t at_least) {
    for (;;) {
        const uint32_t seen = atomic_load_explicit(&arrivals->value, memory_order_acquire);
        if (atomic_load_explicit(&pool->is_broken, memory_order_acquire)) return false;
        if ((int32_t)(seen - at_least) >= 0) return true;
        wait_until_changed(pool, arrivals, seen, &pool->is_broken);
    }
}

/* A dissemination barrier: in round r each thread tells the one 2^r after it that it has come, and
 * with it all that it heard of. After ceil(log2 threads) rounds everybody has heard of everybody.
 * Source   Hensgen, Finkel & Manber 1988. */
nlm_status nlm_pool_barrier(nlm_pool *pool, uint32_t ith) {
    const uint32_t threads = pool->placement.threads;
    worker *self = &pool->workers[ith];
    self->barriers++;
    if (ith == 0) pool->waits++;
    for (uint32_t r = 0, distance = 1; distance < threads; r++, distance *= 2) {
        signal_value(pool, &pool->workers[(ith + distance) % threads].arrivals[r], self->barriers);
        if (!wait_for_arrivals(pool, &self->arrivals[r], self->barriers)) return NLM_CANCELLED;
    }
    return atomic_load_explicit(&pool->is_broken, memory_order_acquire) ? NLM_CANCELLED : NLM_OK;
}

void nlm_pool_break(nlm_pool *pool) {
    atomic_store(&pool->is_broken, 1);
    for (uint32_t i = 0; i < pool->placement.threads; i++) {
        for (uint32_t r = 0; r < ROUNDS_MAX; r++) {
            signal_word *arrivals = &pool->workers[i].arrivals[r];
            atomic_fetch_add(&arrivals->value, 1);
            wake_sleepers(arrivals);
        }
    }
}

/* ---- claims ------------------------------------------------------------------------------- */

#define CLAIM_BITS 16u
#define CLAIM_NONE ((1u << CLAIM_BITS) - 1)

uint64_t nlm_pool_count_ops(nlm_pool *pool, uint32_t n) {
    const uint64_t first = pool->ops + 1; /* no op is 0, as memory is at first */
    pool->ops += n;
    return first;
}

/* The op is kept beside the count, so that nothing has to be set back, which would need a barrier of its own. Who is
 * in a later op, with no barrier between, has seen this worker's last number of the one before. */
uint32_t nlm_pool_claim(nlm_pool *pool, uint32_t of, uint64_t op) {
    _Atomic uint64_t *drawn = &pool->workers[of].drawn;
    uint64_t seen = atomic_load_explicit(drawn, memory_order_relaxed), next;
    do {
        if (seen >> CLAIM_BITS > op) return CLAIM_NONE;
        next = (seen >> CLAIM_BITS == op ? seen : op << CLAIM_BITS) + 1;
        if ((next & CLAIM_NONE) == 0) return CLAIM_NONE;
    } while (!atomic_compare_exchange_weak_explicit(drawn, &seen, next, memory_order_relaxed, memory_order_relaxed));
    return (uint32_t)(next & CLAIM_NONE) - 1;
}

/* ---- threads and cores -------------------------------------------------------------------- */

/* A CPU set of the size the C library wants for it; NULL without memory. */
static cpu_set_t *cpu_set_of(hwloc_const_bitmap_t cpus, size_t *out_bytes) {
    const int last = hwloc_bitmap_last(cpus);
    const size_t count = last < CPU_SETSIZE ? CPU_SETSIZE : (size_t)last + 1;
    cpu_set_t *set = CPU_ALLOC(count);
    *out_bytes = CPU_ALLOC_SIZE(count);
    if (set) hwloc_cpuset_to_glibc_sched_affinity(NULL, cpus, set, *out_bytes);
    return set;
}

static hwloc_const_bitmap_t cpus_of_thread(const nlm_placement *placement, uint32_t ith) {
    return placement->is_bound ? placement->cores[ith] : placement->allowed;
}

static void bind_caller(nlm_pool *pool) {
    const pthread_t self = pthread_self();
    if (!pool->placement.is_bound || (pool->has_bound_caller && pthread_equal(pool->bound_caller, self))) return;
    size_t bytes;
    cpu_set_t *set = cpu_set_of(pool->placement.cores[0], &bytes);
    if (!set) return;
    pthread_setaffinity_np(self, bytes, set);
    CPU_FREE(set);
    pool->bound_caller = self;
    pool->has_bound_caller = true;
}

/* Gives the bound thread back the CPUs it had, if it is the one that destroys the pool. */
static void unbind_caller(nlm_pool *pool) {
    if (!pool->has_bound_caller || !pthread_equal(pool->bound_caller, pthread_self())) return;
    size_t bytes;
    cpu_set_t *set = cpu_set_of(pool->placement.allowed, &bytes);
    if (!set) return;
    pthread_setaffinity_np(pthread_self(), bytes, set);
    CPU_FREE(set);
}

/* A new thread inherits its creator's mask, so every worker is given its own, bound or not. */
static int start_thread(worker *self) {
    const nlm_placement *placement = &self->pool->placement;
    pthread_attr_t attributes;
    size_t bytes;
    cpu_set_t *set = cpu_set_of(cpus_of_thread(placement, self->ith), &bytes);
    if (!set) return ENOMEM;
    int error = pthread_attr_init(&attributes);
    if (error == 0) {
        error = pthread_attr_setaffinity_np(&attributes, bytes, set);
        if (error == 0) error = pthread_create(&self->thread, &attributes, worker_main, self);
        /* The CPU may have gone since; a thread that runs elsewhere is better than none. */
        if (error == EINVAL) error = pthread_create(&self->thread, NULL, worker_main, self);
        pthread_attr_destroy(&attributes);
    }
    CPU_FREE(set);
    return error;
}

/* bytes: a multiple of CACHE_LINE, as the size of a type aligned to it is. */
static void *zeroed(size_t bytes) {
    void *memory = aligned_alloc(CACHE_LINE, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static nlm_status start_workers(nlm_pool *pool, nlm_error *err) {
    const uint32_t threads = pool->placement.threads;
    pool->workers = zeroed(threads * sizeof *pool->workers);
    if (!pool->workers) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_pool_create", "out of memory for threads");
    for (uint32_t i = 1; i < threads; i++) {
        worker *self = &pool->workers[i];
        self->pool = pool;
        self->ith = i;
        const int error = start_thread(self);
        if (error != 0) {
            errno = error;
            return nlm_fail_errno(err, error == ENOMEM ? NLM_OUT_OF_MEMORY : NLM_INTERNAL, "nlm_pool_create",
                                  "cannot start thread %u of %u", i + 1, threads);
        }
        char name[16];
        snprintf(name, sizeof name, "nlm-%u", i);
        pthread_setname_np(self->thread, name);
        pool->started++;
    }
    return NLM_OK;
}

/* Signals are the program's business: workers take none, so a Ctrl-C reaches its own threads. SIGBUS comes to the
 * thread that reads what a mapped file has lost, and ends the process where it is blocked. */
static nlm_status start_workers_without_signals(nlm_pool *pool, nlm_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const nlm_status status = start_workers(pool, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

nlm_status nlm_pool_create(const nlm_pool_options *options, nlm_pool **out_pool, nlm_error *err) {
    *out_pool = NULL;
    nlm_pool *pool = zeroed(sizeof *pool);
    if (!pool) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_pool_create", "out of memory for a thread pool");
    nlm_status status = nlm_placement_here(options->threads, &pool->placement, err);
    if (status == NLM_OK) {
        if (options->is_unbound) pool->placement.is_bound = false;
        pool->bind_caller = options->bind_caller;
        pool->spins = pool->placement.has_cpu_for_all;
        /* Where threads sleep at every turn, a fence costs less. */
        pool->has_membarrier =
            pool->spins && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
        status = start_workers_without_signals(pool, err);
    }
    if (status != NLM_OK) {
        nlm_pool_destroy(pool);
        return status;
    }
    *out_pool = pool;
    return NLM_OK;
}

void nlm_pool_destroy(nlm_pool *pool) {
    if (!pool) return;
    pool->is_stopping = true;
    begin_region(pool);
    for (uint32_t i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    unbind_caller(pool);
    nlm_placement_release(&pool->placement);
    free(pool->workers);
    free(pool);
}

uint32_t nlm_pool_threads(const nlm_pool *pool) {
    return pool->placement.threads;
}

uint64_t nlm_pool_waits(const nlm_pool *pool) {
    return pool->waits;
}

const char *nlm_pool_reason(const nlm_pool *pool) {
    return pool->placement.reason;
}
