/* The blocks of models as small graphs: attention, a feed-forward block with a head, and Mamba's. */
#ifndef NLM_TESTS_BLOCK_GRAPHS_H
#define NLM_TESTS_BLOCK_GRAPHS_H

#include "exec/program_impl.h"
#include "unit/graph_fixture.h"

typedef struct two_devices {
    fixture f;
    fake_device first, second;
} two_devices;

static inline void two_open(two_devices *t) {
    fixture_open(&t->f, 2);
    fake_sliced(&t->first, t->f.reference, "first");
    fake_sliced(&t->second, t->f.reference, "second");
    t->f.env.devices[0] = &t->first.device;
    t->f.env.devices[1] = &t->second.device;
    t->f.env.n_devices = 2;
}

typedef struct attention_graph {
    nlm_graph *graph;
    nlm_state k, v;
    nlm_batch_values batch;
    nlm_value x, y;
} attention_graph;

enum { TOKENS = 5, HEADS = 4, GROUPS = 2, HEAD_DIM = 8, WIDTH = 24 };

static inline void attention_weights(fixture *f) {
    fixture_weight(f, "q", SHAPE(HEADS * HEAD_DIM, WIDTH));
    fixture_weight(f, "k", SHAPE(GROUPS * HEAD_DIM, WIDTH));
    fixture_weight(f, "v", SHAPE(GROUPS * HEAD_DIM, WIDTH));
    fixture_weight(f, "bias", SHAPE(GROUPS * HEAD_DIM));
}

static inline nlm_value project(fixture *f, attention_graph *a, int weight, nlm_value bias, int64_t heads) {
    const nlm_value w = nlm_graph_weight(a->graph, &f->weights[weight]);
    const nlm_value y = nlm_graph_matmul(a->graph, a->x, w, bias, NLM_NO_VALUE);
    return nlm_graph_reshape(a->graph, y, SHAPE(TOKENS, heads, HEAD_DIM));
}

/* Keys rotated with a base of their own. */
static inline void attention_make_with(fixture *f, attention_graph *a, float k_freq_base) {
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
    nlm_rope_params rope = {.freq_base = 1e4f, .freq_scale = 1, .n_rot = 8, .freq_factors = NLM_NO_VALUE};
    const nlm_value k_cache = nlm_graph_state(g, &a->k), v_cache = nlm_graph_state(g, &a->v);
    const nlm_value q = nlm_graph_rope(g, project(f, a, 0, NLM_NO_VALUE, HEADS), a->batch.pos, &rope);
    rope.freq_base = k_freq_base;
    const nlm_value bias = nlm_graph_weight(g, &f->weights[3]);
    const nlm_value k = nlm_graph_rope(g, project(f, a, 1, bias, GROUPS), a->batch.pos, &rope);
    nlm_graph_kv_append(g, k, project(f, a, 2, NLM_NO_VALUE, GROUPS), k_cache, v_cache, &a->batch);
    a->y = nlm_graph_attention(g, q, k_cache, v_cache, &a->batch, 0.35f, 0);
    nlm_graph_output(g, a->y);
}

static inline void attention_make(fixture *f, attention_graph *a) {
    attention_make_with(f, a, 1e4f);
}

static inline void attention_destroy(attention_graph *a) {
    nlm_graph_destroy(a->graph);
    nlm_state_release(&a->k);
    nlm_state_release(&a->v);
}

static inline void attention_run(const attention_graph *a, nlm_program *program, float *y) {
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

static inline void expect_near(const float *a, const float *b, size_t count) {
    double error = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    CU_ASSERT_TRUE(size > 0 && error <= 1e-12 * size);
}

static inline uint32_t count_op(const nlm_program *program, nlm_op op) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < program->n_steps; i++) count += program->steps[i].op == op;
    return count;
}

typedef struct mlp_graph {
    nlm_graph *graph;
    nlm_value x, gate, up, h, y, logits;
} mlp_graph;

/* A feed-forward block and a head: gate_up_silu_mul, and norm_matmul twice over. */
static inline mlp_graph mlp_make(fixture *f) {
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

static inline void mlp_run(const mlp_graph *m, nlm_program *program, float *logits) {
    float *x = nlm_program_input(program, m->x);
    for (int i = 0; i < 3 * 12; i++) x[i] = (float)((i * 11) % 13 - 6) / 8.0f;
    fixture_run(program, (const int32_t[]){0, 3, 0, 0});
    memcpy(logits, nlm_program_output(program, m->logits), 3 * 7 * sizeof *logits);
}

typedef struct mamba_graph {
    nlm_graph *graph;
    nlm_state conv, ssm;
    nlm_batch_values batch;
    nlm_value x, low_b_c, y;
} mamba_graph;

enum { MAMBA_EMBD = 12, MAMBA_INNER = 20, MAMBA_RANK = 3, MAMBA_STATES = 5, MAMBA_TAPS = 4 };

static inline void mamba_weights(fixture *f) {
    fixture_weight(f, "norm", SHAPE(MAMBA_EMBD));
    fixture_weight(f, "in", SHAPE(2 * MAMBA_INNER, MAMBA_EMBD));
    fixture_weight(f, "conv", SHAPE(MAMBA_INNER, MAMBA_TAPS));
    fixture_weight(f, "conv_bias", SHAPE(MAMBA_INNER));
    fixture_weight(f, "x", SHAPE(MAMBA_RANK + 2 * MAMBA_STATES, MAMBA_INNER));
    fixture_weight(f, "dt", SHAPE(MAMBA_INNER, MAMBA_RANK));
    fixture_weight(f, "dt_bias", SHAPE(MAMBA_INNER));
    float *a = fixture_weight(f, "a", SHAPE(MAMBA_INNER, MAMBA_STATES))->source.data;
    for (int i = 0; i < MAMBA_INNER * MAMBA_STATES; i++) a[i] = -1.5f - a[i];
    fixture_weight(f, "d", SHAPE(MAMBA_INNER));
}

/* is_swapped: b and c change places in the product that gives them. */
static inline void mamba_make(fixture *f, bool is_swapped, mamba_graph *m) {
    nlm_error err = NLM_ERROR_INIT;
    if (f->n_weights == 0) mamba_weights(f);
    nlm_graph *g = m->graph = fixture_graph();
    nlm_value w[9];
    for (int i = 0; i < 9; i++) w[i] = nlm_graph_weight(g, &f->weights[i]);
    expect_ok(nlm_state_init(&m->conv, "conv", NLM_F32, SHAPE(2, MAMBA_TAPS - 1, MAMBA_INNER), &err), &err);
    expect_ok(nlm_state_init(&m->ssm, "ssm", NLM_F32, SHAPE(2, 2, MAMBA_STATES, NLM_SSM_TILE), &err), &err);
    m->batch.seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED);
    m->batch.slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS);
    m->x = nlm_graph_input(g, "x", NLM_F32, SHAPE(TOKENS, MAMBA_EMBD), NLM_ROWS_TOKENS);
    const nlm_value xz =
        nlm_graph_matmul(g, nlm_graph_rms_norm(g, m->x, w[0], 1e-5f), w[1], NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value x = nlm_graph_conv1d_causal(g, nlm_graph_columns(g, xz, 0, MAMBA_INNER), w[2], w[3],
                                                nlm_graph_state(g, &m->conv), NULL, &m->batch, NLM_CONV_SILU);
    m->low_b_c = nlm_graph_matmul(g, x, w[4], NLM_NO_VALUE, NLM_NO_VALUE);
    const nlm_value low = nlm_graph_columns(g, m->low_b_c, 0, MAMBA_RANK);
    const nlm_value b = nlm_graph_columns(g, m->low_b_c, MAMBA_RANK, MAMBA_STATES);
    const nlm_value c = nlm_graph_columns(g, m->low_b_c, MAMBA_RANK + MAMBA_STATES, MAMBA_STATES);
    const nlm_value z = nlm_graph_columns(g, xz, MAMBA_INNER, MAMBA_INNER);
    m->y = nlm_graph_ssm_scan(g, x, nlm_graph_matmul(g, low, w[5], w[6], NLM_NO_VALUE), w[7], is_swapped ? c : b,
                              is_swapped ? b : c, w[8], z, nlm_graph_state(g, &m->ssm), NULL, &m->batch);
    nlm_graph_output(g, m->y);
}

static inline void mamba_destroy(mamba_graph *m) {
    nlm_graph_destroy(m->graph);
    nlm_state_release(&m->conv);
    nlm_state_release(&m->ssm);
}

static inline void mamba_run(const mamba_graph *m, nlm_program *program, float *y) {
    int32_t *seq_start = nlm_program_input(program, m->batch.seq_start);
    float *x = nlm_program_input(program, m->x);
    seq_start[1] = TOKENS;
    for (int i = 0; i < TOKENS * MAMBA_EMBD; i++) x[i] = (float)((i * 29) % 19 - 9) / 8.0f;
    fixture_run(program, (const int32_t[]){0, TOKENS, 0, 1});
    memcpy(y, nlm_program_output(program, m->y), sizeof(float) * TOKENS * MAMBA_INNER);
}

#endif
