/* Training Granite, whose embeddings, residuals and logits have scales: losses are those of the logits that another
 * program computed, gradients those of differences in float64. */
#include "unit/training_fixture.h"

#include "train/trainer_impl.h"
#include "unit/graph64.h"

#define MODEL "granite-f32"

enum { TOKENS = 23, VOCAB = 43 };

static const nlm_trainer_options options = {
    .shape = {.rows = 1, .length = TOKENS, .max_seqs = 1},
    .parameters = {.dtype = NLM_F32},
    .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f},
    .schedule = {.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e-2, .steps = 40},
};

typedef struct sequence {
    nlm_train_batch batch;
    int32_t ids[TOKENS], labels[TOKENS], pos[TOKENS], starts[2];
} sequence;

/* The tokens of tests/data/models/granite-f32.txt. */
static void read_sequence(sequence *s) {
    FILE *file = fopen(NLM_TEST_DATA "/models/" MODEL ".txt", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < TOKENS; i++) {
        CU_ASSERT_EQUAL_FATAL(fscanf(file, "%d", &s->ids[i]), 1);
        s->pos[i] = i;
        if (i > 0) s->labels[i - 1] = s->ids[i];
    }
    fclose(file);
    s->labels[TOKENS - 1] = -1;
    s->starts[0] = 0;
    s->starts[1] = TOKENS;
    s->batch = (nlm_train_batch){.ids = s->ids,
                                 .labels = s->labels,
                                 .pos = s->pos,
                                 .seq_start = s->starts,
                                 .n_tokens = TOKENS,
                                 .n_seqs = 1,
                                 .n_counted = TOKENS - 1};
}

/* Of the logits in the .npy beside it. */
static double expected_loss(const sequence *s) {
    static float logits[TOKENS][VOCAB];
    FILE *file = fopen(NLM_TEST_DATA "/models/" MODEL ".npy", "rb");
    double sum = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, -(long)sizeof logits, SEEK_END);
    CU_ASSERT_EQUAL_FATAL(fread(logits, sizeof logits, 1, file), 1);
    fclose(file);
    for (int i = 0; i + 1 < TOKENS; i++) {
        double total = 0;
        for (int v = 0; v < VOCAB; v++) total += exp((double)logits[i][v]);
        sum += log(total) - (double)logits[i][s->labels[i]];
    }
    return sum;
}

static void losses_are_those_of_the_logits(void) {
    training_backends backends;
    training_list(&backends);
    for (uint32_t i = 0; i < backends.count; i++) {
        nlm_error err = NLM_ERROR_INIT;
        training t;
        sequence s;
        char path[512];
        double loss = 0;
        read_sequence(&s);
        training_open_on(&t, backends.names[i], model_path(MODEL, path, sizeof path), &options, 2);
        expect_ok(nlm_trainer_evaluate(t.trainer, &s.batch, &loss, &err), &err);
        CU_ASSERT_DOUBLE_EQUAL(loss, expected_loss(&s), 1e-5 * expected_loss(&s));
        nlm_trainer_metrics first, last;
        expect_ok(nlm_trainer_step(t.trainer, &s.batch, 1, &first, &err), &err);
        for (int step = 0; step < 20; step++) expect_ok(nlm_trainer_step(t.trainer, &s.batch, 1, &last, &err), &err);
        CU_ASSERT_TRUE(last.loss < 0.8 * first.loss);
        training_close(&t);
    }
}

/* ---- gradients ------------------------------------------------------------------------------------- */

static void put_ids(graph64 *g, nlm_value input, const int32_t *from, int count) {
    memcpy(g->memory[input], from, (size_t)count * sizeof *from);
}

static double loss64(graph64 *g, const nlm_batch_program *p, uint32_t n_forward) {
    double sum = 0;
    graph64_run(g, n_forward);
    for (int i = 0; i < TOKENS; i++) sum += g->memory[p->io.logits][i];
    return sum;
}

static double direction(uint64_t i) {
    return (double)((int)(i * 2654435761u >> 7 & 1023) - 512) / 512;
}

/* How the loss changes along a direction of a parameter. */
static double slope_of(graph64 *g, const nlm_batch_program *p, uint32_t n_forward, double *values, uint64_t count) {
    static const struct { double steps, factor; } points[] = {{1, 8}, {-1, -8}, {2, -1}, {-2, 1}};
    const double step = 3e-5;
    double slope = 0;
    for (int k = 0; k < 4; k++) {
        const double moved = points[k].steps * step;
        for (uint64_t j = 0; j < count; j++) values[j] += moved * direction(j);
        slope += points[k].factor * loss64(g, p, n_forward) / (12 * step);
        for (uint64_t j = 0; j < count; j++) values[j] -= moved * direction(j);
    }
    return slope;
}

static void gradients_are_those_of_differences(void) {
    nlm_error err = NLM_ERROR_INIT;
    training t;
    sequence s;
    nlm_graph *graph = NULL;
    nlm_batch_program p = {0};
    graph64 g;
    double loss;
    uint32_t n_forward = 0;
    read_sequence(&s);
    training_open(&t, MODEL, &options, 2);
    expect_ok(nlm_trainer_accumulate(t.trainer, &s.batch, &loss, &err), &err);
    expect_ok(nlm_graph_create(&graph, &err), &err);
    expect_ok(nlm_trainer_build(t.trainer, true, graph, &p, &err), &err);
    while (!graph->nodes[n_forward].is_backward) n_forward++;
    graph64_open(&g, graph);
    put_ids(&g, p.io.ids, s.ids, TOKENS);
    put_ids(&g, p.io.batch.pos, s.pos, TOKENS);
    put_ids(&g, p.training.labels, s.labels, TOKENS);
    put_ids(&g, p.io.batch.seq_start, s.starts, 2);
    for (uint32_t i = 0; i < training_count(&t); i++) {
        const nlm_value value = nlm_graph_parameter(graph, &training_at(&t, i)->parameter);
        float *values = training_values(&t, i, NLM_TRAINER_VALUE);
        for (uint64_t j = 0; j < nlm_trained_elements(training_at(&t, i)); j++)
            g.memory[value][j] = (double)values[j];
        free(values);
    }
    for (uint32_t i = 0; i < training_count(&t); i++) {
        const uint64_t count = nlm_trained_elements(training_at(&t, i));
        const nlm_value value = nlm_graph_parameter(graph, &training_at(&t, i)->parameter);
        float *found = training_gradient(&t, i);
        double along = 0, size = 0;
        for (uint64_t j = 0; j < count; j++) {
            along += (double)found[j] * direction(j);
            size += fabs((double)found[j] * direction(j));
        }
        const double expected = slope_of(&g, &p, n_forward, g.memory[value], count);
        if (!(size > 0 && fabs(along - expected) <= 1e-5 * size))
            printf("\n%s: the loss changes by %.9g, its gradient says %.9g\n", training_at(&t, i)->name, expected,
                   along);
        CU_ASSERT_TRUE(size > 0 && fabs(along - expected) <= 1e-5 * size);
        free(found);
    }
    graph64_close(&g);
    nlm_graph_destroy(graph);
    nlm_trainer_release(&p);
    training_close(&t);
}

static const check_case cases[] = {
    CHECK_CASE(losses_are_those_of_the_logits),
    CHECK_CASE(gradients_are_those_of_differences),
};
CHECK_MAIN("granite training", cases)
