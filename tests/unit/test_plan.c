/* Planning: which device, which memory, where a barrier. */
#include "base/log.h"
#include "graph/graph_impl.h"
#include "unit/block_graphs.h"
#include "unit/far_device.h"
#include "unit/random_graph.h"

/* ---- which device ---------------------------------------------------------------------------------- */

/* y = silu(x w) * (x w), in layer 2 */
static nlm_graph *small_graph(fixture *f, nlm_value *out_x, nlm_value *out_y) {
    nlm_graph *g = fixture_graph();
    nlm_graph_set_layer(g, 2);
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    nlm_weight *weight = f->n_weights ? &f->weights[0] : fixture_weight(f, "w", SHAPE(8, 16));
    const nlm_value h = nlm_graph_matmul(g, x, nlm_graph_weight(g, weight), NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value y = nlm_graph_silu_mul(g, h, h);
    nlm_graph_output(g, y);
    *out_x = x;
    *out_y = y;
    return g;
}

static void an_op_goes_to_the_first_device_that_has_it(void) {
    two_devices t;
    two_open(&t);
    nlm_value x, y;
    nlm_graph *g = small_graph(&t.f, &x, &y);
    t.first.refused = OP_BIT(silu_mul);
    nlm_program *program = fixture_plan(&t.f, g, &plan_all);
    CU_ASSERT_EQUAL(nlm_program_steps(program), 2);
    nlm_str text = {0};
    nlm_program_dump(program, &text);
    expect_contains(text.data, "0 matmul first layer 2 [4,8] f32 <- x [4,16] f32 w [8,16] f32\n");
    expect_contains(text.data, "1 silu_mul second layer 2 [4,8] f32 <-");
    nlm_str_release(&text);
    nlm_program_fallbacks(program, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "silu_mul: 1 on second, 0 bytes moved to it a run: told to refuse silu_mul\n");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

/* Four layers over two devices: two each, what stands before the first and behind the last with them. An op that its
 * device lacks goes to the other, which is told; a share is not. */
static void layers_are_shared_out(void) {
    static const char *const expected[] = {"0 add first [",        "1 add first layer 0",      "2 add first layer 1",
                                           "3 add second layer 2", "4 silu_mul first layer 2", "5 add second layer 3",
                                           "6 add second ["};
    two_devices t;
    two_open(&t);
    t.f.env.n_split = 2;
    t.second.refused = OP_BIT(silu_mul);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    nlm_value y = nlm_graph_add(g, x, x);
    for (int32_t layer = 0; layer < 4; layer++) {
        nlm_graph_set_layer(g, layer);
        y = nlm_graph_add(g, y, x);
        if (layer == 2) y = nlm_graph_silu_mul(g, y, y);
    }
    nlm_graph_set_layer(g, -1);
    y = nlm_graph_add(g, y, x);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&t.f, g, &plan_all);
    nlm_str text = {0};
    nlm_program_dump(program, &text);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) expect_contains(text.data, expected[i]);
    nlm_str_release(&text);
    nlm_program_fallbacks(program, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "silu_mul: 1 on first, 0 bytes moved to it a run: told to refuse silu_mul\n");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

/* A file may have as many layers as it likes: what a node costs to plan must not grow with their number. */
static void long_graphs_are_planned_in_the_memory_of_short_ones(void) {
    enum { STEPS = 50000 };
    two_devices t;
    two_open(&t);
    nlm_graph *g = fixture_graph();
    nlm_value y = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    for (int i = 0; i < STEPS; i++)
        y = nlm_graph_matmul(g, y,
                             nlm_graph_weight(g, i ? &t.f.weights[0] : fixture_weight(&t.f, "w", SHAPE(16, 16))),
                             NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&t.f, g, &plan_all);
    CU_ASSERT_EQUAL(nlm_program_steps(program), STEPS);
    CU_ASSERT_EQUAL(nlm_program_activation_bytes(program), 2 * 4 * 16 * sizeof(float));
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

static void an_op_that_no_device_has_is_an_error_with_every_reason(void) {
    two_devices t;
    two_open(&t);
    nlm_value x, y;
    nlm_graph *g = small_graph(&t.f, &x, &y);
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    t.first.refused = t.second.refused = OP_BIT(silu_mul);
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg,
                    "silu_mul, layer 2, runs on no device: first: told to refuse silu_mul; "
                    "second: told to refuse silu_mul (gate [4,8] f32, up [4,8] f32, y [4,8] f32)");
    t.second.refused = 0;
    t.f.env.n_devices = 1;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "first: told to refuse silu_mul; no other may step in");
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

/* y = x w^T, rows of 16 of each, w's `stride` floats apart. */
static void expect_product(const float *y, const float *x, const float *w, int64_t stride, int64_t n) {
    CU_ASSERT_PTR_NOT_NULL_FATAL(y);
    for (int64_t m = 0; m < 4; m++) {
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t k = 0; k < 16; k++) sum += (double)x[m * 16 + k] * (double)w[i * stride + k];
            CU_ASSERT_DOUBLE_EQUAL(y[m * n + i], sum, 1e-5);
        }
    }
}

/* A device that would get its weights with rows reversed computes neither an activation's product nor that of a part
 * of a weight, unless it takes them as they are: both are right. */
static void products_of_what_cannot_be_packed(bool takes_as_held, const char *fallbacks) {
    two_devices t;
    two_open(&t);
    t.first.reversing = OP_BIT(matmul);
    if (takes_as_held) t.first.takes_as_held = OP_BIT(matmul);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_FIXED);
    const nlm_value w = nlm_graph_weight(g, fixture_weight(&t.f, "w", SHAPE(8, 32)));
    const nlm_value square = nlm_graph_matmul(g, x, x, NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value part = nlm_graph_matmul(g, x, nlm_graph_columns(g, w, 16, 16), NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(g, square);
    nlm_graph_output(g, part);
    nlm_program *program = fixture_plan(&t.f, g, &plan_all);
    nlm_str text = {0};
    nlm_program_fallbacks(program, &text);
    expect_contains(text.data ? text.data : "", fallbacks);
    if (takes_as_held) CU_ASSERT_PTR_NULL(text.data);
    nlm_str_release(&text);
    float *in = nlm_program_input(program, x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(in);
    for (int i = 0; i < 4 * 16; i++) in[i] = fixture_number(&t.f);
    fixture_run(program, NULL);
    const float *weight = t.f.weights[0].source.data;
    expect_product(nlm_program_output(program, square), in, in, 16, 4);
    expect_product(nlm_program_output(program, part), in, weight + 16, 32, 8);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

static void only_whole_weights_are_packed(void) {
    products_of_what_cannot_be_packed(false,
                                      "matmul: 2 on second, 0 bytes moved to it a run: w: wanted as a packed weight");
}

static void a_device_may_take_what_cannot_be_packed(void) {
    products_of_what_cannot_be_packed(true, "");
}

static void an_environment_that_cannot_work_is_refused(void) {
    two_devices t;
    two_open(&t);
    fake_device far;
    fake_sliced(&far, t.f.reference, "far");
    far.device.info.flags = 0;
    nlm_value x, y;
    nlm_graph *g = small_graph(&t.f, &x, &y);
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    t.f.env.devices[1] = &far.device;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "device 1, far: expected host memory of a sliced device");
    t.f.env.n_devices = 0;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_INVALID_ARGUMENT);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

static void count_warning(void *user, int32_t level, const char *message) {
    uint32_t *count = user;
    if (level == NLM_LOG_WARN && strstr(message, "not on first: silu_mul")) (*count)++;
}

static void a_fallback_is_warned_of_once(void) {
    two_devices t;
    two_open(&t);
    t.first.refused = OP_BIT(silu_mul);
    uint32_t warnings = 0;
    nlm_log_set_sink(count_warning, &warnings);
    for (int i = 0; i < 3; i++) {
        nlm_value x, y;
        nlm_graph *g = small_graph(&t.f, &x, &y);
        nlm_program_destroy(fixture_plan(&t.f, g, &plan_all));
        nlm_graph_destroy(g);
    }
    nlm_log_set_sink(NULL, NULL);
    CU_ASSERT_EQUAL(warnings, 1);
    fixture_close(&t.f);
}

/* ---- states ------------------------------------------------------------------------------------------- */

static void devices_of_one_memory_share_states(void) {
    two_devices t;
    two_open(&t);
    t.first.refused = OP_BIT(attention);
    attention_graph a;
    float both[TOKENS * HEADS * HEAD_DIM], one[TOKENS * HEADS * HEAD_DIM];
    attention_make(&t.f, &a);
    nlm_program *program = fixture_plan(&t.f, a.graph, &plan_packed);
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        CU_ASSERT_PTR_EQUAL(step->device, step->op == NLM_OP_attention ? &t.second.device : &t.first.device);
    }
    attention_run(&a, program, both);
    nlm_program_destroy(program);
    t.first.refused = 0;
    program = fixture_plan(&t.f, a.graph, &plan_packed);
    attention_run(&a, program, one);
    CU_ASSERT_EQUAL(memcmp(both, one, sizeof one), 0);
    nlm_program_destroy(program);
    attention_destroy(&a);
    fixture_close(&t.f);
}

static void ops_that_share_a_state_stay_in_one_memory(void) {
    far_device d;
    far_open_two(&d, 2);
    d.stream.refused = OP_BIT(attention);
    attention_graph a;
    attention_make(&d.f, &a);
    nlm_program *program = fixture_plan(&d.f, a.graph, &plan_all);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_attention), 1);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_kv_append), 1);
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        const bool has_state = step->op == NLM_OP_attention || step->op == NLM_OP_kv_append;
        CU_ASSERT_PTR_EQUAL(step->device, has_state ? &d.second.device : &d.stream.device);
    }
    /* The fused op would draw the projections to the second device. */
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_qkv_rope_append), 0);
    CU_ASSERT_PTR_EQUAL(a.k.device, &d.second.device);
    nlm_str text = {0};
    nlm_program_fallbacks(program, &text);
    expect_contains(text.data, "kv_append: 1 on farther, ");
    expect_contains(text.data, " bytes moved to it a run: attention: told to refuse");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    attention_destroy(&a);
    far_close(&d);
}

static void a_state_stays_where_an_earlier_program_put_it(void) {
    far_device d;
    far_open_two(&d, 2);
    attention_graph a;
    attention_make(&d.f, &a);
    d.stream.refused = OP_BIT(kv_append);
    nlm_program *earlier = fixture_plan(&d.f, a.graph, &plan_packed);
    d.stream.refused = 0;
    nlm_program *later = fixture_plan(&d.f, a.graph, &plan_packed);
    CU_ASSERT_EQUAL(count_op(later, NLM_OP_attention), 1);
    for (uint32_t i = 0; i < later->n_steps; i++) {
        if (later->steps[i].op == NLM_OP_attention) CU_ASSERT_PTR_EQUAL(later->steps[i].device, &d.second.device);
    }
    d.second.refused = OP_BIT(attention);
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    CU_ASSERT_EQUAL(nlm_graph_plan(a.graph, &d.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "is on farther, which refuses attention: told to refuse attention");
    d.f.env.n_devices = 1;
    CU_ASSERT_EQUAL(nlm_graph_plan(a.graph, &d.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "is on farther, which is no device of this environment");
    nlm_program_destroy(earlier);
    nlm_program_destroy(later);
    attention_destroy(&a);
    far_close(&d);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

enum { MANY_LAYERS = 300 };

/* A layer has a weight and a state of its own; each is asked for twice and is one value. */
static nlm_graph *many_layers(uint32_t layers, nlm_weight *weights, nlm_state *states) {
    nlm_error err = NLM_ERROR_INIT;
    static float taps[2 * 4];
    nlm_graph *g = fixture_graph();
    const nlm_batch_values batch = {.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED),
                                    .slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS)};
    nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(3, 2), NLM_ROWS_TOKENS);
    for (uint32_t i = 0; i < layers; i++) {
        nlm_graph_set_layer(g, (int32_t)i);
        weights[i] = (nlm_weight){.name = "taps"};
        expect_ok(nlm_tensor_init(&weights[i].source, NLM_F32, SHAPE(2, 4), taps, &err), &err);
        if (states[i].bytes == 0) expect_ok(nlm_state_init(&states[i], "s", NLM_F32, SHAPE(1, 3, 2), &err), &err);
        const nlm_value w = nlm_graph_weight(g, &weights[i]), s = nlm_graph_state(g, &states[i]);
        x = nlm_graph_conv1d_causal(g, nlm_graph_scale(g, x, 2, 0), w, NLM_NO_VALUE, s, NULL, &batch, 0);
    }
    for (uint32_t i = 0; i < layers; i++) {
        const nlm_value w = nlm_graph_weight(g, &weights[i]), s = nlm_graph_state(g, &states[i]);
        CU_ASSERT_PTR_EQUAL(g->values[w].weight, &weights[i]);
        CU_ASSERT_PTR_EQUAL(g->values[s].state, &states[i]);
    }
    CU_ASSERT_EQUAL(g->n_values, 3 + 4 * layers);
    nlm_graph_output(g, x);
    return g;
}

static void questions_grow_with_the_layers(void) {
    two_devices t;
    two_open(&t);
    static nlm_weight weights[MANY_LAYERS];
    static nlm_state states[MANY_LAYERS];
    uint32_t asked[2] = {0, 0};
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t before = atomic_load(&t.first.query_calls);
        nlm_graph *g = many_layers(i ? MANY_LAYERS : MANY_LAYERS / 3, weights, states);
        nlm_program_destroy(fixture_plan(&t.f, g, &plan_packed));
        nlm_graph_destroy(g);
        asked[i] = atomic_load(&t.first.query_calls) - before;
    }
    CU_ASSERT_TRUE(asked[0] > 0);
    CU_ASSERT_EQUAL(asked[1], 3 * asked[0]);
    for (uint32_t i = 0; i < MANY_LAYERS; i++) nlm_state_release(&states[i]);
    fixture_close(&t.f);
}

static void packed_memory_changes_no_bit(void) {
    fixture f;
    fixture_open(&f, 2);
    const uint64_t seed = f.random;
    for (uint32_t i = 0; i < 60; i++) {
        f.random = seed + i;
        random_graph r = random_graph_make(&f, 10 + i % 30);
        nlm_program *plain = fixture_plan(&f, r.graph, &plan_plain);
        nlm_program *packed = fixture_plan(&f, r.graph, &plan_packed);
        float expected[RANDOM_RESULTS], results[RANDOM_RESULTS];
        random_graph_run(&r, plain, RANDOM_ROWS, expected);
        for (int again = 0; again < 2; again++) {
            random_graph_run(&r, packed, RANDOM_ROWS, results);
            if (memcmp(expected, results, sizeof results) != 0) printf("\nseed %u\n", i);
            CU_ASSERT_EQUAL(memcmp(expected, results, sizeof results), 0);
        }
        CU_ASSERT_TRUE(nlm_program_activation_bytes(packed) < nlm_program_activation_bytes(plain));
        CU_ASSERT_EQUAL(nlm_program_unpacked_bytes(packed), nlm_program_activation_bytes(plain));
        nlm_program_destroy(plain);
        nlm_program_destroy(packed);
        nlm_graph_destroy(r.graph);
    }
    fixture_close(&f);
}

static void a_chain_of_in_place_ops_needs_one_buffer(void) {
    fixture f;
    fixture_open(&f, 1);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    nlm_value y = nlm_graph_scale(g, x, 2, 0);
    for (int i = 0; i < 10; i++) y = nlm_graph_softmax(g, nlm_graph_add(g, y, x), 1);
    nlm_graph_output(g, y);
    nlm_program *program = fixture_plan(&f, g, &plan_packed);
    CU_ASSERT_EQUAL(nlm_program_activation_bytes(program), 4 * 16 * sizeof(float));
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&f);
}

static void a_barrier_stands_where_the_next_op_touches_the_same_memory(void) {
    fixture f;
    fixture_open(&f, 2);
    attention_graph a;
    attention_make(&f, &a);
    nlm_program *program = fixture_plan(&f, a.graph, &plan_plain);
    /* q k v rope_q rope_k append attention, as the graph has them: q, rope_q, k, rope_k, v, append */
    const struct {
        nlm_op op;
        bool needs_barrier;
    } expected[] = {{NLM_OP_matmul, true}, {NLM_OP_rope, false},     {NLM_OP_matmul, true},    {NLM_OP_rope, false},
                    {NLM_OP_matmul, true}, {NLM_OP_kv_append, true}, {NLM_OP_attention, false}};
    CU_ASSERT_EQUAL_FATAL(program->n_steps, sizeof expected / sizeof *expected);
    for (uint32_t i = 0; i < program->n_steps; i++) {
        CU_ASSERT_EQUAL(program->steps[i].op, expected[i].op);
        CU_ASSERT_EQUAL(program->steps[i].needs_barrier, expected[i].needs_barrier);
    }
    nlm_program_destroy(program);
    attention_destroy(&a);
    fixture_close(&f);
}

static void ops_that_only_read_the_same_need_no_barrier(void) {
    fixture f;
    fixture_open(&f, 2);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    const nlm_value y = nlm_graph_scale(g, x, 2, 0);
    for (int i = 0; i < 2; i++) nlm_graph_output(g, nlm_graph_softmax(g, y, 1));
    nlm_program *program = fixture_plan(&f, g, &plan_plain);
    CU_ASSERT_EQUAL_FATAL(program->n_steps, 3);
    CU_ASSERT_TRUE(program->steps[0].needs_barrier);
    CU_ASSERT_FALSE(program->steps[1].needs_barrier);
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    fixture_close(&f);
}

static void reused_memory_needs_a_barrier(void) {
    fixture f;
    fixture_open(&f, 2);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    /* b takes the memory of a, which argmax of a has just read */
    const nlm_value a = nlm_graph_scale(g, x, 2, 0);
    nlm_graph_output(g, nlm_graph_argmax(g, a, 0));
    const nlm_value b = nlm_graph_scale(g, x, 3, 0);
    nlm_graph_output(g, nlm_graph_argmax(g, b, 0));
    nlm_program *plain = fixture_plan(&f, g, &plan_plain), *packed = fixture_plan(&f, g, &plan_packed);
    CU_ASSERT_FALSE(plain->steps[1].needs_barrier);
    CU_ASSERT_PTR_EQUAL(packed->steps[0].args.scale.y->data, packed->steps[2].args.scale.y->data);
    CU_ASSERT_TRUE(packed->steps[1].needs_barrier);
    nlm_program_destroy(plain);
    nlm_program_destroy(packed);
    nlm_graph_destroy(g);
    fixture_close(&f);
}

static void a_shared_workspace_needs_a_barrier(void) {
    two_devices t;
    two_open(&t);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    for (int i = 0; i < 2; i++) nlm_graph_output(g, nlm_graph_scale(g, x, 2, 0));
    for (int has_workspace = 0; has_workspace < 2; has_workspace++) {
        t.first.with_workspace = has_workspace ? OP_BIT(scale) : 0;
        nlm_program *program = fixture_plan(&t.f, g, &plan_all);
        CU_ASSERT_EQUAL(program->steps[0].needs_barrier, has_workspace);
        nlm_program_destroy(program);
    }
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

static const check_case cases[] = {
    CHECK_CASE(an_op_goes_to_the_first_device_that_has_it),
    CHECK_CASE(layers_are_shared_out),
    CHECK_CASE(long_graphs_are_planned_in_the_memory_of_short_ones),
    CHECK_CASE(an_op_that_no_device_has_is_an_error_with_every_reason),
    CHECK_CASE(only_whole_weights_are_packed),
    CHECK_CASE(a_device_may_take_what_cannot_be_packed),
    CHECK_CASE(an_environment_that_cannot_work_is_refused),
    CHECK_CASE(a_fallback_is_warned_of_once),
    CHECK_CASE(devices_of_one_memory_share_states),
    CHECK_CASE(ops_that_share_a_state_stay_in_one_memory),
    CHECK_CASE(a_state_stays_where_an_earlier_program_put_it),
    CHECK_CASE(questions_grow_with_the_layers),
    CHECK_CASE(packed_memory_changes_no_bit),
    CHECK_CASE(a_chain_of_in_place_ops_needs_one_buffer),
    CHECK_CASE(a_barrier_stands_where_the_next_op_touches_the_same_memory),
    CHECK_CASE(ops_that_only_read_the_same_need_no_barrier),
    CHECK_CASE(reused_memory_needs_a_barrier),
    CHECK_CASE(a_shared_workspace_needs_a_barrier),
};
CHECK_MAIN("plan", cases)
