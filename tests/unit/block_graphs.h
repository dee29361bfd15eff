/* The blocks of a Llama as small graphs: attention, and a feed-forward block with a head. */
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

static inline void attention_make(fixture *f, attention_graph *a) {
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

#endif
