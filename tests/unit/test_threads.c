/* The pool: regions, barriers, breaking out, binding, under the thread sanitizer too. */
#include "unit/check.h"

#include "base/clock.h"
#include "base/status.h"
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 8

static nlm_pool *new_pool(uint32_t threads) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_pool *pool = NULL;
    const nlm_pool_options options = {.threads = threads};
    CU_ASSERT_EQUAL_FATAL(nlm_pool_create(&options, &pool, &err), NLM_OK);
    return pool;
}

/* ---- regions ------------------------------------------------------------------------------ */

typedef struct calls {
    uint32_t of[THREADS_MAX]; /* not atomic: the region's end must order it */
    uint32_t nth;
} calls;

static void count_call(void *user, uint32_t ith, uint32_t nth) {
    calls *seen = user;
    seen->of[ith]++;
    if (ith == 0) seen->nth = nth;
}

static void run_calls_every_worker_once(void) {
    for (uint32_t threads = 1; threads <= THREADS_MAX; threads *= 2) {
        nlm_pool *pool = new_pool(threads);
        CU_ASSERT_EQUAL(nlm_pool_threads(pool), threads);
        calls seen = {0};
        for (uint32_t i = 1; i <= 200; i++) {
            nlm_pool_run(pool, count_call, &seen);
            CU_ASSERT_EQUAL(seen.nth, threads);
            for (uint32_t t = 0; t < threads; t++) CU_ASSERT_EQUAL_FATAL(seen.of[t], i);
        }
        nlm_pool_destroy(pool);
    }
}

static void note_thread(void *user, uint32_t ith, uint32_t nth) {
    (void)nth;
    ((pthread_t *)user)[ith] = pthread_self();
}

static void worker_0_is_the_caller(void) {
    nlm_pool *pool = new_pool(3);
    pthread_t threads[3];
    nlm_pool_run(pool, note_thread, threads);
    CU_ASSERT_TRUE(pthread_equal(threads[0], pthread_self()));
    CU_ASSERT_FALSE(pthread_equal(threads[1], threads[0]));
    CU_ASSERT_FALSE(pthread_equal(threads[2], threads[1]));
    nlm_pool_destroy(pool);
}

/* ---- barriers ----------------------------------------------------------------------------- */

#define ROUNDS 500u

typedef struct relay {
    nlm_pool *pool;
    uint32_t written[THREADS_MAX]; /* each worker's round, read by its neighbour after a barrier */
    _Atomic uint32_t errors;
} relay;

static void relay_rounds(void *user, uint32_t ith, uint32_t nth) {
    relay *r = user;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        r->written[ith] = round;
        if (nlm_pool_barrier(r->pool, ith) != NLM_OK) atomic_fetch_add(&r->errors, 1);
        if (r->written[(ith + 1) % nth] != round) atomic_fetch_add(&r->errors, 1);
        if (nlm_pool_barrier(r->pool, ith) != NLM_OK) atomic_fetch_add(&r->errors, 1);
    }
}

static void barrier_shows_what_others_wrote_before(void) {
    for (uint32_t threads = 1; threads <= THREADS_MAX; threads *= 2) {
        relay r = {.pool = new_pool(threads)};
        nlm_pool_run(r.pool, relay_rounds, &r);
        nlm_pool_run(r.pool, relay_rounds, &r);
        CU_ASSERT_EQUAL(atomic_load(&r.errors), 0);
        nlm_pool_destroy(r.pool);
    }
}

/* Worker 0 comes late to a barrier where the others wait: longer than they spin, so they sleep. */
static void sleep_late(void *user, uint32_t ith, uint32_t nth) {
    relay *r = user;
    (void)nth;
    if (ith == 0) {
        const uint64_t start_ns = nlm_clock_ns();
        while (nlm_clock_ns() - start_ns < 2000000u) sched_yield();
        r->written[0]++;
    }
    if (nlm_pool_barrier(r->pool, ith) != NLM_OK) atomic_fetch_add(&r->errors, 1);
    if (r->written[0] == 0) atomic_fetch_add(&r->errors, 1);
}

static void sleeping_workers_are_woken(void) {
    relay r = {.pool = new_pool(4)};
    for (int i = 0; i < 5; i++) {
        r.written[0] = 0;
        nlm_pool_run(r.pool, sleep_late, &r);
        CU_ASSERT_EQUAL(r.written[0], 1);
    }
    CU_ASSERT_EQUAL(atomic_load(&r.errors), 0);
    nlm_pool_destroy(r.pool);
}

/* ---- break -------------------------------------------------------------------------------- */

typedef struct breaking {
    nlm_pool *pool;
    uint32_t breaker;
    uint32_t at_round;
    _Atomic uint32_t cancelled;
    _Atomic uint32_t passed_after;
} breaking;

static void break_in_round(void *user, uint32_t ith, uint32_t nth) {
    breaking *b = user;
    (void)nth;
    for (uint32_t round = 0;; round++) {
        if (ith == b->breaker && round == b->at_round) {
            nlm_pool_break(b->pool);
            break;
        }
        if (nlm_pool_barrier(b->pool, ith) != NLM_OK) break;
    }
    if (nlm_pool_barrier(b->pool, ith) == NLM_CANCELLED) {
        atomic_fetch_add(&b->cancelled, 1);
    } else {
        atomic_fetch_add(&b->passed_after, 1);
    }
}

static void break_cancels_present_and_later_barriers_of_the_region(void) {
    for (uint32_t threads = 1; threads <= 4; threads++) {
        breaking b = {.pool = new_pool(threads)};
        for (uint32_t i = 0; i < 100; i++) {
            b.breaker = i % threads;
            b.at_round = i % 7;
            atomic_store(&b.cancelled, 0);
            nlm_pool_run(b.pool, break_in_round, &b);
            CU_ASSERT_EQUAL_FATAL(atomic_load(&b.cancelled), threads);
            CU_ASSERT_EQUAL_FATAL(atomic_load(&b.passed_after), 0);
        }
        /* The next region starts whole. */
        relay r = {.pool = b.pool};
        nlm_pool_run(r.pool, relay_rounds, &r);
        CU_ASSERT_EQUAL(atomic_load(&r.errors), 0);
        nlm_pool_destroy(b.pool);
    }
}

/* ---- creating and binding ----------------------------------------------------------------- */

/* ---- claims ------------------------------------------------------------------------------- */

enum { PARTS = 40, OPS = 3 };

/* Ops with no barrier between, whose parts all workers take, each beginning with its own. */
typedef struct claimed {
    nlm_pool *pool;
    uint64_t op;
    _Atomic uint32_t times[OPS][THREADS_MAX][PARTS];
} claimed;

static void claim_all(void *user, uint32_t ith, uint32_t nth) {
    claimed *c = user;
    for (uint32_t op = 0; op < OPS; op++) {
        for (uint32_t i = 0; i < nth; i++) {
            const uint32_t of = (ith + i) % nth;
            for (;;) {
                const uint32_t part = nlm_pool_claim(c->pool, of, c->op + op);
                if (part >= PARTS) break;
                atomic_fetch_add(&c->times[op][of][part], 1);
            }
        }
    }
}

static void each_part_is_claimed_once(void) {
    nlm_pool *pool = new_pool(4);
    for (int round = 0; round < 200; round++) {
        claimed c = {.pool = pool, .op = nlm_pool_count_ops(pool, OPS)};
        nlm_pool_run(pool, claim_all, &c);
        for (uint32_t i = 0; i < OPS * THREADS_MAX * PARTS; i++) {
            const bool is_there = i / PARTS % THREADS_MAX < 4;
            CU_ASSERT_EQUAL_FATAL((&c.times[0][0][0])[i], is_there ? 1 : 0);
        }
    }
    nlm_pool_destroy(pool);
}

static void claims_end_where_their_numbers_do(void) {
    nlm_pool *pool = new_pool(1);
    const uint64_t op = nlm_pool_count_ops(pool, 2);
    for (uint32_t i = 0; i < 65535; i++) CU_ASSERT_EQUAL_FATAL(nlm_pool_claim(pool, 0, op), i);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(nlm_pool_claim(pool, 0, op), 65535);
    CU_ASSERT_EQUAL(nlm_pool_claim(pool, 0, op + 1), 0);
    CU_ASSERT_EQUAL(nlm_pool_claim(pool, 0, op), 65535); /* the later op has begun */
    nlm_pool_destroy(pool);
}

static void create_refuses_1025_threads(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_pool *pool = NULL;
    const nlm_pool_options options = {.threads = 1025};
    CU_ASSERT_EQUAL(nlm_pool_create(&options, &pool, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(pool);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "1025"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "1024"));
}

static uint32_t cpus_of_this_thread(void) {
    cpu_set_t mask;
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof mask, &mask), 0);
    return (uint32_t)CPU_COUNT(&mask);
}

static void zero_threads_stays_within_the_affinity_mask(void) {
    nlm_pool *pool = new_pool(0);
    CU_ASSERT_TRUE(nlm_pool_threads(pool) >= 1);
    CU_ASSERT_TRUE(nlm_pool_threads(pool) <= cpus_of_this_thread());
    CU_ASSERT_PTR_NOT_NULL(strstr(nlm_pool_reason(pool), "thread"));
    nlm_pool_destroy(pool);
}

static void note_mask(void *user, uint32_t ith, uint32_t nth) {
    (void)nth;
    cpu_set_t *masks = user;
    sched_getaffinity(0, sizeof masks[ith], &masks[ith]);
}

static void pool_of_all_cores_binds_each_worker_to_its_own(void) {
    cpu_set_t before, after, masks[CPU_SETSIZE];
    sched_getaffinity(0, sizeof before, &before);
    nlm_error err = NLM_ERROR_INIT;
    nlm_pool *pool = NULL;
    const nlm_pool_options options = {.bind_caller = true};
    CU_ASSERT_EQUAL_FATAL(nlm_pool_create(&options, &pool, &err), NLM_OK);
    const uint32_t threads = nlm_pool_threads(pool);
    const bool is_quota = strstr(nlm_pool_reason(pool), "the cgroup quota") != NULL;
    if (!is_quota) {
        nlm_pool_run(pool, note_mask, masks);
        cpu_set_t seen, both;
        CPU_ZERO(&seen);
        for (uint32_t i = 0; i < threads; i++) {
            CPU_AND(&both, &seen, &masks[i]);
            CU_ASSERT_EQUAL(CPU_COUNT(&both), 0); /* no two share a CPU */
            CPU_AND(&both, &before, &masks[i]);
            CU_ASSERT_TRUE(CPU_EQUAL(&both, &masks[i])); /* none leaves the mask */
            CPU_OR(&seen, &seen, &masks[i]);
        }
    }
    nlm_pool_destroy(pool);
    sched_getaffinity(0, sizeof after, &after);
    CU_ASSERT_TRUE(CPU_EQUAL(&before, &after));
    if (is_quota) CHECK_SKIP("a cgroup quota below the cores leaves the pool unbound");
}

static void unbound_workers_of_a_pinned_caller_keep_the_callers_mask(void) {
    cpu_set_t mask, masks[THREADS_MAX];
    sched_getaffinity(0, sizeof mask, &mask);
    nlm_error err = NLM_ERROR_INIT;
    nlm_pool *pool = NULL;
    const nlm_pool_options options = {.threads = 3, .is_unbound = true, .bind_caller = true};
    CU_ASSERT_EQUAL_FATAL(nlm_pool_create(&options, &pool, &err), NLM_OK);
    nlm_pool_run(pool, note_mask, masks);
    for (uint32_t i = 0; i < 3; i++) CU_ASSERT_TRUE(CPU_EQUAL(&mask, &masks[i]));
    nlm_pool_destroy(pool);
}

static void two_pools_live_side_by_side(void) {
    relay a = {.pool = new_pool(2)}, b = {.pool = new_pool(3)};
    for (int i = 0; i < 3; i++) {
        nlm_pool_run(a.pool, relay_rounds, &a);
        nlm_pool_run(b.pool, relay_rounds, &b);
    }
    CU_ASSERT_EQUAL(atomic_load(&a.errors) + atomic_load(&b.errors), 0);
    nlm_pool_destroy(a.pool);
    nlm_pool_destroy(b.pool);
    nlm_pool_destroy(NULL);
}

static const check_case cases[] = {
    CHECK_CASE(run_calls_every_worker_once),
    CHECK_CASE(worker_0_is_the_caller),
    CHECK_CASE(barrier_shows_what_others_wrote_before),
    CHECK_CASE(sleeping_workers_are_woken),
    CHECK_CASE(break_cancels_present_and_later_barriers_of_the_region),
    CHECK_CASE(each_part_is_claimed_once),
    CHECK_CASE(claims_end_where_their_numbers_do),
    CHECK_CASE(create_refuses_1025_threads),
    CHECK_CASE(zero_threads_stays_within_the_affinity_mask),
    CHECK_CASE(pool_of_all_cores_binds_each_worker_to_its_own),
    CHECK_CASE(unbound_workers_of_a_pinned_caller_keep_the_callers_mask),
    CHECK_CASE(two_pools_live_side_by_side),
};

CHECK_MAIN("threads", cases)
