/* Fused ops: where they stand in for their parts, and where they must not. */
#include "graph/graph_impl.h"
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

static const check_case cases[] = {
    CHECK_CASE(projections_rotation_and_append_become_one_op),
    CHECK_CASE(parts_do_not_move_past_what_depends_on_them),
    CHECK_CASE(fused_and_decomposed_give_the_same),
    CHECK_CASE(a_fused_op_is_left_apart_where_its_device_lacks_it),
    CHECK_CASE(a_fused_op_may_spare_a_fallback),
    CHECK_CASE(a_value_wanted_elsewhere_keeps_ops_apart),
    CHECK_CASE(a_mamba_block_becomes_two_ops),
    CHECK_CASE(slices_out_of_turn_keep_ops_apart),
    CHECK_CASE(a_sliced_value_wanted_elsewhere_keeps_ops_apart),
};
CHECK_MAIN("fuse", cases)
