/* Ops that carry a state on into a value of its own: they can be computed again, as training does. */
#include "unit/block_graphs.h"

enum { PAIR_CHANNELS = 20, PAIR_STATES = 5, PAIR_TAPS = 4 };

typedef struct pair_graph {
    nlm_graph *graph;
    nlm_state state;
    nlm_batch_values batch;
    nlm_value x, w, b;
} pair_graph;

static void pair_make(fixture *f, bool is_scan, pair_graph *p) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_graph *g = p->graph = fixture_graph();
    if (is_scan)
        expect_ok(nlm_state_init(&p->state, "ssm", NLM_F32, SHAPE(2, 2, PAIR_STATES, NLM_SSM_TILE), &err), &err);
    else
        expect_ok(nlm_state_init(&p->state, "conv", NLM_F32, SHAPE(2, PAIR_TAPS - 1, PAIR_CHANNELS), &err), &err);
    p->batch.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED);
    p->batch.slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS);
    p->x = nlm_graph_input(g, "x", NLM_F32, SHAPE(TOKENS, PAIR_CHANNELS), NLM_ROWS_TOKENS);
    p->b = nlm_graph_columns(g, p->x, 0, PAIR_STATES);
    p->w = nlm_graph_weight(g, &f->weights[is_scan]);
}

static nlm_value pair_op(const pair_graph *p, bool is_scan, nlm_value state, nlm_value *out_state) {
    if (!is_scan) return nlm_graph_conv1d_causal(p->graph, p->x, p->w, NLM_NO_VALUE, state, out_state, &p->batch, 0);
    return nlm_graph_ssm_scan(p->graph, p->x, p->x, p->w, p->b, p->b, NLM_NO_VALUE, NLM_NO_VALUE, state, out_state,
                              &p->batch);
}

static void pair_run(const pair_graph *p, nlm_program *program) {
    float *x = nlm_program_input(program, p->x);
    for (int i = 0; i < TOKENS * PAIR_CHANNELS; i++) x[i] = (float)((i * 29) % 19 - 9) / 8.0f;
    ((int32_t *)nlm_program_input(program, p->batch.seq_start))[1] = TOKENS;
    ((int32_t *)nlm_program_input(program, p->batch.slot))[0] = 1;
    fixture_run(program, (const int32_t[]){0, TOKENS, 0, 1});
}

static void pair_destroy(pair_graph *p, nlm_program *program) {
    nlm_program_destroy(program);
    nlm_graph_destroy(p->graph);
    nlm_state_release(&p->state);
}

static bool is_same(const nlm_program *program, nlm_value value, const float *expected, size_t count) {
    return memcmp(nlm_program_output(program, value), expected, count * sizeof *expected) == 0;
}

/* In place, two runs; as values, all in one run, the first step twice over. */
static void a_state_that_is_a_value_is_carried_on_and_can_be_repeated(void) {
    enum { COUNT = TOKENS * PAIR_CHANNELS, MOST = 2 * 2 * PAIR_STATES * NLM_SSM_TILE };
    fixture f;
    fixture_open(&f, 2);
    fixture_weight(&f, "taps", SHAPE(PAIR_CHANNELS, PAIR_TAPS));
    float *a = fixture_weight(&f, "a", SHAPE(PAIR_CHANNELS, PAIR_STATES))->source.data;
    for (int i = 0; i < PAIR_CHANNELS * PAIR_STATES; i++) a[i] = -1.5f - a[i];
    for (int is_scan = 0; is_scan < 2; is_scan++) {
        nlm_error err = NLM_ERROR_INIT;
        float y[2][COUNT], after[MOST], zeros[MOST] = {0};
        pair_graph in_place, apart;
        pair_make(&f, is_scan, &in_place);
        const nlm_value result = pair_op(&in_place, is_scan, nlm_graph_state(in_place.graph, &in_place.state), NULL);
        nlm_graph_output(in_place.graph, result);
        nlm_program *program = fixture_plan(&f, in_place.graph, &plan_all);
        const uint64_t slot_bytes = in_place.state.bytes / 2;
        for (int run = 0; run < 2; run++) {
            pair_run(&in_place, program);
            memcpy(y[run], nlm_program_output(program, result), sizeof y[run]);
            if (run == 0) expect_ok(nlm_state_read(&in_place.state, slot_bytes, after, slot_bytes, &err), &err);
        }
        CU_ASSERT_TRUE(memcmp(y[0], y[1], sizeof y[0]) != 0);
        pair_destroy(&in_place, program);

        pair_make(&f, is_scan, &apart);
        const nlm_value state = nlm_graph_state(apart.graph, &apart.state);
        nlm_value states[3], results[3];
        results[0] = pair_op(&apart, is_scan, state, &states[0]);
        results[1] = pair_op(&apart, is_scan, states[0], &states[1]);
        results[2] = pair_op(&apart, is_scan, state, &states[2]);
        for (int i = 0; i < 3; i++) nlm_graph_output(apart.graph, results[i]);
        nlm_graph_output(apart.graph, states[0]);
        program = fixture_plan(&f, apart.graph, &plan_all);
        for (int run = 0; run < 2; run++) {
            pair_run(&apart, program);
            CU_ASSERT_TRUE(is_same(program, results[0], y[0], COUNT));
            CU_ASSERT_TRUE(is_same(program, results[1], y[1], COUNT));
            CU_ASSERT_TRUE(is_same(program, results[2], y[0], COUNT));
        }
        const char *first = nlm_program_output(program, states[0]);
        CU_ASSERT_EQUAL(memcmp(first + slot_bytes, after, slot_bytes), 0);
        expect_ok(nlm_state_read(&apart.state, 0, after, 2 * slot_bytes, &err), &err);
        CU_ASSERT_EQUAL(memcmp(after, zeros, 2 * slot_bytes), 0); /* read alone */
        pair_destroy(&apart, program);
    }
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(a_state_that_is_a_value_is_carried_on_and_can_be_repeated),
};
CHECK_MAIN("states as pairs", cases)
