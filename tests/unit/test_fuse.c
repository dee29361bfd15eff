/* Fused ops: where they stand in for their parts, and where they must not. */
#include "graph/plan_impl.h"
#include "unit/block_graphs.h"

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

/* The fused op would stand behind a use of its q, and behind a reader of its caches. */
static void parts_do_not_move_past_what_depends_on_them(void) {
    fixture f;
    fixture_open(&f, 1);
    for (int is_state = 0; is_state < 2; is_state++) {
        attention_graph a;
        attention_make(&f, &a);
        nlm_node *nodes = a.graph->nodes; /* q rope_q k rope_k v append attention */
        const nlm_node append = nodes[5], attention = nodes[6];
        CU_ASSERT_EQUAL_FATAL(append.op, NLM_OP_kv_append);
        nlm_node between = attention;
        if (!is_state) {
            const nlm_value flat = nlm_graph_reshape(a.graph, nodes[1].fields[3], SHAPE(TOKENS, HEADS * HEAD_DIM));
            nlm_graph_output(a.graph, nlm_graph_scale(a.graph, flat, 2, 0));
            nodes = a.graph->nodes;
            between = nodes[7];
            nodes[7] = attention;
        }
        nodes[5] = between;
        nodes[6] = append;
        nlm_program *program = fixture_plan(&f, a.graph, &plan_all);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_qkv_rope_append), 0);
        nlm_program_destroy(program);
        attention_destroy(&a);
    }
    fixture_close(&f);
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

static void ops_with_other_numbers_stay_apart(void) {
    fixture f;
    fixture_open(&f, 1);
    for (int is_same = 0; is_same < 2; is_same++) {
        attention_graph a;
        attention_make_with(&f, &a, is_same ? 1e4f : 2e4f);
        nlm_program *program = fixture_plan(&f, a.graph, &plan_all);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_qkv_rope_append), (uint32_t)is_same);
        nlm_program_destroy(program);
        attention_destroy(&a);
    }
    fixture_close(&f);
}

/* gate of one half of a row, up of the other: no x of a fused op is both. */
static void parts_of_one_value_are_not_the_same(void) {
    fixture f;
    fixture_open(&f, 1);
    fixture_weight(&f, "gate", SHAPE(20, 12));
    fixture_weight(&f, "up", SHAPE(20, 12));
    for (int is_same = 0; is_same < 2; is_same++) {
        nlm_graph *g = fixture_graph();
        const nlm_value in = nlm_graph_input(g, "x", NLM_F32, SHAPE(3, 24), NLM_ROWS_TOKENS);
        const nlm_value x = nlm_graph_scale(g, in, 2, 0);
        const nlm_value left = nlm_graph_columns(g, x, 0, 12);
        const nlm_value right = is_same ? left : nlm_graph_columns(g, x, 12, 12);
        const nlm_value w[2] = {nlm_graph_weight(g, &f.weights[0]), nlm_graph_weight(g, &f.weights[1])};
        const nlm_value gate = nlm_graph_matmul(g, left, w[0], NLM_NO_VALUE, NLM_NO_VALUE);
        const nlm_value up = nlm_graph_matmul(g, right, w[1], NLM_NO_VALUE, NLM_NO_VALUE);
        nlm_graph_output(g, nlm_graph_silu_mul(g, gate, up));
        nlm_program *program = fixture_plan(&f, g, &plan_all);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_gate_up_silu_mul), (uint32_t)is_same);
        nlm_program_destroy(program);
        nlm_graph_destroy(g);
    }
    fixture_close(&f);
}

static void a_mamba_block_becomes_two_ops(void) {
    fixture f;
    fixture_open(&f, 2);
    float results[2][2][TOKENS * MAMBA_INNER];
    for (int is_fused = 0; is_fused < 2; is_fused++) {
        mamba_graph m;
        mamba_make(&f, false, &m);
        nlm_program *program = fixture_plan(&f, m.graph, is_fused ? &plan_all : &plan_packed);
        CU_ASSERT_EQUAL(nlm_program_steps(program), is_fused ? 2 : 6);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_norm_xz_conv), (uint32_t)is_fused);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_dt_bc_scan), (uint32_t)is_fused);
        for (int run = 0; run < 2; run++) mamba_run(&m, program, results[is_fused][run]); /* on carried states */
        nlm_program_destroy(program);
        mamba_destroy(&m);
    }
    for (int run = 0; run < 2; run++) expect_near(results[1][run], results[0][run], TOKENS * MAMBA_INNER);
    CU_ASSERT_TRUE(memcmp(results[0][0], results[0][1], sizeof results[0][0]) != 0);
    fixture_close(&f);
}

static void slices_out_of_turn_keep_ops_apart(void) {
    fixture f;
    fixture_open(&f, 1);
    mamba_graph m;
    mamba_make(&f, true, &m);
    nlm_program *program = fixture_plan(&f, m.graph, &plan_all);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_norm_xz_conv), 1);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_dt_bc_scan), 0);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_ssm_scan), 1);
    nlm_program_destroy(program);
    mamba_destroy(&m);
    fixture_close(&f);
}

static void a_sliced_value_wanted_elsewhere_keeps_ops_apart(void) {
    fixture f;
    fixture_open(&f, 1);
    mamba_graph m;
    mamba_make(&f, false, &m);
    nlm_graph_output(m.graph, nlm_graph_columns(m.graph, m.low_b_c, 0, MAMBA_RANK));
    nlm_program *program = fixture_plan(&f, m.graph, &plan_all);
    CU_ASSERT_EQUAL(count_op(program, NLM_OP_dt_bc_scan), 0);
    nlm_program_destroy(program);
    mamba_destroy(&m);
    fixture_close(&f);
}

/* ---- a backward pass that reads what fused ops leave out ------------------------------------------------- */

/* The first step of this op, or the number of steps. */
static uint32_t find_op(const nlm_program *program, nlm_op op) {
    uint32_t i = 0;
    while (i < program->n_steps && program->steps[i].op != op) i++;
    return i;
}

/* In place of a derivative: something of a value between the parts, that the forward pass has and the plan may not.
 */
static void mlp_go_back(mlp_graph *m, nlm_value *out_products, nlm_value *out_normed) {
    nlm_graph *g = m->graph;
    const nlm_node *norm = &g->nodes[4];
    CU_ASSERT_EQUAL_FATAL(norm->op, NLM_OP_rms_norm);
    const nlm_value normed = norm->fields[3];
    nlm_graph_begin_backward(g);
    *out_products = nlm_graph_mul(g, m->gate, m->up);
    *out_normed = nlm_graph_scale(g, normed, 3, 0);
    nlm_graph_output(g, *out_products);
    nlm_graph_output(g, *out_normed);
}

static void a_backward_pass_leaves_the_forward_pass_fused(void) {
    fixture f;
    fixture_open(&f, 2);
    mlp_graph m = mlp_make(&f);
    nlm_value products, normed;
    mlp_go_back(&m, &products, &normed);
    nlm_program *plain = fixture_plan(&f, m.graph, &plan_plain), *fused = fixture_plan(&f, m.graph, &plan_all);
    /* forward: gate_up_silu_mul, matmul, norm_matmul; backward: matmul, matmul, mul; rms_norm, scale */
    CU_ASSERT_EQUAL(nlm_program_steps(plain), 8);
    CU_ASSERT_EQUAL(nlm_program_steps(fused), 8);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_gate_up_silu_mul), 1);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_norm_matmul), 1);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_silu_mul), 0);
    CU_ASSERT_EQUAL(count_op(fused, NLM_OP_matmul), 3);
    /* again, where it is read, and not before: between the passes it has no memory */
    const uint32_t forward_end = find_op(fused, NLM_OP_norm_matmul);
    CU_ASSERT_EQUAL(forward_end, 2);
    CU_ASSERT_EQUAL(find_op(fused, NLM_OP_mul), forward_end + 3);
    CU_ASSERT_EQUAL(find_op(fused, NLM_OP_rms_norm), forward_end + 4);
    float logits[2][3 * 7];
    mlp_run(&m, plain, logits[0]);
    float expected[3 * 20 + 3 * 12];
    memcpy(expected, nlm_program_output(plain, products), 3 * 20 * sizeof(float));
    memcpy(expected + 3 * 20, nlm_program_output(plain, normed), 3 * 12 * sizeof(float));
    mlp_run(&m, fused, logits[1]);
    expect_near(logits[1], logits[0], 3 * 7);
    expect_near(nlm_program_output(fused, products), expected, 3 * 20);
    expect_near(nlm_program_output(fused, normed), expected + 3 * 20, 3 * 12);
    nlm_program_destroy(plain);
    nlm_program_destroy(fused);
    nlm_graph_destroy(m.graph);
    fixture_close(&f);
}

/* dt and b hang on low_b_c, a value between the parts too, of which they are slices. */
static void what_is_computed_again_brings_what_it_reads(void) {
    fixture f;
    fixture_open(&f, 2);
    float results[2][TOKENS * MAMBA_INNER], backward[2][TOKENS * MAMBA_INNER];
    for (int is_fused = 0; is_fused < 2; is_fused++) {
        mamba_graph m;
        mamba_make(&f, false, &m);
        const nlm_node *scan = &m.graph->nodes[m.graph->n_nodes - 1];
        CU_ASSERT_EQUAL_FATAL(scan->op, NLM_OP_ssm_scan);
        const nlm_value dt = scan->fields[1];
        nlm_graph_begin_backward(m.graph);
        const nlm_value twice = nlm_graph_scale(m.graph, dt, 2, 0);
        nlm_graph_output(m.graph, twice);
        nlm_program *program = fixture_plan(&f, m.graph, is_fused ? &plan_all : &plan_packed);
        CU_ASSERT_EQUAL(nlm_program_steps(program), is_fused ? 5 : 7);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_norm_xz_conv), (uint32_t)is_fused);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_dt_bc_scan), (uint32_t)is_fused);
        CU_ASSERT_EQUAL(count_op(program, NLM_OP_matmul), is_fused ? 2 : 3);
        mamba_run(&m, program, results[is_fused]);
        memcpy(backward[is_fused], nlm_program_output(program, twice), sizeof backward[0]);
        nlm_program_destroy(program);
        mamba_destroy(&m);
    }
    expect_near(results[1], results[0], TOKENS * MAMBA_INNER);
    expect_near(backward[1], backward[0], TOKENS * MAMBA_INNER);
    fixture_close(&f);
}

/* A parameter that changes in between: a plan made by hand, as no op of today takes a vector for a state. */
static void what_is_computed_again_reads_parameters_before_they_change(void) {
    fixture f;
    fixture_open(&f, 1);
    nlm_error err = NLM_ERROR_INIT;
    nlm_parameter norm, other;
    nlm_graph *g = fixture_graph();
    fixture_weight(&f, "taps", SHAPE(12, 2));
    expect_ok(nlm_parameter_init(&norm, "norm", NLM_F32, SHAPE(12), &err), &err);
    expect_ok(nlm_parameter_init(&other, "other", NLM_F32, SHAPE(1, 1, 12), &err), &err);
    const nlm_value x = nlm_graph_input(g, "x", NLM_F32, SHAPE(3, 12), NLM_ROWS_TOKENS);
    const nlm_batch_values batch = {.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED),
                                    .slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS)};
    const nlm_value w = nlm_graph_parameter(g, &norm), normed = nlm_graph_rms_norm(g, x, w, 1e-5f);
    nlm_graph_conv1d_causal(g, x, nlm_graph_weight(g, &f.weights[0]), NLM_NO_VALUE, nlm_graph_parameter(g, &other),
                            NULL, &batch, 0);
    nlm_graph_scale(g, normed, 2, 0);
    expect_ok(nlm_graph_check(g, &err), &err);
    for (int is_changed = 0; is_changed < 2; is_changed++) {
        nlm_plan_node nodes[3] = {
            {.node = g->nodes[0], .is_again = true}, {.node = g->nodes[1]}, {.node = g->nodes[2]}};
        if (is_changed) nodes[1].node.fields[7] = w; /* its state_out */
        nlm_plan plan = {.values = g->values, .n_values = g->n_values, .nodes = nodes, .n_nodes = 3};
        expect_ok(nlm_plan_again(&plan, &err), &err);
        CU_ASSERT_EQUAL(plan.n_nodes, 3);
        CU_ASSERT_EQUAL(plan.nodes[is_changed ? 0 : 1].node.op, NLM_OP_rms_norm);
        CU_ASSERT_EQUAL(plan.nodes[is_changed ? 1 : 0].node.op, NLM_OP_conv1d_causal);
        nlm_arena_release(&plan.arena);
    }
    nlm_graph_destroy(g);
    nlm_parameter_release(&norm);
    nlm_parameter_release(&other);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(projections_rotation_and_append_become_one_op),
    CHECK_CASE(parts_do_not_move_past_what_depends_on_them),
    CHECK_CASE(fused_and_decomposed_give_the_same),
    CHECK_CASE(a_fused_op_is_left_apart_where_its_device_lacks_it),
    CHECK_CASE(a_fused_op_may_spare_a_fallback),
    CHECK_CASE(a_value_wanted_elsewhere_keeps_ops_apart),
    CHECK_CASE(ops_with_other_numbers_stay_apart),
    CHECK_CASE(parts_of_one_value_are_not_the_same),
    CHECK_CASE(a_mamba_block_becomes_two_ops),
    CHECK_CASE(slices_out_of_turn_keep_ops_apart),
    CHECK_CASE(a_sliced_value_wanted_elsewhere_keeps_ops_apart),
    CHECK_CASE(a_backward_pass_leaves_the_forward_pass_fused),
    CHECK_CASE(what_is_computed_again_brings_what_it_reads),
    CHECK_CASE(what_is_computed_again_reads_parameters_before_they_change),
};
CHECK_MAIN("fuse", cases)
