/* The builder: inferred shapes and rows, and what it refuses. */
#include "graph/graph_impl.h"
#include "unit/graph_fixture.h"

static nlm_value input(nlm_graph *g, nlm_dtype dtype, uint32_t row_kind, int rank, const int64_t *shape) {
    return nlm_graph_input(g, "in", dtype, rank, shape, row_kind);
}

#define F32(...)    input(g, NLM_F32, NLM_ROWS_FIXED, SHAPE(__VA_ARGS__))
#define TOKENS(...) input(g, NLM_F32, NLM_ROWS_TOKENS, SHAPE(__VA_ARGS__))
#define I32(...)    input(g, NLM_I32, NLM_ROWS_FIXED, SHAPE(__VA_ARGS__))
#define IDS(...)    input(g, NLM_I32, NLM_ROWS_TOKENS, SHAPE(__VA_ARGS__))

static void expect_shape(const nlm_graph *g, nlm_value value, int rank, const int64_t *shape, uint32_t row_kind) {
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_graph_check(g, &err) != NLM_OK) printf("\n%s\n", err.msg);
    CU_ASSERT_TRUE_FATAL(value >= 0);
    const nlm_tensor *tensor = &g->values[value].tensor;
    CU_ASSERT_EQUAL(tensor->rank, rank);
    CU_ASSERT_EQUAL(memcmp(tensor->shape, shape, (size_t)rank * sizeof *shape), 0);
    CU_ASSERT_EQUAL(tensor->row_kind, row_kind);
}

typedef struct states {
    nlm_state k, v, conv, ssm;
} states;

static void init_states(states *s) {
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_state_init(&s->k, "k", NLM_F16, SHAPE(6, 2, 4, 8), &err), &err);
    expect_ok(nlm_state_init(&s->v, "v", NLM_F16, SHAPE(6, 2, 4, 8), &err), &err);
    expect_ok(nlm_state_init(&s->conv, "conv", NLM_F32, SHAPE(3, 3, 20), &err), &err);
    expect_ok(nlm_state_init(&s->ssm, "ssm", NLM_F32, SHAPE(3, 2, 5, 16), &err), &err);
}

static nlm_batch_values make_batch(nlm_graph *g) {
    const nlm_batch_values batch = {IDS(7), I32(3), I32(2), I32(3, 4)};
    return batch;
}

static void every_op_infers_its_result(void) {
    states s;
    init_states(&s);
    nlm_graph *g = fixture_graph();
    const nlm_batch_values batch = make_batch(g);
    const nlm_value k = nlm_graph_state(g, &s.k), v = nlm_graph_state(g, &s.v);
    const nlm_value x = TOKENS(7, 20);
    const nlm_value q = nlm_graph_reshape(g, TOKENS(7, 32), SHAPE(7, 4, 8));
    const nlm_value kv = nlm_graph_reshape(g, TOKENS(7, 16), SHAPE(7, 2, 8));
    const nlm_rope_params rope = {.freq_base = 10000, .freq_scale = 1, .n_rot = 8, .freq_factors = NLM_NO_VALUE};
    nlm_value sum;

    expect_shape(g, nlm_graph_embed(g, IDS(7), F32(11, 20)), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_matmul(g, x, F32(9, 20), F32(9), NLM_NO_VALUE), SHAPE(7, 9), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_rms_norm(g, x, F32(20), 1e-5f), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_add_rms_norm(g, x, x, F32(20), 1e-5f, &sum), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, sum, SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_rms_norm(g, q, F32(8), 1e-5f), SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_add_rms_norm(g, q, q, F32(8), 1e-5f, &sum), SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    expect_shape(g, sum, SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_rope(g, q, batch.pos, &rope), SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    nlm_graph_kv_append(g, kv, kv, k, v, &batch);
    expect_shape(g, nlm_graph_attention(g, q, k, v, &batch, 0.5f, 0), SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_silu_mul(g, x, x), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_add(g, x, x), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_mul(g, x, F32(20)), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_scale(g, x, 2, 1), SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_softmax(g, x, 1), SHAPE(7, 20), NLM_ROWS_TOKENS);
    nlm_value lse;
    const nlm_value keys = nlm_graph_reshape(g, nlm_graph_columns(g, x, 0, 10), SHAPE(7, 2, 5));
    const nlm_value queries = nlm_graph_reshape(g, x, SHAPE(7, 4, 5));
    expect_shape(g, nlm_graph_attention_plain(g, queries, keys, keys, batch.seq_start, 0.4f, 3, &lse), SHAPE(7, 4, 5),
                 NLM_ROWS_TOKENS);
    expect_shape(g, lse, SHAPE(7, 4), NLM_ROWS_TOKENS);
    expect_shape(
        g,
        nlm_graph_conv1d_causal(g, x, F32(20, 4), F32(20), nlm_graph_state(g, &s.conv), NULL, &batch, NLM_CONV_SILU),
        SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g,
                 nlm_graph_ssm_scan(g, x, x, F32(20, 5), TOKENS(7, 5), TOKENS(7, 5), F32(20), x,
                                    nlm_graph_state(g, &s.ssm), NULL, &batch),
                 SHAPE(7, 20), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_copy(g, q, NLM_F16), SHAPE(7, 4, 8), NLM_ROWS_TOKENS);
    expect_shape(g, nlm_graph_argmax(g, x, 0), SHAPE(7), NLM_ROWS_TOKENS);
    nlm_graph_destroy(g);
}

static void results_have_their_types(void) {
    nlm_graph *g = fixture_graph();
    const nlm_value x = TOKENS(7, 20);
    CU_ASSERT_EQUAL(g->values[nlm_graph_copy(g, x, NLM_BF16)].tensor.dtype, NLM_BF16);
    CU_ASSERT_EQUAL(g->values[nlm_graph_copy(g, x, NLM_BF16)].tensor.stride_bytes[0], 40);
    CU_ASSERT_EQUAL(g->values[nlm_graph_argmax(g, x, 0)].tensor.dtype, NLM_I32);
    CU_ASSERT_EQUAL(g->values[nlm_graph_scale(g, x, 1, 0)].tensor.dtype, NLM_F32);
    nlm_graph_destroy(g);
}

static void gathering_rows_gives_them_the_kind_of_the_ids(void) {
    nlm_graph *g = fixture_graph();
    const nlm_value outputs = input(g, NLM_I32, NLM_ROWS_OUTPUTS, SHAPE(2));
    const nlm_value rows = nlm_graph_embed(g, outputs, TOKENS(7, 20));
    expect_shape(g, rows, SHAPE(2, 20), NLM_ROWS_OUTPUTS);
    expect_shape(g, nlm_graph_matmul(g, rows, F32(9, 20), NLM_NO_VALUE, NLM_NO_VALUE), SHAPE(2, 9), NLM_ROWS_OUTPUTS);
    nlm_graph_destroy(g);
}

static void a_graph_keeps_its_first_error(void) {
    nlm_graph *g = fixture_graph();
    nlm_graph_set_layer(g, 3);
    CU_ASSERT_EQUAL(nlm_graph_matmul(g, TOKENS(7, 20), F32(9, 21), NLM_NO_VALUE, NLM_NO_VALUE), NLM_NO_VALUE);
    CU_ASSERT_EQUAL(nlm_graph_add(g, NLM_NO_VALUE, NLM_NO_VALUE), NLM_NO_VALUE);
    CU_ASSERT_EQUAL(TOKENS(0), NLM_NO_VALUE);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_graph_check(g, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(err.msg, "matmul, layer 3: w is [9,21] f32, expected [N K] with K=20 (from x)");
    nlm_program *program = NULL;
    CU_ASSERT_EQUAL(nlm_graph_plan(g, &(nlm_env){.n_devices = 0}, &program, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "w is [9,21] f32");
    nlm_graph_destroy(g);
}

/* Each makes one mistake. */
static nlm_value bad_type(nlm_graph *g) {
    return nlm_graph_add(g, I32(7, 20), TOKENS(7, 20));
}
static nlm_value missing(nlm_graph *g) {
    return nlm_graph_matmul(g, TOKENS(7, 20), NLM_NO_VALUE, NLM_NO_VALUE, NLM_NO_VALUE);
}
static nlm_value foreign(nlm_graph *g) {
    return nlm_graph_silu_mul(g, TOKENS(7, 20), 1000);
}
static nlm_value bad_rank(nlm_graph *g) {
    return nlm_graph_softmax(g, TOKENS(7, 4, 5), 1);
}
static nlm_value mixed_rows(nlm_graph *g) {
    return nlm_graph_add(g, TOKENS(7, 20), input(g, NLM_F32, NLM_ROWS_OUTPUTS, SHAPE(7, 20)));
}
static nlm_value bad_residual(nlm_graph *g) {
    return nlm_graph_matmul(g, TOKENS(7, 20), F32(9, 20), NLM_NO_VALUE, TOKENS(7, 20));
}
static nlm_value odd_rotation(nlm_graph *g) {
    const nlm_rope_params rope = {.freq_base = 1e4f, .freq_scale = 1, .n_rot = 5, .freq_factors = NLM_NO_VALUE};
    return nlm_graph_rope(g, TOKENS(7, 4, 8), IDS(7), &rope);
}
static nlm_value few_factors(nlm_graph *g) {
    const nlm_rope_params rope = {.freq_base = 1e4f, .freq_scale = 1, .n_rot = 8, .freq_factors = F32(3)};
    return nlm_graph_rope(g, TOKENS(7, 4, 8), IDS(7), &rope);
}
static nlm_value norm_of_two_ranks(nlm_graph *g) {
    nlm_value sum;
    return nlm_graph_add_rms_norm(g, TOKENS(7, 4, 8), TOKENS(7, 8), F32(8), 1e-5f, &sum);
}
static states bad_states;
static nlm_value odd_heads(nlm_graph *g) {
    const nlm_batch_values batch = make_batch(g);
    return nlm_graph_attention(g, TOKENS(7, 3, 8), nlm_graph_state(g, &bad_states.k),
                               nlm_graph_state(g, &bad_states.v), &batch, 1, 0);
}
static nlm_value no_state(nlm_graph *g) {
    const nlm_batch_values batch = make_batch(g);
    return nlm_graph_attention(g, TOKENS(7, 4, 8), F32(6, 2, 4, 8), nlm_graph_state(g, &bad_states.v), &batch, 1, 0);
}
static nlm_value state_as_input(nlm_graph *g) {
    return nlm_graph_add(g, nlm_graph_state(g, &bad_states.conv), TOKENS(7, 20));
}
static nlm_value bad_seq_start(nlm_graph *g) {
    const nlm_batch_values batch = {IDS(7), I32(4), I32(2), I32(3, 4)};
    return nlm_graph_attention(g, TOKENS(7, 4, 8), nlm_graph_state(g, &bad_states.k),
                               nlm_graph_state(g, &bad_states.v), &batch, 1, 0);
}
static nlm_value bad_conv_state(nlm_graph *g) {
    const nlm_batch_values batch = make_batch(g);
    return nlm_graph_conv1d_causal(g, TOKENS(7, 20), F32(20, 5), NLM_NO_VALUE, nlm_graph_state(g, &bad_states.conv),
                                   NULL, &batch, 0);
}
static nlm_value bad_tiles(nlm_graph *g) {
    const nlm_batch_values batch = make_batch(g);
    return nlm_graph_ssm_scan(g, TOKENS(7, 40), TOKENS(7, 40), F32(40, 5), TOKENS(7, 5), TOKENS(7, 5), NLM_NO_VALUE,
                              NLM_NO_VALUE, nlm_graph_state(g, &bad_states.ssm), NULL, &batch);
}
static nlm_value copy_to_integer(nlm_graph *g) {
    return nlm_graph_copy(g, TOKENS(7, 20), NLM_I32);
}
static nlm_value columns_past_the_end(nlm_graph *g) {
    return nlm_graph_columns(g, TOKENS(7, 20), 15, 6);
}
static nlm_value reshape_of_other_size(nlm_graph *g) {
    return nlm_graph_reshape(g, TOKENS(7, 20), SHAPE(7, 4, 6));
}
static nlm_value reshape_that_moves_rows(nlm_graph *g) {
    return nlm_graph_reshape(g, TOKENS(7, 20), SHAPE(14, 10));
}
static nlm_value view_of_state(nlm_graph *g) {
    return nlm_graph_reshape(g, nlm_graph_state(g, &bad_states.conv), SHAPE(3, 60));
}
static nlm_value output_of_input(nlm_graph *g) {
    nlm_graph_output(g, TOKENS(7, 20));
    return NLM_NO_VALUE;
}
static nlm_value input_without_rows(nlm_graph *g) {
    return TOKENS(0, 20);
}

static void mistakes_are_refused_with_a_sentence(void) {
    static const struct {
        nlm_value (*make)(nlm_graph *g);
        const char *part;
    } rows[] = {
        {bad_type, "add: a is [7,20] i32, expected type f32"},
        {missing, "matmul: w is missing"},
        {foreign, "silu_mul: up is no value of this graph"},
        {bad_rank, "softmax: x is [7,4,5] f32, expected [R N]"},
        {mixed_rows, "add: the rows of b are outputs, those of a are tokens"},
        {bad_residual, "residual is [7,20] f32, expected [M N] with M=7 (from x), N=9 (from w)"},
        {odd_rotation, "rope: expected n_rot % 2 = 0, got n_rot=5"},
        {few_factors, "rope: expected F = n_rot / 2, got F=3, n_rot=8"},
        {norm_of_two_ranks, "rms_norm: expected x.rank = residual.rank, got x.rank=3, residual.rank=2"},
        {odd_heads, "attention: expected H % G = 0, got H=3, G=2"},
        {no_state, "attention: k_cache must be a state"},
        {state_as_input, "add: a must not be a state"},
        {bad_seq_start, "attention: slot is [2] i32, expected [S] with S=3 (from seq_start)"},
        {bad_conv_state, "conv1d_causal: state is [3,3,20] f32, expected [L K-1 C] with K=5 (from w)"},
        {bad_tiles, "ssm_scan: state is [3,2,5,16] f32, expected [L C/16 N 16] with C=40"},
        {copy_to_integer, "copy to i32"},
        {columns_past_the_end, "columns 15 to 21 of [7,20] f32"},
        {reshape_of_other_size, "reshape of [7,20] f32 to [7,4,6] f32"},
        {reshape_that_moves_rows, "reshape of [7,20] f32 to [14,10] f32"},
        {view_of_state, "reshape of a state"},
        {output_of_input, "an output must be the result of an op"},
        {input_without_rows, "input in"},
    };
    init_states(&bad_states);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_graph *g = fixture_graph();
        CU_ASSERT_EQUAL(rows[i].make(g), NLM_NO_VALUE);
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_graph_check(g, &err), NLM_INVALID_ARGUMENT);
        expect_contains(err.msg, rows[i].part);
        nlm_graph_destroy(g);
    }
}

static void columns_keep_the_stride_of_rows(void) {
    nlm_graph *g = fixture_graph();
    const nlm_value x = TOKENS(7, 20);
    const nlm_value right = nlm_graph_columns(g, nlm_graph_columns(g, x, 4, 16), 4, 12);
    expect_shape(g, right, SHAPE(7, 12), NLM_ROWS_TOKENS);
    CU_ASSERT_EQUAL(g->values[right].base, x);
    CU_ASSERT_EQUAL(g->values[right].offset_bytes, 32);
    CU_ASSERT_EQUAL(g->values[right].tensor.stride_bytes[0], 80);
    CU_ASSERT_FALSE(nlm_value_is_whole(g->values, right));
    const nlm_value heads = nlm_graph_reshape(g, right, SHAPE(7, 3, 4));
    expect_shape(g, heads, SHAPE(7, 3, 4), NLM_ROWS_TOKENS);
    CU_ASSERT_EQUAL(g->values[heads].tensor.stride_bytes[0], 80);
    CU_ASSERT_EQUAL(g->values[heads].tensor.stride_bytes[1], 16);
    CU_ASSERT_TRUE(nlm_value_is_whole(g->values, nlm_graph_reshape(g, x, SHAPE(7, 5, 4))));
    nlm_graph_destroy(g);
}

static void a_leaf_given_twice_is_one_value(void) {
    states s;
    init_states(&s);
    nlm_weight weight = {.name = "w"};
    nlm_tensor_init(&weight.source, NLM_F32, SHAPE(4, 4), NULL, NULL);
    nlm_graph *g = fixture_graph();
    CU_ASSERT_EQUAL(nlm_graph_weight(g, &weight), nlm_graph_weight(g, &weight));
    CU_ASSERT_EQUAL(nlm_graph_state(g, &s.k), nlm_graph_state(g, &s.k));
    CU_ASSERT_NOT_EQUAL(nlm_graph_state(g, &s.k), nlm_graph_state(g, &s.v));
    nlm_graph_destroy(g);
}

static const check_case cases[] = {
    CHECK_CASE(every_op_infers_its_result),
    CHECK_CASE(results_have_their_types),
    CHECK_CASE(gathering_rows_gives_them_the_kind_of_the_ids),
    CHECK_CASE(a_graph_keeps_its_first_error),
    CHECK_CASE(mistakes_are_refused_with_a_sentence),
    CHECK_CASE(columns_keep_the_stride_of_rows),
    CHECK_CASE(a_leaf_given_twice_is_one_value),
};
CHECK_MAIN("graph", cases)
