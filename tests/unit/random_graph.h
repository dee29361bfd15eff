/* Graphs made by dice, for properties that must hold of all graphs. */
#ifndef NLM_TESTS_RANDOM_GRAPH_H
#define NLM_TESTS_RANDOM_GRAPH_H

#include "unit/graph_fixture.h"

#define RANDOM_ROWS    6
#define RANDOM_OUTPUTS 3
#define RANDOM_VALUES  64

/* Values of two widths, so that matmuls lead from one to the other. */
static const int64_t random_widths[2] = {16, 24};

typedef struct random_graph {
    nlm_graph *graph;
    nlm_value x, ids;
    nlm_value outputs[RANDOM_OUTPUTS];
    nlm_value values[2][RANDOM_VALUES];
    uint32_t n_values[2];
    nlm_value weights[2][2]; /* from width, to width */
    nlm_value norms[2];
} random_graph;

static inline nlm_value random_pick(fixture *f, const random_graph *r, uint32_t width) {
    /* Mostly recent values, so that lifetimes end; sometimes an old one. */
    const uint32_t count = r->n_values[width];
    const uint32_t recent = count < 4 || fixture_random(f, 4) == 0 ? count : 4;
    return r->values[width][count - 1 - fixture_random(f, recent)];
}

static inline void random_keep(random_graph *r, uint32_t width, nlm_value value) {
    CU_ASSERT_FATAL(r->n_values[width] < RANDOM_VALUES);
    r->values[width][r->n_values[width]++] = value;
}

static inline void random_op(fixture *f, random_graph *r) {
    nlm_graph *g = r->graph;
    const uint32_t w = fixture_random(f, 2), other = fixture_random(f, 2);
    const nlm_value a = random_pick(f, r, w), b = random_pick(f, r, w);
    nlm_value sum;
    switch (fixture_random(f, 11)) {
        case 0: random_keep(r, w, nlm_graph_add(g, a, b)); break;
        case 1: random_keep(r, w, nlm_graph_mul(g, a, b)); break;
        case 2: random_keep(r, w, nlm_graph_scale(g, a, 0.5f, 0.25f)); break;
        case 3: random_keep(r, w, nlm_graph_silu_mul(g, a, b)); break;
        case 4: random_keep(r, w, nlm_graph_softmax(g, a, 2)); break;
        case 5: random_keep(r, w, nlm_graph_rms_norm(g, a, r->norms[w], 1e-5f)); break;
        case 6:
            random_keep(r, w, nlm_graph_add_rms_norm(g, a, b, r->norms[w], 1e-5f, &sum));
            random_keep(r, w, sum);
            break;
        case 7: random_keep(r, w, nlm_graph_copy(g, a, NLM_F32)); break;
        case 8:
            random_keep(r, 0, nlm_graph_copy(g, nlm_graph_columns(g, random_pick(f, r, 1), 4, 16), NLM_F32));
            break;
        case 9: random_keep(r, w, nlm_graph_embed(g, r->ids, a)); break;
        default: {
            const nlm_value residual = fixture_random(f, 2) ? random_pick(f, r, other) : NLM_NO_VALUE;
            random_keep(r, other, nlm_graph_matmul(g, a, r->weights[w][other], NLM_NO_VALUE, residual));
        }
    }
}

static inline random_graph random_graph_make(fixture *f, uint32_t n_ops) {
    random_graph r = {.graph = fixture_graph()};
    if (f->dice_weights == 0) {
        f->dice_weights = f->n_weights + 1;
        for (int i = 0; i < 4; i++) fixture_weight(f, "w", SHAPE(random_widths[i % 2], random_widths[i / 2]));
        for (int i = 0; i < 2; i++) fixture_weight(f, "norm", SHAPE(random_widths[i]));
    }
    nlm_weight *weights = &f->weights[f->dice_weights - 1];
    for (int i = 0; i < 4; i++) r.weights[i / 2][i % 2] = nlm_graph_weight(r.graph, &weights[i]);
    for (int i = 0; i < 2; i++) r.norms[i] = nlm_graph_weight(r.graph, &weights[4 + i]);
    r.ids = nlm_graph_input(r.graph, "ids", NLM_I32, SHAPE(RANDOM_ROWS), NLM_ROWS_TOKENS);
    r.x = nlm_graph_input(r.graph, "x", NLM_F32, SHAPE(RANDOM_ROWS, 16), NLM_ROWS_TOKENS);
    random_keep(&r, 0, r.x);
    random_keep(&r, 1, nlm_graph_matmul(r.graph, r.x, r.weights[0][1], NLM_NO_VALUE, NLM_NO_VALUE));
    for (uint32_t i = 0; i < n_ops; i++) {
        nlm_graph_set_layer(r.graph, (int32_t)i / 8);
        random_op(f, &r);
    }
    r.outputs[0] = r.values[1][r.n_values[1] - 1];
    r.outputs[1] = r.values[1][r.n_values[1] / 2];
    r.outputs[2] = r.values[1][0];
    for (int i = 0; i < RANDOM_OUTPUTS; i++) nlm_graph_output(r.graph, r.outputs[i]);
    return r;
}

#define RANDOM_RESULTS ((size_t)RANDOM_OUTPUTS * RANDOM_ROWS * 24)

/* Runs with inputs that depend on the graph alone; live rows of the three outputs go to results. */
static inline void random_graph_run(const random_graph *r, nlm_program *program, int32_t live, float *results) {
    int32_t *ids = nlm_program_input(program, r->ids);
    float *x = nlm_program_input(program, r->x);
    for (int i = 0; i < RANDOM_ROWS; i++) ids[i] = (i * 5 + 1) % live;
    for (int i = 0; i < RANDOM_ROWS * 16; i++) x[i] = (float)((i * 37) % 29 - 14) / 8.0f;
    fixture_run(program, (const int32_t[]){0, live, 0, 0});
    memset(results, 0, RANDOM_RESULTS * sizeof *results);
    for (size_t i = 0; i < RANDOM_OUTPUTS; i++) {
        memcpy(results + i * RANDOM_ROWS * 24, nlm_program_output(program, r->outputs[i]),
               (size_t)live * 24 * sizeof *results);
    }
}

#endif
