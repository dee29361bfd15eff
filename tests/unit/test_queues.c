/* Running programs on stream devices: one with a queue and memory of its own, several, and the host beside them. */
#include "unit/far_device.h"

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
        d->stream.refused = i == 0 ? 0 : fixture_some_ops(&d->f);
        d->second.refused = fixture_some_ops(&d->f);
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

/* ---- several devices with memory of their own ---- */

static void two_devices_meet_on_the_host(void) {
    far_device d;
    far_open_two(&d, 2);
    expect_mixtures_to_agree(&d);
    CU_ASSERT_TRUE(d.second.uploads.calls > 0);
    CU_ASSERT_TRUE(d.second.downloads.calls > 0);
    far_close(&d);
}

static void peers_copy_and_wait_for_each_other(void) {
    far_device d;
    far_open_two(&d, 2);
    far_make_peers(&d);
    expect_mixtures_to_agree(&d);
    CU_ASSERT_TRUE(d.stream.peer_copies.calls > 0);
    CU_ASSERT_TRUE(d.second.peer_copies.calls > 0);
    far_close(&d);
}

static nlm_status copy_from_nowhere(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                                    uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *err) {
    (void)stream, (void)to_buffer, (void)to_offset, (void)peer, (void)from_buffer, (void)from_offset, (void)bytes;
    (void)err;
    ((fake_device *)self)->peer_copies.calls++;
    return NLM_UNSUPPORTED;
}

static void peers_that_cannot_reach_each_other_meet_on_the_host(void) {
    far_device d;
    far_open_two(&d, 2);
    d.stream.device.api.copy_from = copy_from_nowhere;
    d.second.device.api.copy_from = copy_from_nowhere;
    expect_mixtures_to_agree(&d);
    CU_ASSERT_TRUE(d.stream.peer_copies.calls > 0);
    far_close(&d);
}

/* silu_mul is on the second device, between two matmuls of the first: no value passes the host. */
static void a_run_on_peers_is_waited_for_at_its_end_alone(void) {
    far_device d;
    far_open_two(&d, 1);
    far_make_peers(&d);
    d.stream.refused = OP_BIT(silu_mul);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_program_submit(program, NULL, &err), &err);
    CU_ASSERT_EQUAL(d.stream.n_syncs + d.second.n_syncs, 0);
    expect_ok(nlm_program_wait(program, &err), &err);
    CU_ASSERT_EQUAL(d.stream.n_syncs, 1);
    CU_ASSERT_EQUAL(d.second.n_syncs, 1);
    CU_ASSERT_EQUAL(d.stream.downloads.calls, 1);
    CU_ASSERT_EQUAL(d.second.downloads.calls, 0);
    CU_ASSERT_EQUAL(d.second.uploads.bytes, NLM_ROWS_KINDS * sizeof(int32_t)); /* the counts of live rows */
    network_expect(&d.f, &n, program);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void an_error_of_a_device_in_the_middle_is_told(void) {
    far_device d;
    far_open_two(&d, 1);
    d.stream.refused = OP_BIT(silu_mul);
    network n = network_make(&d.f);
    for (int has_peers = 0; has_peers < 2; has_peers++) {
        if (has_peers) far_make_peers(&d);
        nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
        network_input(&n, program);
        nlm_error err = NLM_ERROR_INIT;
        d.second.failing_op = NLM_OP_silu_mul;
        CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
        CU_ASSERT_STRING_EQUAL(err.msg, "farther: worker 0 was told to fail");
        d.second.failing_op = NLM_OP_NONE;
        fixture_run(program, NULL);
        network_expect(&d.f, &n, program);
        nlm_program_destroy(program);
    }
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* ---- submitting and waiting ---- */

static void a_submitted_run_is_done_when_it_is_waited_for(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_program_wait(program, &err), &err); /* for nothing */
    for (int i = 0; i < 2; i++) {
        const uint64_t done = d.stream.n_done;
        expect_ok(nlm_program_submit(program, NULL, &err), &err);
        CU_ASSERT_EQUAL(d.stream.n_done, done);
        CU_ASSERT_TRUE(d.stream.n_given > done);
        CU_ASSERT_EQUAL(nlm_program_submit(program, NULL, &err), NLM_INVALID_ARGUMENT);
        expect_contains(err.msg, "was not waited for");
        expect_ok(nlm_program_wait(program, &err), &err);
        CU_ASSERT_EQUAL(d.stream.n_done, d.stream.n_given);
        network_expect(&d.f, &n, program);
    }
    CU_ASSERT_EQUAL(d.stream.n_syncs, 2);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_run_with_a_failing_op_is_over_when_submit_returns(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    d.stream.refused = OP_BIT(silu_mul);
    fake_device sliced;
    fake_sliced(&sliced, d.f.reference, "sliced");
    sliced.failing_op = NLM_OP_silu_mul;
    d.f.env.devices[1] = &sliced.device;
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_program_submit(program, NULL, &err), NLM_DEVICE_ERROR);
    expect_contains(err.msg, "silu_mul, layer 4, on sliced");
    CU_ASSERT_EQUAL(d.stream.n_done, d.stream.n_given);
    sliced.failing_op = NLM_OP_NONE;
    fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* ---- what travels ---- */

static void an_output_stays_on_the_device_unless_it_is_wanted(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    const nlm_value best = nlm_graph_argmax(n.graph, n.y, 0);
    nlm_graph_output(n.graph, best);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    const int32_t live[NLM_ROWS_KINDS] = {0, 3, 0, 0};
    nlm_run_info info = {.live_rows = live, .picks_outputs = true};
    expect_ok(nlm_program_run(program, &info, &err), &err);
    CU_ASSERT_EQUAL(d.stream.downloads.calls, 0);
    info.outputs = &best;
    info.n_outputs = 1;
    expect_ok(nlm_program_run(program, &info, &err), &err);
    CU_ASSERT_EQUAL(d.stream.downloads.bytes, 3 * sizeof(int32_t));
    double expected[ROWS * OUT];
    network_oracle(&d.f, nlm_program_input(program, n.x), expected);
    const int32_t *chosen = nlm_program_output(program, best);
    for (int r = 0; r < 3; r++) {
        for (int i = 0; i < OUT; i++) CU_ASSERT_TRUE(expected[r * OUT + chosen[r]] >= expected[r * OUT + i] - 1e-5);
    }
    const void *fetched = NULL;
    expect_ok(nlm_program_fetch(program, n.y, &fetched, &err), &err);
    CU_ASSERT_PTR_EQUAL(fetched, nlm_program_output(program, n.y));
    CU_ASSERT_EQUAL(d.stream.downloads.bytes, 3 * sizeof(int32_t) + 3 * OUT * sizeof(float));
    for (int i = 0; i < 3 * OUT; i++) CU_ASSERT_DOUBLE_EQUAL(((const float *)fetched)[i], expected[i], 1e-5);
    expect_ok(nlm_program_fetch(program, n.y, &fetched, &err), &err); /* it is here already */
    CU_ASSERT_EQUAL(d.stream.downloads.calls, 2);
    CU_ASSERT_EQUAL(nlm_program_fetch(program, n.x, &fetched, &err), NLM_INVALID_ARGUMENT);
    info.outputs = &n.x;
    CU_ASSERT_EQUAL(nlm_program_run(program, &info, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_program_fetch(program, n.y, &fetched, &err), NLM_INVALID_ARGUMENT); /* of no run */
    fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

enum { TABLE_ROWS = 40, TABLE_COLUMNS = 512, IDS = 8 };

/* y = table[ids]: a small input that changes with each run, and a large one of which a row does. */
static void inputs_travel_together_and_only_what_has_changed(void) {
    far_device d;
    far_open(&d, 1);
    nlm_graph *g = fixture_graph();
    const nlm_value table = nlm_graph_input(g, "table", NLM_F32, SHAPE(TABLE_ROWS, TABLE_COLUMNS), NLM_ROWS_FIXED);
    const nlm_value ids = nlm_graph_input(g, "ids", NLM_I32, SHAPE(IDS), NLM_ROWS_TOKENS);
    const nlm_value y = nlm_graph_embed(g, ids, table);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&d.f, g, &plan_all);
    float *t = nlm_program_input(program, table);
    int32_t *row = nlm_program_input(program, ids);
    for (int i = 0; i < TABLE_ROWS * TABLE_COLUMNS; i++) t[i] = (float)i;
    fixture_run(program, (const int32_t[]){0, 2, 0, 0});
    CU_ASSERT_EQUAL(d.stream.uploads.calls, 1);
    CU_ASSERT_TRUE(d.stream.uploads.bytes >= TABLE_ROWS * TABLE_COLUMNS * sizeof(float));
    const struct {
        int32_t table_row, live;
        uint64_t most_bytes;
        uint32_t calls;
    } runs[] = {
        {-1, 2, 0, 0},    /* nothing has changed */
        {0, 3, 1024, 1},  /* the counts, an id and the row beside it */
        {3, 3, 8192, 1},  /* an id and a row near it */
        {39, 3, 1024, 2}, /* far from it */
        {-1, IDS, 256, 1} /* the counts */
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const fake_traffic before = d.stream.uploads;
        if (runs[i].table_row >= 0) {
            t[runs[i].table_row * TABLE_COLUMNS + 5] += 0.5f;
            row[runs[i].live - 1] = runs[i].table_row;
        }
        fixture_run(program, (const int32_t[]){0, runs[i].live, 0, 0});
        CU_ASSERT_TRUE(d.stream.uploads.bytes - before.bytes <= runs[i].most_bytes);
        CU_ASSERT_EQUAL(d.stream.uploads.calls - before.calls, runs[i].calls);
        const float *out = nlm_program_output(program, y);
        for (int r = 0; r < runs[i].live; r++) {
            const float *expected = t + row[r] * TABLE_COLUMNS;
            CU_ASSERT_EQUAL(memcmp(out + r * TABLE_COLUMNS, expected, TABLE_COLUMNS * sizeof *out), 0);
        }
    }
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    far_close(&d);
}

/* A run that failed may have left anything there. */
static void inputs_are_sent_again_after_a_failure(void) {
    far_device d;
    far_open(&d, 1);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_error err = NLM_ERROR_INIT;
    d.stream.stuck = NLM_DEVICE_ERROR; /* nothing that is enqueued is done */
    CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
    fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* ---- planning for a queue ---- */

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
    CHECK_CASE(a_queue_gives_the_results_of_threads),
    CHECK_CASE(any_mixture_of_device_and_host_changes_no_bit),
    CHECK_CASE(a_queue_may_work_in_host_memory),
    CHECK_CASE(two_devices_meet_on_the_host),
    CHECK_CASE(peers_copy_and_wait_for_each_other),
    CHECK_CASE(peers_that_cannot_reach_each_other_meet_on_the_host),
    CHECK_CASE(a_run_on_peers_is_waited_for_at_its_end_alone),
    CHECK_CASE(an_error_of_a_device_in_the_middle_is_told),
    CHECK_CASE(a_submitted_run_is_done_when_it_is_waited_for),
    CHECK_CASE(a_run_with_a_failing_op_is_over_when_submit_returns),
    CHECK_CASE(an_output_stays_on_the_device_unless_it_is_wanted),
    CHECK_CASE(inputs_travel_together_and_only_what_has_changed),
    CHECK_CASE(inputs_are_sent_again_after_a_failure),
    CHECK_CASE(fallbacks_from_a_device_count_the_bytes_they_move),
    CHECK_CASE(a_larger_program_moves_the_device_memory_of_others),
    CHECK_CASE(an_error_of_enqueued_work_surfaces_at_the_end),
    CHECK_CASE(a_profile_waits_for_each_op_of_a_queue),
    CHECK_CASE(a_device_without_memory_fails_to_plan_and_keeps_nothing),
};
CHECK_MAIN("queues", cases)
