/* Weights and states: where they are placed, how they are packed, and what stays of the source. */
#include "unit/fake_slots.h"
#include "unit/graph_fixture.h"

/* ---- weights -------------------------------------------------------------------------------------------- */

enum { VOCABULARY = 37, WIDTH = 16, ROWS = 4 };

typedef struct tied {
    fixture f;
    fake_device device;
    nlm_graph *graph;
    nlm_value ids, y;
} tied;

/* logits = embed(ids, w) w^T: one weight in two roles */
static void tied_open(tied *t) {
    fixture_open(&t->f, 3);
    fake_sliced(&t->device, t->f.reference, "packing");
    t->device.reversing = OP_BIT(matmul);
    t->f.env.devices[0] = &t->device.device;
    fixture_weight(&t->f, "table", SHAPE(VOCABULARY, WIDTH));
    nlm_graph *g = t->graph = fixture_graph();
    const nlm_value w = nlm_graph_weight(g, &t->f.weights[0]);
    t->ids = nlm_graph_input(g, "ids", NLM_I32, SHAPE(ROWS), NLM_ROWS_TOKENS);
    t->y = nlm_graph_matmul(g, nlm_graph_embed(g, t->ids, w), w, NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(g, t->y);
}

static void tied_close(tied *t) {
    nlm_graph_destroy(t->graph);
    fixture_close(&t->f);
}

static void tied_expect(tied *t, nlm_program *program) {
    const float *w = t->f.weights[0].source.data;
    int32_t *ids = nlm_program_input(program, t->ids);
    for (int i = 0; i < ROWS; i++) ids[i] = i * 9;
    fixture_run(program, (const int32_t[]){0, ROWS, 0, 0});
    const float *y = nlm_program_output(program, t->y);
    for (int r = 0; r < ROWS; r++) {
        for (int n = 0; n < VOCABULARY; n++) {
            double sum = 0;
            for (int k = 0; k < WIDTH; k++) sum += (double)w[ids[r] * WIDTH + k] * (double)w[n * WIDTH + k];
            CU_ASSERT_DOUBLE_EQUAL(y[r * VOCABULARY + n], sum, 1e-5);
        }
    }
}

static void a_weight_is_packed_once_for_all_programs(void) {
    tied t;
    tied_open(&t);
    nlm_program *first = fixture_plan(&t.f, t.graph, &plan_all);
    const uint32_t calls = atomic_load(&t.device.pack_calls);
    CU_ASSERT_TRUE(calls > 0);
    nlm_program *second = fixture_plan(&t.f, t.graph, &plan_all);
    CU_ASSERT_EQUAL(atomic_load(&t.device.pack_calls), calls);
    CU_ASSERT_EQUAL(t.f.weights[0].roles, NLM_ROLE_MATMUL | NLM_ROLE_EMBED);
    tied_expect(&t, first);
    tied_expect(&t, second);
    nlm_program_destroy(first);
    nlm_program_destroy(second);
    tied_close(&t);
}

static void two_roles_share_a_packed_copy_if_both_can_read_it(void) {
    for (int can_read = 0; can_read < 2; can_read++) {
        tied t;
        tied_open(&t);
        t.device.reads_reversed = can_read ? OP_BIT(embed) : 0;
        nlm_program *program = fixture_plan(&t.f, t.graph, &plan_all);
        CU_ASSERT_EQUAL(t.f.weights[0].n_places, can_read ? 1 : 2);
        tied_expect(&t, program);
        nlm_program_destroy(program);
        tied_close(&t);
    }
}

static void an_op_that_cannot_read_a_packed_weight_is_asked_again(void) {
    tied t;
    tied_open(&t);
    nlm_program *first = fixture_plan(&t.f, t.graph, &plan_all);
    t.device.reversing = 0; /* matmul now wants rows as they are */
    nlm_program *second = fixture_plan(&t.f, t.graph, &plan_all);
    tied_expect(&t, first);
    tied_expect(&t, second);
    nlm_program_destroy(first);
    nlm_program_destroy(second);
    tied_close(&t);
}

static void a_packed_copy_is_aligned(void) {
    tied t;
    tied_open(&t);
    t.device.device.info.alignment_bytes = 512;
    nlm_program *program = fixture_plan(&t.f, t.graph, &plan_all);
    int n_packed = 0;
    for (int i = 0; i < t.f.weights[0].n_places; i++) {
        const nlm_weight_place *place = &t.f.weights[0].places[i];
        if (!place->layout) continue;
        n_packed++;
        CU_ASSERT_EQUAL((uintptr_t)place->tensor.data % 512, 0);
    }
    CU_ASSERT_EQUAL(n_packed, 1);
    tied_expect(&t, program);
    nlm_program_destroy(program);
    tied_close(&t);
}

static void a_pack_that_fails_fails_the_plan(void) {
    tied t;
    tied_open(&t);
    t.device.pack_fails = true;
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    CU_ASSERT_EQUAL(nlm_graph_plan(t.graph, &t.f.env, &program, &err), NLM_NUMERIC);
    CU_ASSERT_STRING_EQUAL(err.msg, "weight table on packing: told not to pack (roles 3)");
    CU_ASSERT_EQUAL(t.f.weights[0].n_places, 0);
    t.device.pack_fails = false;
    program = fixture_plan(&t.f, t.graph, &plan_all);
    tied_expect(&t, program);
    nlm_program_destroy(program);
    tied_close(&t);
}

/* What was dropped of a source; pages behind packing, then all of it. */
typedef struct dropped {
    const nlm_tensor *source;
    atomic_ullong partial_bytes;
    atomic_uint strays, final_calls;
} dropped;

static void note_drop(void *user, const void *data, uint64_t bytes) {
    dropped *d = user;
    const char *begin = d->source->data, *end = begin + nlm_tensor_bytes(d->source);
    if ((const char *)data < begin || (const char *)data + bytes > end) atomic_fetch_add(&d->strays, 1);
    if (data == begin && bytes == nlm_tensor_bytes(d->source))
        atomic_fetch_add(&d->final_calls, 1);
    else
        atomic_fetch_add(&d->partial_bytes, bytes);
}

static void source_pages_are_dropped_behind_packing_and_uploading(void) {
    for (int is_upload = 0; is_upload < 2; is_upload++) {
        fixture f;
        fixture_open(&f, 2);
        fake_device device;
        if (is_upload)
            fake_stream(&device, f.reference, "far");
        else
            fake_sliced(&device, f.reference, "packing");
        nlm_weight *weight = fixture_weight(&f, "large", SHAPE(4000, 1024));
        dropped d = {.source = &weight->source};
        weight->drop_source = note_drop;
        weight->source_user = &d;
        const nlm_tensor *tensor = NULL;
        nlm_error err = NLM_ERROR_INIT;
        const uint32_t layout = is_upload ? NLM_LAYOUT_ROW_MAJOR : REVERSED_LAYOUT;
        expect_ok(nlm_weight_place_on(weight, &device.device, layout, NLM_ROLE_MATMUL, f.pool, &tensor, &err), &err);
        const uint64_t bytes = nlm_tensor_bytes(&weight->source);
        CU_ASSERT_EQUAL(d.strays, 0);
        CU_ASSERT_TRUE(d.final_calls >= 1);
        if (!is_upload) CU_ASSERT_TRUE(d.partial_bytes <= bytes && d.partial_bytes > bytes - (1u << 20));
        fixture_close(&f);
        CU_ASSERT_EQUAL(device.n_buffers, 0);
        fake_release(&device);
    }
}

static void a_stream_device_gets_packed_weights_too(void) {
    tied t;
    tied_open(&t);
    fake_stream(&t.device, t.f.reference, "far");
    t.device.reversing = OP_BIT(matmul);
    nlm_program *program = fixture_plan(&t.f, t.graph, &plan_all);
    tied_expect(&t, program);
    nlm_program_destroy(program);
    tied_close(&t);
    CU_ASSERT_EQUAL(t.device.n_buffers, 0);
    fake_release(&t.device);
}

/* Its rows are 20 MB, more than are sent at a time; the device says yes, no, and fails. */
static void a_device_may_pack_by_itself(void) {
    static const nlm_status answers[] = {NLM_OK, NLM_UNSUPPORTED, NLM_DEVICE_ERROR};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        fixture_open(&f, 2);
        fake_device device;
        fake_stream(&device, f.reference, "far");
        device.device.api.pack_device = fake_pack_device;
        device.pack_device_status = answers[i];
        nlm_weight *weight = fixture_weight(&f, "large", SHAPE(5001, 1024));
        dropped d = {.source = &weight->source};
        weight->drop_source = note_drop;
        weight->source_user = &d;
        const nlm_tensor *tensor = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(
            nlm_weight_place_on(weight, &device.device, REVERSED_LAYOUT, NLM_ROLE_MATMUL, f.pool, &tensor, &err),
            answers[i] == NLM_UNSUPPORTED ? NLM_OK : answers[i]);
        CU_ASSERT_EQUAL(atomic_load(&device.pack_calls) > 0, answers[i] == NLM_UNSUPPORTED);
        CU_ASSERT_EQUAL(device.packed_parts, answers[i] == NLM_OK ? 2 : 0);
        CU_ASSERT_EQUAL(d.final_calls > 0, answers[i] != NLM_DEVICE_ERROR);
        CU_ASSERT_EQUAL(device.n_buffers, answers[i] == NLM_DEVICE_ERROR ? 0 : 1);
        for (int64_t row = 0; tensor && row < 5001; row++) {
            const char *packed = (const char *)(uintptr_t)tensor->buffer + (5000 - row) * 4096;
            CU_ASSERT_EQUAL_FATAL(memcmp(packed, (const char *)weight->source.data + row * 4096, 4096), 0);
        }
        fixture_close(&f);
        CU_ASSERT_EQUAL(device.n_buffers, 0);
        CU_ASSERT_EQUAL(device.n_streams, 0);
        fake_release(&device);
    }
}

/* The fake's layout has the rows of a matrix in reverse; experts stand 64-aligned, each reversed by itself. */
static void experts_are_packed_one_by_one(void) {
    enum { EXPERTS = 3, EXPERT_ROWS = 5, COLUMNS = 7, STRIDE = 192 }; /* 5 rows of 28 bytes are 140 */
    for (int is_far = 0; is_far < 2; is_far++) {
        fixture f;
        fixture_open(&f, 2);
        fake_device device;
        if (is_far)
            fake_stream(&device, f.reference, "far");
        else
            fake_sliced(&device, f.reference, "packing");
        nlm_weight *weight = fixture_weight(&f, "experts", SHAPE(EXPERTS, EXPERT_ROWS, COLUMNS));
        const float *source = weight->source.data;
        const nlm_tensor *tensor = NULL;
        nlm_error err = NLM_ERROR_INIT;
        expect_ok(
            nlm_weight_place_on(weight, &device.device, REVERSED_LAYOUT, NLM_ROLE_MATMUL, f.pool, &tensor, &err),
            &err);
        CU_ASSERT_EQUAL(tensor->rank, 3);
        CU_ASSERT_EQUAL(tensor->layout, REVERSED_LAYOUT);
        const char *packed = (const char *)tensor->data - (is_far ? FAR_AWAY : 0);
        for (int e = 0; e < EXPERTS; e++) {
            for (int r = 0; r < EXPERT_ROWS; r++) {
                const float *row = source + (e * EXPERT_ROWS + EXPERT_ROWS - 1 - r) * COLUMNS;
                CU_ASSERT_EQUAL(
                    memcmp(packed + e * STRIDE + r * COLUMNS * (int)sizeof *row, row, COLUMNS * sizeof *row), 0);
            }
        }
        fixture_close(&f);
        CU_ASSERT_EQUAL(device.n_buffers, 0);
        fake_release(&device);
    }
}

static void a_view_of_a_weight_shows_it_as_the_file_has_it(void) {
    fixture f;
    fixture_open(&f, 1);
    nlm_weight *weight = fixture_weight(&f, "vectors", SHAPE(1, 24));
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(1, 8), NLM_ROWS_FIXED);
    const nlm_value part = nlm_graph_columns(g, nlm_graph_weight(g, weight), 16, 8);
    const nlm_value y = nlm_graph_add(g, x, part);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&f, g, &plan_all);
    fixture_run(program, NULL);
    const float *out = nlm_program_output(program, y), *source = weight->source.data;
    for (int i = 0; i < 8; i++) CU_ASSERT_EQUAL(out[i], source[16 + i]);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&f);
}

static void a_weight_has_a_limited_number_of_places(void) {
    fixture f;
    fixture_open(&f, 1);
    fake_device devices[NLM_WEIGHT_PLACES + 1];
    nlm_weight *weight = fixture_weight(&f, "w", SHAPE(2, 2));
    const nlm_tensor *tensor = NULL;
    nlm_error err = NLM_ERROR_INIT;
    for (int i = 0; i <= NLM_WEIGHT_PLACES; i++) {
        fake_sliced(&devices[i], f.reference, "one of many");
        const nlm_status status =
            nlm_weight_place_on(weight, &devices[i].device, 0, NLM_ROLE_EMBED, f.pool, &tensor, &err);
        CU_ASSERT_EQUAL(status, i < NLM_WEIGHT_PLACES ? NLM_OK : NLM_LIMIT);
    }
    expect_contains(err.msg, "w is wanted in more than 4 places");
    fixture_close(&f);
}

/* ---- states --------------------------------------------------------------------------------------------- */

typedef struct state_case {
    fixture f;
    fake_device device;
    nlm_state state;
} state_case;

static void state_open(state_case *c, bool is_far) {
    fixture_open(&c->f, 1);
    if (is_far)
        fake_stream(&c->device, c->f.reference, "far");
    else
        fake_sliced(&c->device, c->f.reference, "near");
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_init(&c->state, "cache", NLM_F32, SHAPE(300, 256), &err), &err);
}

static void state_close(state_case *c) {
    nlm_state_release(&c->state);
    CU_ASSERT_PTR_NULL(c->state.device);
    fixture_close(&c->f);
    CU_ASSERT_EQUAL(c->device.n_buffers, 0);
    fake_release(&c->device);
}

static float state_at(const nlm_state *state, uint64_t index) {
    float value = -1;
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_read(state, index * sizeof value, &value, sizeof value, &err), &err);
    return value;
}

static void a_state_that_was_never_placed_reads_as_zeros(void) {
    nlm_state state;
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_init(&state, "cache", NLM_F32, SHAPE(4, 4), &err), &err);
    CU_ASSERT_EQUAL(state.bytes, 64);
    CU_ASSERT_EQUAL(state_at(&state, 15), 0.0f);
    const float one = 1;
    CU_ASSERT_EQUAL(nlm_state_write(&state, 0, &one, 4, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "state cache is not placed yet");
    expect_ok(nlm_state_zero(&state, 0, 64, &err), &err);
    expect_ok(nlm_state_copy(&state, 0, 32, 32, &err), &err);
    nlm_state_release(&state);
}

static void a_state_keeps_what_is_written(bool is_far) {
    state_case c;
    state_open(&c, is_far);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_place(&c.state, &c.device.device, &err), &err);
    expect_ok(nlm_state_place(&c.state, &c.device.device, &err), &err);
    /* From one memory to another; the host's is all its devices'. */
    CU_ASSERT_EQUAL(nlm_state_place(&c.state, c.f.reference, &err), is_far ? NLM_INTERNAL : NLM_OK);
    const uint64_t count = c.state.bytes / sizeof(float);
    for (uint64_t i = 0; i < count; i += 7777) CU_ASSERT_EQUAL(state_at(&c.state, i), 0.0f);
    for (uint64_t i = 0; i < count; i++) {
        const float value = (float)i + 1;
        expect_ok(nlm_state_write(&c.state, i * sizeof value, &value, sizeof value, &err), &err);
    }
    expect_ok(nlm_state_copy(&c.state, 0, 4000, 2000, &err), &err);
    CU_ASSERT_EQUAL(state_at(&c.state, 0), 1001.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 499), 1500.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 500), 501.0f);
    /* a range that begins and ends within pages, and holds many whole ones */
    expect_ok(nlm_state_zero(&c.state, 4004, 200000, &err), &err);
    CU_ASSERT_EQUAL(state_at(&c.state, 1000), 1001.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 1001), 0.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 20000), 0.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 51000), 0.0f);
    CU_ASSERT_EQUAL(state_at(&c.state, 51001), 51002.0f);
    state_close(&c);
}

static void a_state_on_the_host_keeps_what_is_written(void) {
    a_state_keeps_what_is_written(false);
}

static void a_state_on_a_device_keeps_what_is_written(void) {
    a_state_keeps_what_is_written(true);
}

static void ranges_outside_a_state_are_refused(void) {
    state_case c;
    state_open(&c, false);
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_place(&c.state, &c.device.device, &err), &err);
    const uint64_t all = c.state.bytes;
    char byte = 0;
    static const uint64_t offsets[] = {1, 8, UINT64_MAX};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        const uint64_t at = all - 1 + offsets[i];
        const uint64_t bytes = i == 2 ? UINT64_MAX : 1;
        CU_ASSERT_EQUAL(nlm_state_read(&c.state, at, &byte, bytes, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(nlm_state_write(&c.state, at, &byte, bytes, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(nlm_state_zero(&c.state, at, bytes, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(nlm_state_copy(&c.state, at, 0, bytes, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(nlm_state_copy(&c.state, 0, at, bytes, &err), NLM_INVALID_ARGUMENT);
    }
    expect_contains(err.msg, "state cache: ");
    CU_ASSERT_EQUAL(nlm_state_copy(&c.state, 0, 8, 16, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "overlaps");
    expect_ok(nlm_state_copy(&c.state, 8, 8, 16, &err), &err);
    expect_ok(nlm_state_read(&c.state, all, &byte, 0, &err), &err);
    state_close(&c);
}

static void a_device_without_memory_cannot_hold_a_state(void) {
    state_case c;
    state_open(&c, true);
    c.device.memory_left = 100;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_state_place(&c.state, &c.device.device, &err), NLM_OUT_OF_MEMORY);
    CU_ASSERT_STRING_EQUAL(err.msg, "state cache on far: no 307200 bytes");
    CU_ASSERT_PTR_NULL(c.state.device);
    CU_ASSERT_EQUAL(state_at(&c.state, 3), 0.0f);
    state_close(&c);
}

static const check_case cases[] = {
    CHECK_CASE(a_weight_is_packed_once_for_all_programs),
    CHECK_CASE(two_roles_share_a_packed_copy_if_both_can_read_it),
    CHECK_CASE(an_op_that_cannot_read_a_packed_weight_is_asked_again),
    CHECK_CASE(a_packed_copy_is_aligned),
    CHECK_CASE(a_pack_that_fails_fails_the_plan),
    CHECK_CASE(source_pages_are_dropped_behind_packing_and_uploading),
    CHECK_CASE(a_stream_device_gets_packed_weights_too),
    CHECK_CASE(a_device_may_pack_by_itself),
    CHECK_CASE(experts_are_packed_one_by_one),
    CHECK_CASE(a_view_of_a_weight_shows_it_as_the_file_has_it),
    CHECK_CASE(a_weight_has_a_limited_number_of_places),
    CHECK_CASE(a_state_that_was_never_placed_reads_as_zeros),
    CHECK_CASE(a_state_on_the_host_keeps_what_is_written),
    CHECK_CASE(a_state_on_a_device_keeps_what_is_written),
    CHECK_CASE(ranges_outside_a_state_are_refused),
    CHECK_CASE(a_device_without_memory_cannot_hold_a_state),
};
CHECK_MAIN("weight", cases)
