/* Planning: which device, which fused ops, which memory, where a barrier. */
#include "base/log.h"
#include "exec/program_impl.h"
#include "unit/random_graph.h"

/* ---- which device ---------------------------------------------------------------------------------- */

typedef struct two_devices {
    fixture f;
    fake_device first, second;
} two_devices;

static void two_open(two_devices *t) {
    fixture_open(&t->f, 2);
    fake_sliced(&t->first, t->f.reference, "first");
    fake_sliced(&t->second, t->f.reference, "second");
    t->f.env.devices[0] = &t->first.device;
    t->f.env.devices[1] = &t->second.device;
    t->f.env.n_devices = 2;
}

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

static void an_environment_without_devices_is_refused(void) {
    two_devices t;
    two_open(&t);
    fake_device stream;
    fake_stream(&stream, t.f.reference, "stream");
    nlm_value x, y;
    nlm_graph *g = small_graph(&t.f, &x, &y);
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    t.f.env.devices[1] = &stream.device;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "device 1, stream: expected a sliced one in host memory");
    t.f.env.n_devices = 0;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &t.f.env, &program, &err), NLM_INVALID_ARGUMENT);
    nlm_graph_destroy(g);
    fixture_close(&t.f);
}

static void count_warning(void *user, int32_t level, const char *message) {
    uint32_t *count = user;
    if (level == NLM_LOG_WARN && strstr(message, "fallback: silu_mul")) (*count)++;
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

/* ---- attention, its states, and the fused op in front of it ------------------------------------------- */

typedef struct attention_graph {
    nlm_graph *graph;
    nlm_state k, v;
    nlm_batch_values batch;
    nlm_value x, y;
} attention_graph;

enum { TOKENS = 5, HEADS = 4, GROUPS = 2, HEAD_DIM = 8, WIDTH = 24 };

static void attention_weights(fixture *f) {
    fixture_weight(f, "q", SHAPE(HEADS * HEAD_DIM, WIDTH));
    fixture_weight(f, "k", SHAPE(GROUPS * HEAD_DIM, WIDTH));
    fixture_weight(f, "v", SHAPE(GROUPS * HEAD_DIM, WIDTH));
    fixture_weight(f, "bias", SHAPE(GROUPS * HEAD_DIM));
}

static nlm_value project(fixture *f, attention_graph *a, int weight, nlm_value bias, int64_t heads) {
    const nlm_value w = nlm_graph_weight(a->graph, &f->weights[weight]);
    const nlm_value y = nlm_graph_matmul(a->graph, a->x, w, bias, NLM_NO_VALUE);
    return nlm_graph_reshape(a->graph, y, SHAPE(TOKENS, heads, HEAD_DIM));
}

static void attention_make(fixture *f, attention_graph *a) {
    nlm_error err = NLM_ERROR_INIT;
    if (f->n_weights == 0) attention_weights(f);
    nlm_graph *g = a->graph = fixture_graph();
    expect_ok(nlm_state_init(&a->k, "k", NLM_F32, SHAPE(4, GROUPS, 4, HEAD_DIM), &err), &err);
    expect_ok(nlm_state_init(&a->v, "v", NLM_F16, SHAPE(4, GROUPS, 4, HEAD_DIM), &err), &err);
    a->batch.pos = nlm_graph_input(g, "pos", NLM_I32, SHAPE(TOKENS), NLM_ROWS_TOKENS);
    a->batch.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED);
    a->batch.slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS);
    a->batch.block_table = nlm_graph_input(g, "block_table", NLM_I32, SHAPE(1, 2), NLM_ROWS_FIXED);
    a->x = nlm_graph_input(g, "x", NLM_F32, SHAPE(TOKENS, WIDTH), NLM_ROWS_TOKENS);
    const nlm_rope_params rope = {.freq_base = 1e4f, .freq_scale = 1, .n_rot = 8, .freq_factors = NLM_NO_VALUE};
    const nlm_value k_cache = nlm_graph_state(g, &a->k), v_cache = nlm_graph_state(g, &a->v);
    const nlm_value q = nlm_graph_rope(g, project(f, a, 0, NLM_NO_VALUE, HEADS), a->batch.pos, &rope);
    const nlm_value bias = nlm_graph_weight(g, &f->weights[3]);
    const nlm_value k = nlm_graph_rope(g, project(f, a, 1, bias, GROUPS), a->batch.pos, &rope);
    nlm_graph_kv_append(g, k, project(f, a, 2, NLM_NO_VALUE, GROUPS), k_cache, v_cache, &a->batch);
    a->y = nlm_graph_attention(g, q, k_cache, v_cache, &a->batch, 0.35f, 0);
    nlm_graph_output(g, a->y);
}

static void attention_destroy(attention_graph *a) {
    nlm_graph_destroy(a->graph);
    nlm_state_release(&a->k);
    nlm_state_release(&a->v);
}

static void attention_run(const attention_graph *a, nlm_program *program, float *y) {
    int32_t *pos = nlm_program_input(program, a->batch.pos);
    int32_t *seq_start = nlm_program_input(program, a->batch.seq_start);
    int32_t *table = nlm_program_input(program, a->batch.block_table);
    float *x = nlm_program_input(program, a->x);
    for (int i = 0; i < TOKENS; i++) pos[i] = i;
    seq_start[1] = TOKENS;
    table[0] = 3;
    table[1] = 1;
    for (int i = 0; i < TOKENS * WIDTH; i++) x[i] = (float)((i * 31) % 17 - 8) / 16.0f;
    fixture_run(program, (const int32_t[]){0, TOKENS, 0, 1});
    memcpy(y, nlm_program_output(program, a->y), sizeof(float) * TOKENS * HEADS * HEAD_DIM);
}

static void expect_near(const float *a, const float *b, size_t count) {
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    CU_ASSERT_TRUE(size > 0 && error <= 1e-12 * size);
}

static uint32_t count_op(const nlm_program *program, nlm_op op) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < program->n_steps; i++) count += program->steps[i].op == op;
    return count;
}

static void projections_rotation_and_append_become_one_op(void) {
    fixture f;
    fixture_open(&f, 2);
    float results[2][TOKENS * HEADS * HEAD_DIM];
    unsigned char caches[2][4 * GROUPS * 4 * HEAD_DIM * 6];
    for (int is_fused = 0; is_fused < 2; is_fused++) {
        attention_graph a;
        attention_make(&f, &a);
        nlm_program *program = fixture_plan(&f, a.graph, is_fused ? &plan_all : &plan_packed);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_qkv_rope_append), (uint32_t)is_fused);
        CU_ASSERT_EQUAL(nlm_program_steps(program), is_fused ? 2 : 7);
        attention_run(&a, program, results[is_fused]);
        nlm_error err = NLM_ERROR_INIT;
        expect_ok(nlm_state_read(&a.k, 0, caches[is_fused], a.k.bytes, &err), &err);
        expect_ok(nlm_state_read(&a.v, 0, caches[is_fused] + a.k.bytes, a.v.bytes, &err), &err);
        nlm_program_destroy(program);
        attention_destroy(&a);
    }
    expect_near(results[1], results[0], TOKENS * HEADS * HEAD_DIM);
    expect_near((const float *)caches[1], (const float *)caches[0], 4 * GROUPS * 4 * HEAD_DIM);
    fixture_close(&f);
}

static void ops_that_share_a_state_stay_together(void) {
    two_devices t;
    two_open(&t);
    t.first.refused = OP_BIT(attention);
    attention_graph a;
    attention_make(&t.f, &a);
    nlm_program *program = fixture_plan(&t.f, a.graph, &plan_all);
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        const bool has_state = step->op == NLM_OP_attention || step->op == NLM_OP_kv_append;
        CU_ASSERT_PTR_EQUAL(step->device, has_state ? &t.second.device : &t.first.device);
    }
    /* The fused op would draw the projections to the second device. */
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_qkv_rope_append), 0);
    CU_ASSERT_PTR_EQUAL(a.k.device, &t.second.device);
    nlm_str text = {0};
    nlm_program_fallbacks(program, &text);
    expect_contains(text.data, "kv_append: 1 on second, 0 bytes moved to it a run: attention: told to refuse");
    nlm_str_release(&text);
    nlm_program_destroy(program);
    attention_destroy(&a);
    fixture_close(&t.f);
}

static void a_state_stays_where_an_earlier_program_put_it(void) {
    two_devices t;
    two_open(&t);
    attention_graph a;
    attention_make(&t.f, &a);
    t.first.refused = OP_BIT(kv_append);
    nlm_program *earlier = fixture_plan(&t.f, a.graph, &plan_packed);
    t.first.refused = 0;
    nlm_program *later = fixture_plan(&t.f, a.graph, &plan_packed);
    for (uint32_t i = 0; i < later->n_steps; i++) {
        if (later->steps[i].op == NLM_OP_attention) CU_ASSERT_PTR_EQUAL(later->steps[i].device, &t.second.device);
    }
    t.second.refused = OP_BIT(attention);
    nlm_error err = NLM_ERROR_INIT;
    nlm_program *program = NULL;
    CU_ASSERT_EQUAL(nlm_graph_plan(a.graph, &t.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "is on second, which refuses attention: told to refuse attention");
    t.f.env.n_devices = 1;
    CU_ASSERT_EQUAL(nlm_graph_plan(a.graph, &t.f.env, &program, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "is on second, which is no device of this environment");
    nlm_program_destroy(earlier);
    nlm_program_destroy(later);
    attention_destroy(&a);
    fixture_close(&t.f);
}

/* ---- the other fused ops ----------------------------------------------------------------------------- */

typedef struct mlp_graph {
    nlm_graph *graph;
    nlm_value x, gate, up, h, y, logits;
} mlp_graph;

/* A feed-forward block and a head: gate_up_silu_mul, and norm_matmul twice over. */
static mlp_graph mlp_make(fixture *f) {
    if (f->n_weights == 0) {
        fixture_weight(f, "gate", SHAPE(20, 12));
        fixture_weight(f, "up", SHAPE(20, 12));
        fixture_weight(f, "down", SHAPE(12, 20));
        fixture_weight(f, "norm", SHAPE(12));
        fixture_weight(f, "head", SHAPE(7, 12));
    }
    mlp_graph m = {.graph = fixture_graph()};
    nlm_value w[5];
    for (int i = 0; i < 5; i++) w[i] = nlm_graph_weight(m.graph, &f->weights[i]);
    m.x = nlm_graph_input(m.graph, "x", NLM_F32, SHAPE(3, 12), NLM_ROWS_TOKENS);
    m.gate = nlm_graph_matmul(m.graph, m.x, w[0], NLM_NO_VALUE, NLM_NO_VALUE);
    m.up = nlm_graph_matmul(m.graph, m.x, w[1], NLM_NO_VALUE, NLM_NO_VALUE);
    m.h = nlm_graph_silu_mul(m.graph, m.gate, m.up);
    m.y = nlm_graph_matmul(m.graph, m.h, w[2], NLM_NO_VALUE, m.x);
    m.logits =
        nlm_graph_matmul(m.graph, nlm_graph_rms_norm(m.graph, m.y, w[3], 1e-5f), w[4], NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(m.graph, m.logits);
    return m;
}

static void mlp_run(const mlp_graph *m, nlm_program *program, float *logits) {
    float *x = nlm_program_input(program, m->x);
    for (int i = 0; i < 3 * 12; i++) x[i] = (float)((i * 11) % 13 - 6) / 8.0f;
    fixture_run(program, (const int32_t[]){0, 3, 0, 0});
    memcpy(logits, nlm_program_output(program, m->logits), 3 * 7 * sizeof *logits);
}

static void fused_and_decomposed_give_the_same(void) {
    fixture f;
    fixture_open(&f, 2);
    mlp_graph m = mlp_make(&f);
    float results[2][3 * 7];
    nlm_program *plain = fixture_plan(&f, m.graph, &plan_plain);
    nlm_program *fused = fixture_plan(&f, m.graph, &plan_all);
    CU_ASSERT_EQUAL(nlm_program_steps(plain), 6);
    CU_ASSERT_EQUAL(nlm_program_steps(fused), 3);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_gate_up_silu_mul), 1);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_norm_matmul), 1);
    mlp_run(&m, plain, results[0]);
    mlp_run(&m, fused, results[1]);
    expect_near(results[1], results[0], 3 * 7);
    nlm_program_destroy(plain);
    nlm_program_destroy(fused);
    nlm_graph_destroy(m.graph);
    fixture_close(&f);
}

static uint32_t fused_steps(fixture *f, const mlp_graph *m) {
    nlm_program *program = fixture_plan(f, m->graph, &plan_all);
    const uint32_t steps = nlm_program_steps(program);
    nlm_program_destroy(program);
    return steps;
}

static void a_fused_op_is_left_apart_where_its_device_lacks_it(void) {
    two_devices t;
    two_open(&t);
    mlp_graph m = mlp_make(&t.f);
    t.first.refused = OP_BIT(gate_up_silu_mul);
    CU_ASSERT_EQUAL(fused_steps(&t.f, &m), 5);
    t.first.refused = OP_BIT(gate_up_silu_mul) | OP_BIT(norm_matmul);
    CU_ASSERT_EQUAL(fused_steps(&t.f, &m), 6);
    nlm_graph_destroy(m.graph);
    fixture_close(&t.f);
}

static void a_fused_op_may_spare_a_fallback(void) {
    two_devices t;
    two_open(&t);
    mlp_graph m = mlp_make(&t.f);
    t.first.refused = OP_BIT(silu_mul);
    nlm_program *program = fixture_plan(&t.f, m.graph, &plan_all);
    nlm_str text = {0};
    nlm_program_fallbacks(program, &text);
    CU_ASSERT_PTR_NULL(text.data);
    CU_ASSERT_EQUAL(nlm_program_steps(program), 3);
    nlm_program_destroy(program);
    nlm_graph_destroy(m.graph);
    fixture_close(&t.f);
}

static void a_value_wanted_elsewhere_keeps_ops_apart(void) {
    fixture f;
    fixture_open(&f, 1);
    mlp_graph as_output = mlp_make(&f), as_input = mlp_make(&f), as_view = mlp_make(&f);
    nlm_graph_output(as_output.graph, as_output.gate);
    nlm_graph_output(as_input.graph, nlm_graph_scale(as_input.graph, as_input.up, 2, 0));
    nlm_graph_output(as_view.graph, nlm_graph_reshape(as_view.graph, as_view.up, SHAPE(3, 4, 5)));
    CU_ASSERT_EQUAL(fused_steps(&f, &as_output), 5);
    CU_ASSERT_EQUAL(fused_steps(&f, &as_input), 6);
    CU_ASSERT_EQUAL(fused_steps(&f, &as_view), 5);
    nlm_graph_destroy(as_output.graph);
    nlm_graph_destroy(as_input.graph);
    nlm_graph_destroy(as_view.graph);
    fixture_close(&f);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

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

static void reused_memory_needs_a_barrier(void) {
    fixture f;
    fixture_open(&f, 2);
    nlm_graph *g = fixture_graph();
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(4, 16), NLM_ROWS_TOKENS);
    /* b takes the memory of a, which argmax of a has just read */
    const nlm_value a = nlm_graph_scale(g, x, 2, 0);
    nlm_graph_output(g, nlm_graph_argmax(g, a));
    const nlm_value b = nlm_graph_scale(g, x, 3, 0);
    nlm_graph_output(g, nlm_graph_argmax(g, b));
    nlm_program *plain = fixture_plan(&f, g, &plan_plain), *packed = fixture_plan(&f, g, &plan_packed);
    CU_ASSERT_FALSE(plain->steps[1].needs_barrier);
    CU_ASSERT_PTR_EQUAL(packed->steps[0].args.scale.y->data, packed->steps[2].args.scale.y->data);
    CU_ASSERT_TRUE(packed->steps[1].needs_barrier);
    nlm_program_destroy(plain);
    nlm_program_destroy(packed);
    nlm_graph_destroy(g);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(an_op_goes_to_the_first_device_that_has_it),
    CHECK_CASE(an_op_that_no_device_has_is_an_error_with_every_reason),
    CHECK_CASE(an_environment_without_devices_is_refused),
    CHECK_CASE(a_fallback_is_warned_of_once),
    CHECK_CASE(projections_rotation_and_append_become_one_op),
    CHECK_CASE(ops_that_share_a_state_stay_together),
    CHECK_CASE(a_state_stays_where_an_earlier_program_put_it),
    CHECK_CASE(fused_and_decomposed_give_the_same),
    CHECK_CASE(a_fused_op_is_left_apart_where_its_device_lacks_it),
    CHECK_CASE(a_fused_op_may_spare_a_fallback),
    CHECK_CASE(a_value_wanted_elsewhere_keeps_ops_apart),
    CHECK_CASE(packed_memory_changes_no_bit),
    CHECK_CASE(a_chain_of_in_place_ops_needs_one_buffer),
    CHECK_CASE(a_barrier_stands_where_the_next_op_touches_the_same_memory),
    CHECK_CASE(reused_memory_needs_a_barrier),
};
CHECK_MAIN("plan", cases)
