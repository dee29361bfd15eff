/* Parameters of a graph: trained in place, never packed, each with a gradient that ops write. */
#include "unit/block_graphs.h"

#include "graph/graph_impl.h"

typedef struct linear {
    nlm_graph *graph;
    nlm_parameter w;
    nlm_value x, weight, y;
} linear;

/* y = x w^T, w being [4,3]. */
static void linear_make(linear *l) {
    nlm_error err = NLM_ERROR_INIT;
    l->graph = fixture_graph();
    expect_ok(nlm_parameter_init(&l->w, "w", NLM_F32, SHAPE(4, 3), &err), &err);
    l->x = nlm_graph_input(l->graph, "x", NLM_F32, SHAPE(2, 3), NLM_ROWS_TOKENS);
    l->weight = nlm_graph_parameter(l->graph, &l->w);
    l->y = nlm_graph_matmul(l->graph, l->x, l->weight, NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(l->graph, l->y);
}

static void linear_destroy(linear *l) {
    nlm_graph_destroy(l->graph);
    nlm_parameter_release(&l->w);
}

static void a_parameter_written_between_runs_counts_in_the_next(void) {
    fixture f;
    fixture_open(&f, 2);
    linear l;
    linear_make(&l);
    nlm_program *program = fixture_plan(&f, l.graph, &plan_all);
    float *x = nlm_program_input(program, l.x);
    for (int i = 0; i < 6; i++) x[i] = (float)(i + 1);
    for (int step = 1; step <= 3; step++) {
        float w[12];
        nlm_error err = NLM_ERROR_INIT;
        for (int i = 0; i < 12; i++) w[i] = (float)(step * (i / 3)); /* row n holds step * n */
        expect_ok(nlm_state_write(&l.w.value, 0, w, sizeof w, &err), &err);
        fixture_run(program, (const int32_t[]){0, 2, 0, 0});
        const float *y = nlm_program_output(program, l.y);
        for (int n = 0; n < 4; n++) {
            CU_ASSERT_EQUAL(y[n], (float)(step * n * 6)); /* 1 + 2 + 3 */
            CU_ASSERT_EQUAL(y[4 + n], (float)(step * n * 15));
        }
    }
    nlm_program_destroy(program);
    linear_destroy(&l);
    fixture_close(&f);
}

/* The first device has the matmul for packed weights alone. */
static void a_parameter_is_not_packed_and_draws_its_ops_to_one_device(void) {
    two_devices t;
    two_open(&t);
    t.first.reversing = OP_BIT(matmul);
    linear l;
    linear_make(&l);
    const nlm_value again = nlm_graph_matmul(l.graph, l.x, l.weight, NLM_NO_VALUE, NLM_NO_VALUE);
    nlm_graph_output(l.graph, nlm_graph_add(l.graph, l.y, again));
    nlm_program *program = fixture_plan(&t.f, l.graph, &plan_all);
    CU_ASSERT_EQUAL_FATAL(nlm_program_steps(program), 3);
    for (uint32_t i = 0; i < 2; i++) CU_ASSERT_PTR_EQUAL(program->steps[i].device, &t.second.device);
    CU_ASSERT_PTR_EQUAL(program->steps[2].device, &t.first.device);
    CU_ASSERT_PTR_EQUAL(l.w.value.device, &t.second.device);
    CU_ASSERT_EQUAL(program->steps[0].args.matmul.w->layout, NLM_LAYOUT_ROW_MAJOR);
    nlm_program_destroy(program);
    linear_destroy(&l);
    fixture_close(&t.f);
}

/* An op that updates a state may update a gradient. */
static void a_gradient_is_written_by_ops_and_read_between_runs(void) {
    fixture f;
    fixture_open(&f, 1);
    nlm_error err = NLM_ERROR_INIT;
    nlm_parameter p;
    nlm_graph *g = fixture_graph();
    expect_ok(nlm_parameter_init(&p, "p", NLM_F16, SHAPE(1, 1, 5), &err), &err);
    const nlm_value parameter = nlm_graph_parameter(g, &p), gradient = nlm_graph_gradient(g, parameter);
    CU_ASSERT_EQUAL(nlm_graph_parameter(g, &p), parameter);
    CU_ASSERT_EQUAL(nlm_graph_gradient(g, parameter), gradient);
    CU_ASSERT_EQUAL(g->values[parameter].tensor.dtype, NLM_F16);
    CU_ASSERT_EQUAL(g->values[gradient].tensor.dtype, NLM_F32);
    fixture_weight(&f, "taps", SHAPE(5, 2));
    const nlm_batch_values batch = {.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED),
                                    .slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS)};
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(2, 5), NLM_ROWS_TOKENS);
    nlm_graph_output(g, nlm_graph_conv1d_causal(g, x, nlm_graph_weight(g, &f.weights[0]), NLM_NO_VALUE, gradient,
                                                NULL, &batch, 0));
    nlm_program *program = fixture_plan(&f, g, &plan_all);
    for (int i = 0; i < 10; i++) ((float *)nlm_program_input(program, x))[i] = (float)i;
    ((int32_t *)nlm_program_input(program, batch.seq_start))[1] = 2;
    fixture_run(program, (const int32_t[]){0, 2, 0, 1});
    float last[5];
    expect_ok(nlm_state_read(&p.gradient, 0, last, sizeof last, &err), &err);
    for (int i = 0; i < 5; i++) CU_ASSERT_EQUAL(last[i], (float)(5 + i)); /* the last input */
    CU_ASSERT_PTR_NULL(p.value.device);                                   /* which nothing has touched */
    nlm_program_destroy(program);
    nlm_graph_destroy(g);
    nlm_parameter_release(&p);
    fixture_close(&f);
}

static void mistakes_are_refused_with_a_sentence(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_parameter p;
    CU_ASSERT_EQUAL(nlm_parameter_init(&p, "p", NLM_Q8_0, SHAPE(4, 32), &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "p is q8_0, expected f32, f16 or bf16");
    for (int row = 0; row < 2; row++) {
        linear l;
        linear_make(&l);
        const nlm_value wrong =
            row == 0 ? nlm_graph_gradient(l.graph, l.x) : nlm_graph_columns(l.graph, l.weight, 0, 2);
        CU_ASSERT_EQUAL(wrong, NLM_NO_VALUE);
        CU_ASSERT_EQUAL(nlm_graph_check(l.graph, &err), NLM_INVALID_ARGUMENT);
        expect_contains(err.msg, row == 0 ? "gradient of a value that is no parameter" : "columns of a parameter");
        linear_destroy(&l);
    }
}

static const check_case cases[] = {
    CHECK_CASE(a_parameter_written_between_runs_counts_in_the_next),
    CHECK_CASE(a_parameter_is_not_packed_and_draws_its_ops_to_one_device),
    CHECK_CASE(a_gradient_is_written_by_ops_and_read_between_runs),
    CHECK_CASE(mistakes_are_refused_with_a_sentence),
};
CHECK_MAIN("parameters", cases)
