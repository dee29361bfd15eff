/* Running programs: on threads, on a device with a queue and memory of its own, and on both at once. */
#include "unit/random_graph.h"

#include <math.h>
#include <sys/mman.h>

/* ---- counting allocations: linked with --wrap --------------------------------------------------------- */

static atomic_uint allocations;

#define WRAP(result, name, parameters, arguments) \
    result __real_##name parameters;              \
    result __wrap_##name parameters;              \
    result __wrap_##name parameters {             \
        atomic_fetch_add(&allocations, 1);        \
        return __real_##name arguments;           \
    }
WRAP(void *, malloc, (size_t bytes), (bytes))
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(void *, realloc, (void *memory, size_t bytes), (memory, bytes))
WRAP(void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(void *, mmap, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset))

/* ---- on threads ---------------------------------------------------------------------------------------- */

enum { ROWS = 5, IN = 12, HIDDEN = 20, OUT = 7 };

typedef struct network {
    nlm_graph *graph;
    nlm_value x, y;
} network;

/* y = silu(x a^T) * (x a^T) b^T + bias, in layer 4 */
static network network_make(fixture *f) {
    if (f->n_weights == 0) {
        fixture_weight(f, "a", SHAPE(HIDDEN, IN));
        fixture_weight(f, "b", SHAPE(OUT, HIDDEN));
        fixture_weight(f, "bias", SHAPE(OUT));
    }
    network n = {.graph = fixture_graph()};
    nlm_graph *g = n.graph;
    nlm_graph_set_layer(g, 4);
    n.x = nlm_graph_input(g, "x", NLM_F32, SHAPE(ROWS, IN), NLM_ROWS_TOKENS);
    const nlm_value h = nlm_graph_matmul(g, n.x, nlm_graph_weight(g, &f->weights[0]), NLM_NO_VALUE, NLM_NO_VALUE);
    n.y = nlm_graph_matmul(g, nlm_graph_silu_mul(g, h, h), nlm_graph_weight(g, &f->weights[1]),
                           nlm_graph_weight(g, &f->weights[2]), NLM_NO_VALUE);
    nlm_graph_output(g, n.y);
    return n;
}

static void network_input(const network *n, nlm_program *program) {
    float *x = nlm_program_input(program, n->x);
    for (int i = 0; i < ROWS * IN; i++) x[i] = (float)((i * 7) % 11 - 5) / 4.0f;
}

static void network_oracle(const fixture *f, const float *x, double *y) {
    const float *a = f->weights[0].source.data, *b = f->weights[1].source.data, *bias = f->weights[2].source.data;
    for (int r = 0; r < ROWS; r++) {
        double hidden[HIDDEN] = {0};
        for (int n = 0; n < HIDDEN; n++) {
            for (int k = 0; k < IN; k++) hidden[n] += (double)x[r * IN + k] * (double)a[n * IN + k];
            hidden[n] = hidden[n] / (1 + exp(-hidden[n])) * hidden[n];
        }
        for (int n = 0; n < OUT; n++) {
            y[r * OUT + n] = bias[n];
            for (int k = 0; k < HIDDEN; k++) y[r * OUT + n] += hidden[k] * (double)b[n * HIDDEN + k];
        }
    }
}

static void a_program_computes_its_graph(void) {
    fixture f;
    fixture_open(&f, 3);
    network n = network_make(&f);
    nlm_program *program = fixture_plan(&f, n.graph, &plan_all);
    nlm_graph_destroy(n.graph);
    network_input(&n, program);
    fixture_run(program, NULL);
    double expected[ROWS * OUT];
    network_oracle(&f, nlm_program_input(program, n.x), expected);
    const float *y = nlm_program_output(program, n.y);
    for (int i = 0; i < ROWS * OUT; i++) CU_ASSERT_DOUBLE_EQUAL(y[i], expected[i], 1e-5);
    CU_ASSERT_PTR_NULL(nlm_program_output(program, n.x));
    CU_ASSERT_PTR_NULL(nlm_program_input(program, n.y));
    nlm_program_destroy(program);
    fixture_close(&f);
}

static void results_do_not_depend_on_the_number_of_threads(void) {
    float expected[RANDOM_RESULTS], results[RANDOM_RESULTS];
    for (uint32_t threads = 1; threads <= 4; threads++) {
        fixture f;
        fixture_open(&f, threads);
        random_graph r = random_graph_make(&f, 24);
        nlm_program *program = fixture_plan(&f, r.graph, &plan_packed);
        random_graph_run(&r, program, RANDOM_ROWS, threads == 1 ? expected : results);
        if (threads > 1) CU_ASSERT_EQUAL(memcmp(expected, results, sizeof results), 0);
        nlm_program_destroy(program);
        nlm_graph_destroy(r.graph);
        fixture_close(&f);
    }
}

static void a_run_may_use_fewer_rows_than_planned(void) {
    fixture f;
    fixture_open(&f, 2);
    network n = network_make(&f);
    nlm_program *program = fixture_plan(&f, n.graph, &plan_all);
    network_input(&n, program);
    float expected[ROWS * OUT];
    fixture_run(program, (const int32_t[]){0, ROWS, 0, 0});
    memcpy(expected, nlm_program_output(program, n.y), sizeof expected);
    for (int32_t live = 1; live <= ROWS; live++) {
        fixture_run(program, (const int32_t[]){0, live, 0, 0});
        CU_ASSERT_EQUAL(memcmp(expected, nlm_program_output(program, n.y), (size_t)live * OUT * sizeof(float)), 0);
    }
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_program_run(program, (const int32_t[]){0, ROWS + 1, 0, 0}, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "6 tokens, but the program was planned for 0 to 5");
    CU_ASSERT_EQUAL(nlm_program_run(program, (const int32_t[]){0, -1, 0, 0}, &err), NLM_INVALID_ARGUMENT);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    fixture_close(&f);
}

static void programs_of_one_environment_share_memory(void) {
    fixture f;
    fixture_open(&f, 2);
    network n = network_make(&f);
    nlm_program *first = fixture_plan(&f, n.graph, &plan_packed);
    const void *output = nlm_program_output(first, n.y);
    random_graph r = random_graph_make(&f, 20);
    nlm_program *second = fixture_plan(&f, r.graph, &plan_plain);
    CU_ASSERT_PTR_EQUAL(nlm_program_output(first, n.y), output);
    network_input(&n, first);
    float results[RANDOM_RESULTS], again[RANDOM_RESULTS];
    random_graph_run(&r, second, RANDOM_ROWS, results);
    fixture_run(first, NULL);
    random_graph_run(&r, second, RANDOM_ROWS, again);
    CU_ASSERT_EQUAL(memcmp(results, again, sizeof again), 0);
    nlm_program_destroy(second);
    fixture_run(first, NULL);
    nlm_program_destroy(first);
    nlm_graph_destroy(r.graph);
    nlm_graph_destroy(n.graph);
    fixture_close(&f);
}

static void a_run_allocates_nothing(void) {
    fixture f;
    fixture_open(&f, 3);
    fake_device sliced;
    fake_sliced(&sliced, f.reference, "sliced");
    f.env.devices[0] = &sliced.device;
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_profile_create(&f.env.profile, &err), &err);
    network n = network_make(&f);
    CU_ASSERT_TRUE(atomic_load(&allocations) > 0); /* the counter works */
    nlm_program *program = fixture_plan(&f, n.graph, &plan_all);
    network_input(&n, program);
    const uint32_t before = atomic_load(&allocations);
    for (int32_t i = 0; i < 10; i++) nlm_program_run(program, (const int32_t[]){0, 1 + i % ROWS, 0, 0}, &err);
    CU_ASSERT_EQUAL(atomic_load(&allocations), before);
    sliced.failing_op = NLM_OP_silu_mul;
    sliced.failing_worker = 1;
    CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_EQUAL(atomic_load(&allocations), before);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    nlm_profile_destroy(f.env.profile);
    fixture_close(&f);
}

static void a_failing_worker_ends_the_run_for_all(void) {
    fixture f;
    fixture_open(&f, 4);
    fake_device sliced;
    fake_sliced(&sliced, f.reference, "sliced");
    f.env.devices[0] = &sliced.device;
    network n = network_make(&f);
    nlm_program *program = fixture_plan(&f, n.graph, &plan_packed);
    network_input(&n, program);
    float expected[ROWS * OUT];
    fixture_run(program, NULL);
    memcpy(expected, nlm_program_output(program, n.y), sizeof expected);
    for (uint32_t worker = 0; worker < 4; worker++) {
        sliced.failing_op = NLM_OP_silu_mul;
        sliced.failing_worker = worker;
        sliced.waiting_op = worker % 2 ? NLM_OP_silu_mul : NLM_OP_NONE; /* the others wait inside the slot */
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
        char message[96];
        snprintf(message, sizeof message, "silu_mul, layer 4, on sliced: worker %u was told to fail", worker);
        CU_ASSERT_STRING_EQUAL(err.msg, message);
        sliced.failing_op = NLM_OP_NONE;
        fixture_run(program, NULL);
        CU_ASSERT_EQUAL(memcmp(expected, nlm_program_output(program, n.y), sizeof expected), 0);
    }
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    fixture_close(&f);
}

static void a_profile_counts_time_bytes_and_flop(void) {
    fixture f;
    fixture_open(&f, 2);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_profile_create(&f.env.profile, &err), &err);
    network n = network_make(&f);
    nlm_program *program = fixture_plan(&f, n.graph, &plan_packed);
    network_input(&n, program);
    fixture_run(program, (const int32_t[]){0, 2, 0, 0});
    fixture_run(program, (const int32_t[]){0, 3, 0, 0});
    nlm_str text = {0};
    nlm_profile_json(f.env.profile, &text);
    char expected[160];
    /* 2 + 3 rows through [20,12] and [7,20]; weights twice, bias twice, rows in and out of each */
    const int rows = 5, flop = 2 * rows * (HIDDEN * IN + OUT * HIDDEN);
    const int bytes = 4 * (2 * (HIDDEN * IN + OUT * HIDDEN + OUT) + rows * (IN + HIDDEN) + rows * (HIDDEN + OUT));
    snprintf(expected, sizeof expected, "\"bytes\":%d,\"flop\":%d}", bytes, flop);
    expect_contains(text.data, "{\"op\":\"matmul\",\"backend\":\"cpu_scalar\",\"calls\":4,");
    expect_contains(text.data, expected);
    expect_contains(text.data, "\"layers\":[{\"layer\":4,\"calls\":6,");
    nlm_str_release(&text);
    nlm_profile_print(f.env.profile, &text);
    expect_contains(text.data, "silu_mul           cpu_scalar              2");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    nlm_profile_destroy(f.env.profile);
    fixture_close(&f);
}

/* ---- a device with a queue and memory of its own ------------------------------------------------------ */

typedef struct far_device {
    fixture f;
    fake_device stream;
} far_device;

static void far_open(far_device *d, uint32_t threads) {
    fixture_open(&d->f, threads);
    fake_stream(&d->stream, d->f.reference, "far");
    d->f.env.devices[0] = &d->stream.device;
    d->f.env.devices[1] = d->f.reference;
    d->f.env.n_devices = 2;
}

static void far_close(far_device *d) {
    fixture_close(&d->f);
    CU_ASSERT_EQUAL(d->stream.n_buffers, 0);
    CU_ASSERT_EQUAL(d->stream.n_streams, 0);
    fake_release(&d->stream);
}

static void a_queue_gives_the_results_of_threads(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_all);
    network_input(&n, program);
    double expected[ROWS * OUT];
    network_oracle(&d.f, nlm_program_input(program, n.x), expected);
    for (int i = 0; i < 2; i++) {
        fixture_run(program, NULL);
        const float *y = nlm_program_output(program, n.y);
        for (int j = 0; j < ROWS * OUT; j++) CU_ASSERT_DOUBLE_EQUAL(y[j], expected[j], 1e-5);
    }
    CU_ASSERT_EQUAL(atomic_load(&d.stream.calls[NLM_OP_matmul]), 4); /* once an op and run */
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* Random graphs, random ops refused by the device: the results are those of the host alone. */
static void expect_mixtures_to_agree(far_device *d) {
    const uint64_t seed = d->f.random;
    const nlm_env mixed = d->f.env;
    nlm_env host = mixed;
    host.devices[0] = d->f.reference;
    host.n_devices = 1;
    for (uint32_t i = 0; i < 60; i++) {
        d->f.random = seed + i;
        random_graph r = random_graph_make(&d->f, 12 + i % 24);
        d->stream.refused = i == 0 ? 0 : fixture_random(&d->f, 1u << NLM_OP_END);
        d->f.env = host;
        nlm_program *expected_program = fixture_plan(&d->f, r.graph, &plan_plain);
        d->f.env = mixed;
        nlm_program *program = fixture_plan(&d->f, r.graph, i % 2 ? &plan_packed : &plan_plain);
        float expected[RANDOM_RESULTS], results[RANDOM_RESULTS];
        for (int32_t live = RANDOM_ROWS; live > 0; live -= 4) {
            random_graph_run(&r, expected_program, live, expected);
            random_graph_run(&r, program, live, results);
            if (memcmp(expected, results, sizeof results) != 0) printf("\nseed %u, %d live\n", i, live);
            CU_ASSERT_EQUAL(memcmp(expected, results, sizeof results), 0);
        }
        nlm_program_destroy(expected_program);
        nlm_program_destroy(program);
        nlm_graph_destroy(r.graph);
    }
}

static void any_mixture_of_device_and_host_changes_no_bit(void) {
    far_device d;
    far_open(&d, 2);
    expect_mixtures_to_agree(&d);
    far_close(&d);
}

static void a_queue_may_work_in_host_memory(void) {
    far_device d;
    far_open(&d, 2);
    fake_shared_stream(&d.stream, d.f.reference, "shared");
    expect_mixtures_to_agree(&d);
    far_close(&d);
}

static void fallbacks_from_a_device_count_the_bytes_they_move(void) {
    far_device d;
    far_open(&d, 1);
    d.stream.refused = OP_BIT(silu_mul);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    nlm_str text = {0};
    nlm_program_fallbacks(program, &text);
    expect_contains(text.data, "silu_mul: 1 on cpu_scalar, 400 bytes moved to it a run: told to refuse silu_mul");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_larger_program_moves_the_device_memory_of_others(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    nlm_program *small = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, small);
    fixture_run(small, NULL);
    float expected[ROWS * OUT];
    memcpy(expected, nlm_program_output(small, n.y), sizeof expected);
    nlm_graph *g = fixture_graph();
    nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(300, IN), NLM_ROWS_TOKENS);
    const nlm_value y = nlm_graph_matmul(g, x, nlm_graph_weight(g, &d.f.weights[0]), NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(g, y);
    nlm_program *large = fixture_plan(&d.f, g, &plan_packed);
    fixture_run(large, NULL);
    fixture_run(small, NULL);
    CU_ASSERT_EQUAL(memcmp(expected, nlm_program_output(small, n.y), sizeof expected), 0);
    nlm_program_destroy(large);
    nlm_program_destroy(small);
    nlm_graph_destroy(g);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void an_error_of_enqueued_work_surfaces_at_the_end(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    d.stream.failing_op = NLM_OP_silu_mul;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_STRING_EQUAL(err.msg, "far: worker 0 was told to fail");
    d.stream.failing_op = NLM_OP_NONE;
    fixture_run(program, NULL);
    double expected[ROWS * OUT];
    network_oracle(&d.f, nlm_program_input(program, n.x), expected);
    const float *y = nlm_program_output(program, n.y);
    for (int i = 0; i < ROWS * OUT; i++) CU_ASSERT_DOUBLE_EQUAL(y[i], expected[i], 1e-5);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_profile_waits_for_each_op_of_a_queue(void) {
    far_device d;
    far_open(&d, 1);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_profile_create(&d.f.env.profile, &err), &err);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    fixture_run(program, NULL);
    nlm_str text = {0};
    nlm_profile_json(d.f.env.profile, &text);
    expect_contains(text.data, "{\"op\":\"matmul\",\"backend\":\"far\",\"calls\":2,");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    nlm_profile_destroy(d.f.env.profile);
    far_close(&d);
}

/* Planning with ever more memory fails cleanly until it succeeds. */
static void a_device_without_memory_fails_to_plan_and_keeps_nothing(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    uint32_t failures = 0;
    for (uint64_t memory = 0;; memory += 200) {
        nlm_activations_destroy(d.f.env.activations);
        d.f.env.activations = NULL; /* each program has its own */
        d.stream.memory_left = memory;
        nlm_program *program = NULL;
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = nlm_graph_plan(n.graph, &d.f.env, &program, &err);
        if (status != NLM_OK) CU_ASSERT_EQUAL(status, NLM_OUT_OF_MEMORY);
        nlm_program_destroy(program);
        for (uint32_t i = 0; i < d.f.n_weights; i++) nlm_weight_release(&d.f.weights[i]);
        CU_ASSERT_EQUAL(d.stream.n_buffers, 0);
        CU_ASSERT_EQUAL(d.stream.n_streams, 0);
        if (status == NLM_OK) break;
        failures++;
    }
    CU_ASSERT_TRUE(failures >= 4);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static const check_case cases[] = {
    CHECK_CASE(a_program_computes_its_graph),
    CHECK_CASE(results_do_not_depend_on_the_number_of_threads),
    CHECK_CASE(a_run_may_use_fewer_rows_than_planned),
    CHECK_CASE(programs_of_one_environment_share_memory),
    CHECK_CASE(a_run_allocates_nothing),
    CHECK_CASE(a_failing_worker_ends_the_run_for_all),
    CHECK_CASE(a_profile_counts_time_bytes_and_flop),
    CHECK_CASE(a_queue_gives_the_results_of_threads),
    CHECK_CASE(any_mixture_of_device_and_host_changes_no_bit),
    CHECK_CASE(a_queue_may_work_in_host_memory),
    CHECK_CASE(fallbacks_from_a_device_count_the_bytes_they_move),
    CHECK_CASE(a_larger_program_moves_the_device_memory_of_others),
    CHECK_CASE(an_error_of_enqueued_work_surfaces_at_the_end),
    CHECK_CASE(a_profile_waits_for_each_op_of_a_queue),
    CHECK_CASE(a_device_without_memory_fails_to_plan_and_keeps_nothing),
};
CHECK_MAIN("executor", cases)
