/* Running programs on threads. */
#include "unit/far_device.h"

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
    CU_ASSERT_EQUAL(
        nlm_program_run(program, &(nlm_run_info){.live_rows = (const int32_t[]){0, ROWS + 1, 0, 0}}, &err),
        NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "6 tokens, but the program was planned for 0 to 5");
    CU_ASSERT_EQUAL(nlm_program_run(program, &(nlm_run_info){.live_rows = (const int32_t[]){0, -1, 0, 0}}, &err),
                    NLM_INVALID_ARGUMENT);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    fixture_close(&f);
}

static void an_op_for_an_output_that_is_not_wanted_is_left_out(void) {
    fixture f;
    fixture_open(&f, 2);
    fake_device sliced;
    fake_sliced(&sliced, f.reference, "sliced");
    f.env.devices[0] = &sliced.device;
    network n = network_make(&f);
    const nlm_value best = nlm_graph_argmax(n.graph, n.y, NLM_ARGMAX_FINITE);
    nlm_graph_output(n.graph, best);
    nlm_program *program = fixture_plan(&f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    nlm_run_info info = {.outputs = &n.y, .n_outputs = 1, .picks_outputs = true};
    const void *fetched;
    expect_ok(nlm_program_run(program, &info, &err), &err);
    CU_ASSERT_EQUAL(atomic_load(&sliced.calls[NLM_OP_argmax]), 0);
    network_expect(&f, &n, program);
    CU_ASSERT_EQUAL(nlm_program_fetch(program, best, &fetched, &err), NLM_INVALID_ARGUMENT);
    info.outputs = &best; /* the logits are an op's result that argmax reads: they are computed */
    expect_ok(nlm_program_run(program, &info, &err), &err);
    CU_ASSERT_EQUAL(atomic_load(&sliced.calls[NLM_OP_argmax]), 2); /* one call a worker */
    expect_ok(nlm_program_fetch(program, n.y, &fetched, &err), &err);
    const float *y = fetched;
    const int32_t *chosen = nlm_program_output(program, best);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < OUT; i++) CU_ASSERT_TRUE(y[r * OUT + chosen[r]] >= y[r * OUT + i]);
    }
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
    for (int32_t i = 0; i < 10; i++)
        nlm_program_run(program, &(nlm_run_info){.live_rows = (const int32_t[]){0, 1 + i % ROWS, 0, 0}}, &err);
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

static const check_case cases[] = {
    CHECK_CASE(a_program_computes_its_graph),
    CHECK_CASE(results_do_not_depend_on_the_number_of_threads),
    CHECK_CASE(a_run_may_use_fewer_rows_than_planned),
    CHECK_CASE(an_op_for_an_output_that_is_not_wanted_is_left_out),
    CHECK_CASE(programs_of_one_environment_share_memory),
    CHECK_CASE(a_run_allocates_nothing),
    CHECK_CASE(a_failing_worker_ends_the_run_for_all),
    CHECK_CASE(a_profile_counts_time_bytes_and_flop),
};
CHECK_MAIN("executor", cases)
