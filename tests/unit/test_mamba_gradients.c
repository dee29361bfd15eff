/* Gradients of Mamba's parts: of the graph in float64 against differences, and of the interface against those. */
#include "mamba_fixture.h"

#include "train/mamba_impl.h"
#include "unit/graph64.h"

enum { ROWS = 19 };
static const uint32_t lengths[M_SEQS] = {1, 13, 5}, slots[M_SEQS] = {2, 0, 1};
static const int32_t starts[M_SEQS + 1] = {0, 1, 14, ROWS};

/* The graph that one is trained by, with numbers in it. */
typedef struct twin {
    mamba f;
    nlm_graph *graph;
    nlm_rows_graph rows;
    graph64 g;
    uint32_t n_forward; /* nodes before the backward pass */
    float *x, *dy;
    float *states; /* [M_SEQS, state_size] that the sequences begin with */
} twin;

static void to_f64(const float *from, uint64_t count, double *to) {
    for (uint64_t i = 0; i < count; i++) to[i] = (double)from[i];
}

static void fill_states(twin *t) {
    for (uint32_t i = 0; i < t->f.m->n_states; i++) {
        const uint64_t elements = nlm_mamba_slot_elements(t->f.m, i);
        float *slot = malloc(elements * sizeof *slot);
        const nlm_value value = nlm_graph_state(t->graph, nlm_mamba_state(t->f.m->before, i));
        for (int s = 0; s < M_SEQS; s++) {
            nlm_mamba_state_take(t->f.m, i, t->states + (uint64_t)s * t->f.info.state_size, slot);
            to_f64(slot, elements, t->g.memory[value] + slots[s] * elements);
        }
        free(slot);
    }
}

static void twin_open(twin *t, int32_t level) {
    memset(t, 0, sizeof *t);
    t->f = mamba_open(level);
    mamba_stir(&t->f);
    EXPECT_OK(nlm_graph_create(&t->graph, error));
    EXPECT_OK(nlm_mamba_build(t->f.m, true, t->graph, &t->rows, error));
    while (!t->graph->nodes[t->n_forward].is_backward) t->n_forward++;
    graph64_open(&t->g, t->graph);
    t->x = numbers(1, ROWS * t->f.info.input_dim);
    t->dy = numbers(2, (size_t)ROWS * M_MODEL);
    t->states = numbers(3, M_SEQS * t->f.info.state_size);
    to_f64(t->x, (uint64_t)ROWS * t->f.info.input_dim, t->g.memory[t->rows.io.rows]);
    to_f64(t->dy, (uint64_t)ROWS * M_MODEL, t->g.memory[t->rows.dy]);
    fill_states(t);
    for (uint32_t i = 0; i < t->f.info.n_parameters; i++) {
        const nlm_mamba_parameter p = mamba_parameter(&t->f, i);
        float *values = malloc(p.n_elements * sizeof *values);
        EXPECT_OK(nlm_mamba_read(t->f.m, p.name, values, p.n_elements, error));
        nlm_trained *trained = nlm_parameters_at(t->f.m->parameters, i);
        to_f64(values, p.n_elements, t->g.memory[nlm_graph_parameter(t->graph, &trained->parameter)]);
        free(values);
    }
    int32_t *start = (int32_t *)(void *)t->g.memory[t->rows.io.batch.seq_start];
    int32_t *slot = (int32_t *)(void *)t->g.memory[t->rows.io.batch.slot];
    memcpy(start, starts, sizeof starts);
    for (int s = 0; s < M_SEQS; s++) slot[s] = (int32_t)slots[s];
    t->g.live[NLM_ROWS_TOKENS] = ROWS;
    t->g.live[NLM_ROWS_SEQS] = M_SEQS;
    graph64_run(&t->g, t->graph->n_nodes);
}

static void twin_close(twin *t) {
    graph64_close(&t->g);
    nlm_graph_destroy(t->graph);
    free(t->x);
    free(t->dy);
    free(t->states);
    mamba_close(&t->f);
}

/* ---- differences ---- */

static double loss64(const twin *t) {
    const nlm_tensor y = graph64_tensor(&t->g, t->rows.y);
    double sum = 0;
    for (int i = 0; i < ROWS * M_MODEL; i++) sum += ((const double *)y.data)[i] * (double)t->dy[i];
    return sum;
}

/* A direction in which all elements of a value change. */
static double direction(uint64_t i) {
    return (double)((int)(i * 2654435761u >> 7 & 1023) - 512) / 512;
}

/* The slope along it, to the fourth power of the step, against what the gradient says. */
static void expect_slope(twin *t, const char *what, nlm_value value, const double *gradient, uint64_t count) {
    static const struct { double steps, factor; } points[] = {{1, 8}, {-1, -8}, {2, -1}, {-2, 1}};
    const double step = 3e-5;
    double *values = t->g.memory[value], slope = 0, size = 0, found = 0;
    for (uint64_t i = 0; i < count; i++) {
        slope += gradient[i] * direction(i);
        size += fabs(gradient[i] * direction(i));
    }
    for (int p = 0; p < 4; p++) {
        const double moved = points[p].steps * step;
        for (uint64_t i = 0; i < count; i++) values[i] += moved * direction(i);
        graph64_run(&t->g, t->n_forward);
        found += points[p].factor * loss64(t) / (12 * step);
        for (uint64_t i = 0; i < count; i++) values[i] -= moved * direction(i);
    }
    const bool is_near = size > 0 && fabs(found - slope) <= 1e-5 * size;
    if (!is_near) printf("\n%s: the loss changes by %.9g, its gradient says %.9g\n", what, found, slope);
    CU_ASSERT_TRUE(is_near);
}

static const double *gradient64(const twin *t, nlm_value value) {
    return graph64_tensor(&t->g, value).data;
}

static void gradients_are_what_the_loss_does(void) {
    for (int32_t level = 0; level < M_LEVELS; level++) {
        twin t;
        twin_open(&t, level);
        for (uint32_t i = 0; i < t.f.info.n_parameters; i++) {
            const nlm_mamba_parameter p = mamba_parameter(&t.f, i);
            const nlm_value value = nlm_graph_parameter(t.graph, &nlm_parameters_at(t.f.m->parameters, i)->parameter);
            expect_slope(&t, p.name, value, gradient64(&t, nlm_graph_gradient(t.graph, value)), p.n_elements);
        }
        expect_slope(&t, "x", t.rows.io.rows, gradient64(&t, t.rows.dx), (uint64_t)ROWS * t.f.info.input_dim);
        for (uint32_t i = 0; i < t.f.m->n_states; i++) {
            const nlm_value value = nlm_graph_state(t.graph, nlm_mamba_state(t.f.m->before, i));
            expect_slope(&t, "a state", value, gradient64(&t, t.rows.gradients[i]),
                         M_SEQS * nlm_mamba_slot_elements(t.f.m, i));
        }
        twin_close(&t);
    }
}

/* ---- f32 ---- */

static void expect_near64(const char *what, const float *found, const double *expected, uint64_t count) {
    double off = 0, size = 0;
    for (uint64_t i = 0; i < count; i++) {
        off += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    const bool is_near = size > 0 && sqrt(off / size) <= 1e-5;
    if (!is_near) printf("\n%s: off by %g of %g\n", what, sqrt(off), sqrt(size));
    CU_ASSERT_TRUE(is_near);
}

static void expect_states_near64(const twin *t, const float *found) {
    for (uint32_t i = 0; i < t->f.m->n_states; i++) {
        const uint64_t elements = nlm_mamba_slot_elements(t->f.m, i);
        float *slot = malloc(elements * sizeof *slot);
        for (int s = 0; s < M_SEQS; s++) {
            nlm_mamba_state_take(t->f.m, i, found + (uint64_t)s * t->f.info.state_size, slot);
            expect_near64("a state", slot, gradient64(t, t->rows.gradients[i]) + slots[s] * elements, elements);
        }
        free(slot);
    }
}

/* Twice, as gradients are added. */
static void the_interface_gives_them(void) {
    for (int32_t level = 0; level < M_LEVELS; level++) {
        twin t;
        twin_open(&t, level);
        const nlm_mamba_batch batch = {.struct_size = sizeof batch,
                                       .flags = NLM_MAMBA_CARRY,
                                       .x = t.x,
                                       .lengths = lengths,
                                       .slots = slots,
                                       .n_seqs = M_SEQS};
        float *dstates = malloc(M_SEQS * t.f.info.state_size * sizeof *dstates), y[ROWS * M_MODEL],
              dx[ROWS * M_MODEL];
        for (int pass = 0; pass < 2; pass++) {
            for (uint32_t s = 0; s < M_SEQS; s++)
                EXPECT_OK(nlm_mamba_set_state(t.f.m, slots[s], t.states + s * t.f.info.state_size, error));
            EXPECT_OK(nlm_mamba_forward(t.f.m, &batch, y, error));
            EXPECT_OK(nlm_mamba_backward(t.f.m, t.dy, dx, dstates, error));
        }
        expect_near64("y", y, gradient64(&t, t.rows.y), (uint64_t)ROWS * M_MODEL);
        expect_near64("dx", dx, gradient64(&t, t.rows.dx), (uint64_t)ROWS * t.f.info.input_dim);
        expect_states_near64(&t, dstates);
        for (uint32_t i = 0; i < t.f.info.n_parameters; i++) {
            const nlm_mamba_parameter p = mamba_parameter(&t.f, i);
            float *found = malloc(p.n_elements * sizeof *found);
            EXPECT_OK(nlm_mamba_read_gradient(t.f.m, p.name, found, p.n_elements, error));
            for (uint64_t j = 0; j < p.n_elements; j++) found[j] /= 2;
            nlm_trained *trained = nlm_parameters_at(t.f.m->parameters, i);
            const nlm_value value = nlm_graph_parameter(t.graph, &trained->parameter);
            expect_near64(p.name, found, gradient64(&t, nlm_graph_gradient(t.graph, value)), p.n_elements);
            free(found);
        }
        free(dstates);
        twin_close(&t);
    }
}

static const check_case cases[] = {
    CHECK_CASE(gradients_are_what_the_loss_does),
    CHECK_CASE(the_interface_gives_them),
};
CHECK_MAIN("mamba_gradients", cases)
