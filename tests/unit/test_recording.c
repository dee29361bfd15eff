/* What a stream device may have beside its queue: recordings, preparation, pinned memory, fill, and events with time.
 */
#include "unit/fake_slots.h"
#include "unit/far_device.h"

/* ---- recordings ---- */

static void far_open_recording(far_device *d) {
    far_open(d, 1);
    fake_can_capture(&d->stream);
}

static void run_rows(nlm_program *program, int32_t rows, int64_t max_context) {
    nlm_error err = NLM_ERROR_INIT;
    const int32_t live_rows[NLM_ROWS_KINDS] = {0, rows, 0, 0};
    const nlm_run_info info = {.live_rows = live_rows, .max_context = max_context};
    expect_ok(nlm_program_run(program, &info, &err), &err);
}

static void a_program_is_recorded_once_and_replayed(void) {
    far_device d;
    far_open_recording(&d);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    for (int32_t rows = ROWS; rows > 0; rows--) {
        float *x = nlm_program_input(program, n.x);
        x[3 + rows] += 0.5f;
        run_rows(program, rows, 0);
        double expected[ROWS * OUT];
        network_oracle(&d.f, x, expected);
        const float *y = nlm_program_output(program, n.y);
        for (int i = 0; i < rows * OUT; i++) CU_ASSERT_DOUBLE_EQUAL(y[i], expected[i], 1e-5);
    }
    CU_ASSERT_EQUAL(d.stream.begins, 1);
    CU_ASSERT_EQUAL(d.stream.launches, ROWS);
    CU_ASSERT_EQUAL(atomic_load(&d.stream.calls[NLM_OP_matmul]), 2);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_replay_has_the_bits_of_enqueued_work(void) {
    far_device d;
    far_open_recording(&d);
    for (uint32_t i = 0; i < 20; i++) {
        random_graph r = random_graph_make(&d.f, 12 + i);
        d.stream.refused = i % 2 ? fixture_some_ops(&d.f) : 0;
        const nlm_capture_v1 capture = d.stream.device.capture;
        d.stream.device.capture = (nlm_capture_v1){0};
        nlm_program *enqueued = fixture_plan(&d.f, r.graph, &plan_packed);
        d.stream.device.capture = capture;
        nlm_program *recorded = fixture_plan(&d.f, r.graph, &plan_packed);
        float expected[RANDOM_RESULTS], results[RANDOM_RESULTS];
        for (int32_t live = RANDOM_ROWS; live > 0; live -= 2) {
            random_graph_run(&r, enqueued, live, expected);
            random_graph_run(&r, recorded, live, results);
            CU_ASSERT_EQUAL(memcmp(expected, results, sizeof results), 0);
        }
        nlm_program_destroy(enqueued);
        nlm_program_destroy(recorded);
        nlm_graph_destroy(r.graph);
    }
    CU_ASSERT_TRUE(d.stream.launches > d.stream.begins);
    far_close(&d);
}

static void there_is_a_recording_for_each_bound_of_positions(void) {
    far_device d;
    far_open_recording(&d);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    static const struct {
        int64_t max_context, told;
        uint32_t begins;
    } runs[] = {{0, 0, 1},
                {1, 256, 2},
                {256, 256, 2},
                {257, 512, 3},
                {512, 512, 3},
                {4000, 4096, 4},
                {INT64_C(1) << 40, INT64_C(1) << 40, 5},
                {2, 256, 5}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        run_rows(program, ROWS, runs[i].max_context);
        CU_ASSERT_EQUAL(d.stream.begins, runs[i].begins);
        if (i != 2 && i != 4 && i != 7) CU_ASSERT_EQUAL(d.stream.max_context, runs[i].told);
        network_expect(&d.f, &n, program);
    }
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_program_is_recorded_again_when_its_memory_has_moved(void) {
    far_device d;
    far_open_recording(&d);
    network n = network_make(&d.f);
    nlm_program *small = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, small);
    fixture_run(small, NULL);
    CU_ASSERT_EQUAL(d.stream.n_recordings, 1);
    nlm_graph *g = fixture_graph();
    nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(300, IN), NLM_ROWS_TOKENS);
    nlm_graph_output(g, nlm_graph_scale(g, nlm_graph_scale(g, x, 2, 0), 3, 1));
    nlm_program *large = fixture_plan(&d.f, g, &plan_packed);
    CU_ASSERT_EQUAL(d.stream.n_recordings, 0); /* what it named is gone */
    fixture_run(large, NULL);
    fixture_run(small, NULL);
    CU_ASSERT_EQUAL(d.stream.begins, 3);
    network_expect(&d.f, &n, small);
    nlm_program_destroy(small);
    nlm_program_destroy(large);
    nlm_graph_destroy(g);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void what_cannot_be_recorded_is_enqueued_each_time(void) {
    for (int way = 0; way < 3; way++) {
        far_device d;
        far_open_recording(&d);
        if (way == 0) d.stream.begin_status = NLM_UNSUPPORTED;
        if (way == 1) d.stream.unrecordable = NLM_OP_silu_mul;
        if (way == 2) d.stream.end_status = NLM_LIMIT;
        network n = network_make(&d.f);
        nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
        network_input(&n, program);
        for (int i = 0; i < 3; i++) {
            fixture_run(program, NULL);
            network_expect(&d.f, &n, program);
        }
        CU_ASSERT_EQUAL(d.stream.begins, 1); /* not tried again */
        CU_ASSERT_EQUAL(d.stream.aborts, way == 0 ? 0 : 1);
        CU_ASSERT_EQUAL(d.stream.launches, 0);
        nlm_program_destroy(program);
        nlm_graph_destroy(n.graph);
        far_close(&d);
    }
}

static void a_recording_that_fails_is_tried_again(void) {
    far_device d;
    far_open_recording(&d);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    nlm_status *const failing[] = {&d.stream.begin_status, &d.stream.end_status, &d.stream.launch_status};
    for (size_t i = 0; i < 3; i++) {
        nlm_error err = NLM_ERROR_INIT;
        *failing[i] = NLM_DEVICE_ERROR;
        CU_ASSERT_EQUAL(nlm_program_run(program, NULL, &err), NLM_DEVICE_ERROR);
        expect_contains(err.msg, i == 2 ? "replay on far" : "recording on far");
        *failing[i] = NLM_OK;
    }
    fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* ---- preparation ---- */

static void every_op_is_prepared_before_the_first_run(void) {
    far_device d;
    far_open(&d, 1);
    d.stream.device.api.prepare = fake_prepare;
    d.stream.refused = OP_BIT(silu_mul);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    CU_ASSERT_EQUAL(d.stream.prepared[NLM_OP_matmul], 2);
    CU_ASSERT_EQUAL(d.stream.prepared[NLM_OP_silu_mul], 0);
    network_input(&n, program);
    fixture_run(program, NULL);
    CU_ASSERT_EQUAL(d.stream.prepared[NLM_OP_matmul], 2);
    nlm_program_destroy(program);
    d.stream.unpreparable = NLM_OP_matmul;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_graph_plan(n.graph, &d.f.env, &program, &err), NLM_DEVICE_ERROR);
    CU_ASSERT_STRING_EQUAL(err.msg, "preparing matmul, layer 4, on far: told not to compile");
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

/* ---- memory ---- */

static void inputs_and_outputs_travel_by_pinned_memory(void) {
    far_device d;
    far_open_two(&d, 1);
    d.second.device.api.host_alloc = fake_host_alloc;
    d.second.device.api.host_free = fake_host_free;
    d.stream.device.api.host_alloc = fake_host_alloc;
    d.stream.device.api.host_free = fake_host_free;
    network n = network_make(&d.f);
    const nlm_value part = nlm_graph_columns(n.graph, n.y, 2, 3);
    nlm_graph_output(n.graph, part);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    CU_ASSERT_EQUAL(d.stream.n_pinned, 2); /* of the inputs, and one for both outputs */
    network_input(&n, program);
    fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    CU_ASSERT_PTR_EQUAL(nlm_program_output(program, part), (const float *)nlm_program_output(program, n.y) + 2);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    far_close(&d);
}

static void a_state_is_zeroed_by_the_device(void) {
    far_device d;
    far_open(&d, 1);
    d.stream.device.api.fill = fake_fill;
    nlm_error err = NLM_ERROR_INIT;
    nlm_state state;
    expect_ok(nlm_state_init(&state, "cache", NLM_F32, SHAPE(100, 1000), &err), &err);
    expect_ok(nlm_state_place(&state, &d.stream.device, &err), &err);
    unsigned char ones[64], back[64 + 2];
    static const unsigned char zeros[64];
    memset(ones, 1, sizeof ones);
    expect_ok(nlm_state_read(&state, 400, back, sizeof zeros, &err), &err);
    CU_ASSERT_EQUAL(memcmp(back, zeros, sizeof zeros), 0);
    for (int i = 0; i < 2; i++) expect_ok(nlm_state_write(&state, 400 + 64 * (uint64_t)i, ones, 64, &err), &err);
    expect_ok(nlm_state_zero(&state, 401, 64, &err), &err);
    expect_ok(nlm_state_read(&state, 400, back, sizeof back, &err), &err);
    CU_ASSERT_EQUAL(back[0], 1);
    CU_ASSERT_EQUAL(memcmp(back + 1, zeros, sizeof zeros), 0);
    CU_ASSERT_EQUAL(back[65], 1);
    CU_ASSERT_EQUAL(d.stream.n_fills, 2); /* once when it was placed */
    nlm_state_release(&state);
    far_close(&d);
}

/* ---- time ---- */

static void a_profile_is_read_from_events_when_the_run_is_over(void) {
    far_device d;
    far_open(&d, 1);
    d.stream.device.api.event_elapsed = fake_event_elapsed;
    fake_can_capture(&d.stream);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_profile_create(&d.f.env.profile, &err), &err);
    network n = network_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, n.graph, &plan_packed);
    network_input(&n, program);
    for (int i = 0; i < 3; i++) fixture_run(program, NULL);
    network_expect(&d.f, &n, program);
    CU_ASSERT_EQUAL(d.stream.n_syncs, 3);
    CU_ASSERT_EQUAL(d.stream.begins, 0); /* one by one, or there would be no times of ops */
    nlm_str text = {0};
    nlm_profile_json(d.f.env.profile, &text);
    expect_contains(text.data, "{\"op\":\"matmul\",\"backend\":\"far\",\"calls\":6,\"ns\":6000,");
    expect_contains(text.data, "{\"op\":\"silu_mul\",\"backend\":\"far\",\"calls\":3,\"ns\":3000,");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(n.graph);
    nlm_profile_destroy(d.f.env.profile);
    far_close(&d);
}

static const check_case cases[] = {
    CHECK_CASE(a_program_is_recorded_once_and_replayed),
    CHECK_CASE(a_replay_has_the_bits_of_enqueued_work),
    CHECK_CASE(there_is_a_recording_for_each_bound_of_positions),
    CHECK_CASE(a_program_is_recorded_again_when_its_memory_has_moved),
    CHECK_CASE(what_cannot_be_recorded_is_enqueued_each_time),
    CHECK_CASE(a_recording_that_fails_is_tried_again),
    CHECK_CASE(every_op_is_prepared_before_the_first_run),
    CHECK_CASE(inputs_and_outputs_travel_by_pinned_memory),
    CHECK_CASE(a_state_is_zeroed_by_the_device),
    CHECK_CASE(a_profile_is_read_from_events_when_the_run_is_over),
};
CHECK_MAIN("recording", cases)
