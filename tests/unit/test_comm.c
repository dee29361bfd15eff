/* Sums over ranks: two programs in two threads. */
#include <pthread.h>

#include "unit/far_device.h"

enum { RANKS = 2 };

/* ---- two ranks that meet in memory ---- */

typedef struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    float *values[RANKS]; /* of those who have come */
    uint32_t n_come, n_gone;
    uint64_t count;
    bool is_given_up;
} meeting;

typedef struct rank {
    meeting *at;
    nlm_comm comm;
    fake_device *stream; /* or NULL */
    uint32_t sums;
} rank;

static void add_up(const meeting *m) {
    for (uint64_t i = 0; i < m->count; i++) {
        const float sum = m->values[0][i] + m->values[1][i];
        m->values[0][i] = m->values[1][i] = sum;
    }
}

/* On a stream it waits for what was given before, as it may. */
static nlm_status meet(void *self, const nlm_device *device, void *stream, const nlm_place_v1 *place, uint64_t count,
                       nlm_error *err) {
    rank *me = self;
    meeting *m = me->at;
    uintptr_t address = (uintptr_t)place->address;
    if (device) {
        fake_sync(device->api.self, stream, err);
        if (address - me->stream->bias != place->buffer + place->offset) return NLM_INTERNAL;
        address -= me->stream->bias;
    }
    pthread_mutex_lock(&m->lock);
    me->sums++;
    m->values[me->comm.rank] = (float *)address;
    m->count = count;
    if (++m->n_come == RANKS) {
        add_up(m);
        m->n_gone = 0;
        pthread_cond_broadcast(&m->changed);
    }
    while (m->n_come < RANKS && !m->is_given_up) pthread_cond_wait(&m->changed, &m->lock);
    const bool is_met = m->n_come == RANKS;
    if (is_met && ++m->n_gone == RANKS) m->n_come = 0;
    while (is_met && m->n_come == RANKS && !m->is_given_up) pthread_cond_wait(&m->changed, &m->lock);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return is_met ? NLM_OK : NLM_CANCELLED;
}

static void give_up(void *self) {
    meeting *m = ((rank *)self)->at;
    pthread_mutex_lock(&m->lock);
    m->is_given_up = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- a graph with two sums ---- */

typedef struct worker {
    fixture *f;
    rank rank;
    nlm_device *device; /* the rank's own */
    fake_device fake;
    nlm_env env;
    nlm_program *program;
    nlm_value x, y;
    nlm_status status;
    nlm_error error;
} worker;

/* y = 2 sum(x + sum(x)) */
static void plan_sums(worker *w) {
    nlm_graph *g = fixture_graph();
    w->x = nlm_graph_input(g, "x", NLM_F32, SHAPE(ROWS, IN), NLM_ROWS_TOKENS);
    const nlm_value sum = nlm_graph_sum_over_ranks(g, nlm_graph_scale(g, w->x, 1, 0));
    w->y = nlm_graph_scale(g, nlm_graph_sum_over_ranks(g, nlm_graph_add(g, w->x, sum)), 2, 0);
    nlm_graph_output(g, w->y);
    expect_ok(nlm_graph_plan(g, &w->env, &w->program, &w->error), &w->error);
    nlm_graph_destroy(g);
}

static float number(uint32_t rank, int i) {
    return (float)(rank + 1) * (float)(i % 7 - 3);
}

static void *run_rank(void *user) {
    worker *w = user;
    float *x = nlm_program_input(w->program, w->x);
    for (int i = 0; i < ROWS * IN; i++) x[i] = number(w->rank.comm.rank, i);
    const int32_t live[NLM_ROWS_KINDS] = {0, 3, 0, 0};
    w->status = nlm_program_run(w->program, &(nlm_run_info){.live_rows = live}, &w->error);
    return NULL;
}

static void open_ranks(fixture *f, meeting *m, worker *workers, bool on_streams) {
    fixture_open(f, 1);
    *m = (meeting){.n_come = 0};
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    for (uint32_t r = 0; r < RANKS; r++) {
        worker *w = &workers[r];
        *w = (worker){.f = f, .error = NLM_ERROR_INIT};
        expect_ok(nlm_plugins_open(fake_plugins, "cpu_scalar", 0, NULL, &w->device, &w->error), &w->error);
        w->rank = (rank){.at = m, .stream = on_streams ? &w->fake : NULL};
        w->rank.comm = (nlm_comm){.self = &w->rank, .rank = r, .n_ranks = RANKS, .sum = meet, .give_up = give_up};
        if (on_streams)
            fake_stream(&w->fake, w->device, "far");
        else
            fake_sliced(&w->fake, w->device, "near");
        w->env = (nlm_env){.devices = {&w->fake.device}, .n_devices = 1, .comm = &w->rank.comm};
        const nlm_pool_options pool = {.threads = 2, .is_unbound = true};
        expect_ok(nlm_pool_create(&pool, &w->env.pool, &w->error), &w->error);
        plan_sums(w);
    }
}

static void close_ranks(fixture *f, meeting *m, worker *workers) {
    for (uint32_t r = 0; r < RANKS; r++) {
        nlm_program_destroy(workers[r].program);
        nlm_pool_destroy(workers[r].env.pool);
        nlm_device_close(workers[r].device);
        fake_release(&workers[r].fake);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    fixture_close(f);
}

static void run_ranks(worker *workers) {
    pthread_t threads[RANKS];
    for (uint32_t r = 0; r < RANKS; r++) {
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[r], NULL, run_rank, &workers[r]), 0);
    }
    for (uint32_t r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
}

static void ranks_add_up_what_they_have(void) {
    for (int on_streams = 0; on_streams < 2; on_streams++) {
        fixture f;
        meeting m;
        worker workers[RANKS];
        open_ranks(&f, &m, workers, on_streams);
        for (int run = 0; run < 3; run++) run_ranks(workers);
        for (uint32_t r = 0; r < RANKS; r++) {
            expect_ok(workers[r].status, &workers[r].error);
            CU_ASSERT_EQUAL(workers[r].rank.sums, 2 * 3);
            const float *y = nlm_program_output(workers[r].program, workers[r].y);
            for (int i = 0; i < 3 * IN; i++) {
                const float total = number(0, i) + number(1, i);
                CU_ASSERT_EQUAL(y[i], 2 * (total + RANKS * total)); /* small integers: exact */
            }
        }
        close_ranks(&f, &m, workers);
    }
}

static void a_rank_that_fails_does_not_leave_the_other_waiting(void) {
    fixture f;
    meeting m;
    worker workers[RANKS];
    open_ranks(&f, &m, workers, false);
    workers[1].fake.failing_op = NLM_OP_add; /* between the two sums */
    run_ranks(workers);
    CU_ASSERT_EQUAL(workers[0].status, NLM_CANCELLED);
    expect_contains(workers[0].error.msg, "sum over 2 ranks");
    CU_ASSERT_EQUAL(workers[1].status, NLM_DEVICE_ERROR);
    m.is_given_up = false;
    CU_ASSERT_EQUAL(nlm_program_run(workers[0].program, &(nlm_run_info){.live_rows = (const int32_t[]){0, -1, 0, 0}},
                                    &workers[0].error),
                    NLM_INVALID_ARGUMENT);
    CU_ASSERT_TRUE(m.is_given_up); /* before it began */
    close_ranks(&f, &m, workers);
}

static void without_ranks_a_sum_is_its_value(void) {
    fixture f;
    fixture_open(&f, 2);
    worker w = {.f = &f, .env = f.env, .error = NLM_ERROR_INIT};
    plan_sums(&w);
    run_rank(&w);
    expect_ok(w.status, &w.error);
    const float *y = nlm_program_output(w.program, w.y);
    for (int i = 0; i < 3 * IN; i++) CU_ASSERT_EQUAL(y[i], 2 * (number(0, i) + number(0, i)));
    nlm_program_destroy(w.program);
    fixture_close(&f);
}

/* What the backward pass leaves in a gradient is summed after it, and the gradient itself stays. */
static void a_gradient_can_be_summed(void) {
    fixture f;
    fixture_open(&f, 1);
    nlm_error err = NLM_ERROR_INIT;
    nlm_parameter p;
    expect_ok(nlm_parameter_init(&p, "p", NLM_F32, SHAPE(3, 4), &err), &err);
    nlm_graph *g = fixture_graph();
    const nlm_value gradient = nlm_graph_gradient(g, nlm_graph_parameter(g, &p));
    const nlm_value y = nlm_graph_sum_over_ranks(g, gradient);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&f, g, &plan_all);
    float values[12];
    for (int i = 0; i < 12; i++) values[i] = (float)i;
    expect_ok(nlm_state_write(&p.gradient, 0, values, sizeof values, &err), &err);
    fixture_run(program, NULL);
    CU_ASSERT_EQUAL(memcmp(nlm_program_output(program, y), values, sizeof values), 0);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    nlm_parameter_release(&p);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(ranks_add_up_what_they_have),
    CHECK_CASE(a_rank_that_fails_does_not_leave_the_other_waiting),
    CHECK_CASE(without_ranks_a_sum_is_its_value),
    CHECK_CASE(a_gradient_can_be_summed),
};
CHECK_MAIN("comm", cases)
