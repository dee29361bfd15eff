/* Training on devices whose memory the host cannot touch: it takes the steps that it takes in the host's. */
#include "unit/far_device.h"
#include "unit/training_fixture.h"

enum { STEPS = 3 };

static const nlm_trainer_options options = {
    .shape = {.rows = 2, .length = 16, .max_seqs = 4},
    .parameters = {.dtype = NLM_F32},
    .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
    .schedule = {.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e-2, .steps = STEPS},
};

/* A trainer on far devices; what else is in the env of `d` is set before. */
static void open_far(training *t, far_device *d, const char *name) {
    nlm_error err = NLM_ERROR_INIT;
    char path[512];
    *t = (training){.env = d->f.env};
    expect_ok(nlm_model_open(model_path(name, path, sizeof path), &t->model, &err), &err);
    expect_ok(nlm_trainer_create(&t->env, t->model, &options, &t->trainer, &err), &err);
}

static void close_far(training *t) {
    nlm_trainer_destroy(t->trainer);
    nlm_model_close(t->model);
}

/* Their parameters and moments have the same bits; sums of squares of several memories are added up apart. */
static void expect_same_steps(far_device *d, const char *name) {
    training near, far;
    nlm_error err = NLM_ERROR_INIT;
    training_open(&near, name, &options, 1);
    open_far(&far, d, name);
    for (uint64_t i = 0; i < STEPS; i++) {
        training_batch batch;
        nlm_trainer_metrics expected, found;
        training_make(&batch, &near, i);
        expect_ok(nlm_trainer_step(near.trainer, &batch.batch, 1, &expected, &err), &err);
        expect_ok(nlm_trainer_step(far.trainer, &batch.batch, 1, &found, &err), &err);
        CU_ASSERT_EQUAL(found.loss, expected.loss);
        CU_ASSERT_DOUBLE_EQUAL(found.norm, expected.norm, 1e-6 * expected.norm);
    }
    CU_ASSERT_TRUE(training_is_same(&near, &far));
    close_far(&far);
    training_close(&near);
}

static const char *const names[] = {"llama-gqa-f32", "mamba-f32"};

static void for_models(void (*prepare)(far_device *d)) {
    nlm_log_set_level(NLM_LOG_ERROR); /* what a device refuses is no news here */
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        far_device d;
        far_open_two(&d, 1);
        prepare(&d);
        expect_same_steps(&d, names[n]);
        far_close(&d);
    }
}

static void prepare_one(far_device *d) {
    d->f.env.devices[1] = d->f.reference;
    d->f.env.n_devices = 2;
}
static void steps_are_those_of_the_hosts_memory(void) {
    for_models(prepare_one);
}

/* The embedding and the head are in the host's memory, the layers are not. */
static void prepare_without_head(far_device *d) {
    prepare_one(d);
    d->stream.refused = OP_BIT(cross_entropy) | OP_BIT(embed_bwd);
}
static void gradients_may_be_in_two_memories(void) {
    for_models(prepare_without_head);
}

static void prepare_split(far_device *d) {
    d->f.env.n_split = 2;
}
static void layers_are_split_over_two_devices(void) {
    for_models(prepare_split);
}

static const check_case cases[] = {
    CHECK_CASE(steps_are_those_of_the_hosts_memory),
    CHECK_CASE(gradients_may_be_in_two_memories),
    CHECK_CASE(layers_are_split_over_two_devices),
};
CHECK_MAIN("far_training", cases)
