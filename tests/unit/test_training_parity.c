/* Gradients, losses and AdamW's steps of every backend here against those of PyTorch in float64: the files of
 * tests/data/training, whose script (tests/oracle/make_training_fixtures.py) says what they hold. */
#include "unit/training_fixture.h"

#include "format/safetensors.h"

enum { BATCHES = 3, STEPS = 20, TOKENS = 23, SEQUENCES = 3 };

/* As the script has them. */
static const nlm_trainer_options options = {
    .shape = {.rows = 1, .length = TOKENS + 5, .max_seqs = SEQUENCES + 2},
    .parameters = {.dtype = NLM_F32},
    .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
    .clip_norm = 1,
    .schedule = {.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e-2, .steps = STEPS, .warmup = 5},
};

static const char *const names[] = {"llama-scale-linear-f32", "llama-window-bf16", "qwen3-untied-f32",
                                    "mamba-bare-f32", "mamba-biases-f32"};
enum { N_NAMES = sizeof names / sizeof *names };

typedef struct parity {
    training t;
    nlm_safetensors *file;
    const char *backend, *name;
    nlm_train_batch batches[BATCHES];
    int32_t pos[BATCHES][TOKENS];
} parity;

/* The tensor "PREFIX.NAME" of so many elements. */
static const void *find(const parity *p, const char *prefix, const char *name, nlm_dtype dtype, uint64_t count) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    const nlm_safetensors_tensor *tensor = nlm_safetensors_find(p->file, full);
    if (!tensor) printf("\n%s has no '%s'\n", p->name, full);
    CU_ASSERT_FATAL(tensor && tensor->is_supported && tensor->tensor.dtype == dtype);
    CU_ASSERT_EQUAL_FATAL(tensor->bytes, count * 4);
    return tensor->data;
}

/* The batch's tokens as the trainer takes them. It reads the lists only. */
static void take_batch(parity *p, int index) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "batch.%d", index);
    nlm_train_batch *batch = &p->batches[index];
    *batch = (nlm_train_batch){.ids = (int32_t *)find(p, prefix, "ids", NLM_I32, TOKENS),
                               .labels = (int32_t *)find(p, prefix, "labels", NLM_I32, TOKENS),
                               .seq_start = (int32_t *)find(p, prefix, "starts", NLM_I32, SEQUENCES + 1),
                               .pos = p->pos[index],
                               .n_tokens = TOKENS,
                               .n_seqs = SEQUENCES};
    for (int s = 0; s < SEQUENCES; s++) {
        for (int32_t i = batch->seq_start[s]; i < batch->seq_start[s + 1]; i++)
            batch->pos[i] = i - batch->seq_start[s];
    }
    for (int i = 0; i < TOKENS; i++) batch->n_counted += batch->labels[i] >= 0;
}

static void parity_open(parity *p, const char *backend, const char *name) {
    nlm_error err = NLM_ERROR_INIT;
    char path[512];
    memset(p, 0, sizeof *p);
    p->backend = backend;
    p->name = name;
    snprintf(path, sizeof path, "%s/training/%s.safetensors", NLM_TEST_DATA, name);
    expect_ok(nlm_safetensors_open(path, &p->file, &err), &err);
    for (int b = 0; b < BATCHES; b++) take_batch(p, b);
    training_open_on(&p->t, backend, model_path(name, path, sizeof path), &options, 2);
}

static void parity_close(parity *p) {
    training_close(&p->t);
    nlm_safetensors_close(p->file);
}

/* Every model on every backend that this machine can run. */
static void on_all(void (*check)(const parity *p)) {
    training_backends backends;
    training_list(&backends);
    for (uint32_t i = 0; i < backends.count; i++) {
        for (int n = 0; n < N_NAMES; n++) {
            parity p;
            parity_open(&p, backends.names[i], names[n]);
            check(&p);
            parity_close(&p);
        }
    }
}

static void expect_near(const parity *p, const char *what, int step, double found, double expected, double bound) {
    if (!(fabs(found - expected) <= bound))
        printf("\n%s, %s, %s %d: %.9g, expected %.9g\n", p->backend, p->name, what, step, found, expected);
    CU_ASSERT_TRUE(fabs(found - expected) <= bound);
}

static void check_losses(const parity *p) {
    for (int b = 0; b < BATCHES; b++) {
        nlm_error err = NLM_ERROR_INIT;
        char number[16];
        double loss = 0;
        snprintf(number, sizeof number, "%d", b);
        const float *expected = find(p, "loss", number, NLM_F32, 1);
        expect_ok(nlm_trainer_evaluate(p->t.trainer, &p->batches[b], &loss, &err), &err);
        expect_near(p, "loss", b, loss, (double)*expected, 1e-5 * (double)*expected);
    }
}

static void losses_of_batches_are_theirs(void) {
    on_all(check_losses);
}

static void check_gradients(const parity *p) {
    nlm_error err = NLM_ERROR_INIT;
    double loss = 0, worst = 0;
    expect_ok(nlm_trainer_accumulate(p->t.trainer, &p->batches[0], &loss, &err), &err);
    for (uint32_t i = 0; i < training_count(&p->t); i++) {
        const nlm_trained *trained = training_at(&p->t, i);
        const uint64_t count = nlm_trained_elements(trained);
        const float *expected = find(p, "gradient", trained->name, NLM_F32, count);
        float *found = training_gradient(&p->t, i);
        for (uint64_t j = 0; j < count; j++) found[j] -= expected[j];
        const double off = training_norm(found, count) / training_norm(expected, count);
        expect_near(p, trained->name, 0, off, 0, 1e-4);
        worst = fmax(worst, off);
        free(found);
    }
    printf("\n    %s, %s: the worst is off by %.2g of its norm ", p->backend, p->name, worst);
}

static void gradients_are_theirs(void) {
    on_all(check_gradients);
}

/* Warm-up, clipping, weight decay and the optimizer's own arithmetic show in what later steps see. */
static void check_steps(const parity *p) {
    nlm_error err = NLM_ERROR_INIT;
    const float *losses = find(p, "step", "losses", NLM_F32, STEPS);
    const float *norms = find(p, "step", "norms", NLM_F32, STEPS);
    for (int step = 0; step < STEPS; step++) {
        nlm_trainer_metrics metrics;
        expect_ok(nlm_trainer_step(p->t.trainer, &p->batches[step % BATCHES], 1, &metrics, &err), &err);
        expect_near(p, "loss of step", step, metrics.loss, (double)losses[step], 1e-4);
        expect_near(p, "norm of step", step, metrics.norm, (double)norms[step], 1e-4 * (double)norms[step]);
    }
    for (uint32_t i = 0; i < training_count(&p->t); i++) {
        const nlm_trained *trained = training_at(&p->t, i);
        const double after = (double)*(const float *)find(p, "after", trained->name, NLM_F32, 1);
        float *values = training_values(&p->t, i, NLM_TRAINER_VALUE);
        const double norm = training_norm(values, nlm_trained_elements(trained));
        expect_near(p, trained->name, STEPS, norm, after, 1e-4 * after);
        free(values);
    }
}

static void twenty_steps_go_the_same_way(void) {
    on_all(check_steps);
}

static const check_case cases[] = {
    CHECK_CASE(losses_of_batches_are_theirs),
    CHECK_CASE(gradients_are_theirs),
    CHECK_CASE(twenty_steps_go_the_same_way),
};
CHECK_MAIN("training_parity", cases)
