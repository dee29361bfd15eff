/* Where gradients are: among activations, or in memory of their own. */
#include "unit/training_fixture.h"

static const char *const models[] = {"llama-gqa-f32", "llama-window-bf16", "qwen3-untied-f32", "mamba-biases-f32"};
enum { N_MODELS = sizeof models / sizeof *models };

/* Gradients that share memory with activations, and those that have their own. */
static void expect_same_where_gradients_are(const char *backend, const char *model) {
    nlm_trainer_options options = training_usual();
    char path[512];
    training shares, keeps;
    nlm_trainer_memory shared, kept;
    model_path(model, path, sizeof path);
    training_open_on(&shares, backend, path, &options, 2);
    options.accumulates = true;
    training_open_on(&keeps, backend, path, &options, 2);
    nlm_trainer_memory_of(shares.trainer, &shared);
    nlm_trainer_memory_of(keeps.trainer, &kept);
    CU_ASSERT_EQUAL(kept.gradients, kept.parameters);
    CU_ASSERT_TRUE(shared.gradients < kept.gradients / 2);
    CU_ASSERT_TRUE(shared.gradients + shared.activations < kept.gradients + kept.activations);
    training_steps(&shares, 0, 3);
    training_steps(&keeps, 0, 3);
    const bool is_same = training_is_same(&shares, &keeps);
    if (!is_same) printf("\n%s, %s: other bits where gradients share memory\n", backend, model);
    CU_ASSERT_TRUE(is_same);
    training_close(&keeps);
    training_close(&shares);
}

static void gradients_may_share_memory(void) {
    training_backends backends;
    training_list(&backends);
    for (uint32_t i = 0; i < backends.count; i++) {
        for (int m = 0; m < N_MODELS; m++) expect_same_where_gradients_are(backends.names[i], models[m]);
    }
}

/* A trainer that has shared memory so far, and one that never did. */
static void expect_room_for_more_parts(const char *backend, const char *model) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_trainer_options options = training_usual();
    char path[512];
    training shares, keeps;
    training_batch a, b;
    nlm_trainer_metrics metrics;
    nlm_trainer_memory before, after, kept;
    model_path(model, path, sizeof path);
    training_open_on(&shares, backend, path, &options, 2);
    options.accumulates = true;
    training_open_on(&keeps, backend, path, &options, 2);
    training_make(&a, &shares, 1);
    training_make(&b, &shares, 2);
    const nlm_train_batch list[2] = {a.batch, b.batch};
    nlm_trainer_memory_of(shares.trainer, &before);
    training_steps(&shares, 0, 2);
    training_steps(&keeps, 0, 2);
    expect_ok(nlm_trainer_step(shares.trainer, list, 2, &metrics, &err), &err);
    expect_ok(nlm_trainer_step(keeps.trainer, list, 2, &metrics, &err), &err);
    training_steps(&shares, 3, 1);
    training_steps(&keeps, 3, 1);
    CU_ASSERT_TRUE(training_is_same(&shares, &keeps));
    nlm_trainer_memory_of(shares.trainer, &after);
    nlm_trainer_memory_of(keeps.trainer, &kept);
    CU_ASSERT_TRUE(before.gradients < after.gradients);
    CU_ASSERT_EQUAL(after.gradients, kept.gradients);
    CU_ASSERT_EQUAL(after.activations, kept.activations);
    training_close(&keeps);
    training_close(&shares);
}

static void a_step_of_more_parts_makes_room(void) {
    training_backends backends;
    training_list(&backends);
    for (uint32_t i = 0; i < backends.count; i++) {
        expect_room_for_more_parts(backends.names[i], "llama-gqa-f32");
        expect_room_for_more_parts(backends.names[i], "mamba-biases-f32");
    }
}

static const check_case cases[] = {
    CHECK_CASE(gradients_may_share_memory),
    CHECK_CASE(a_step_of_more_parts_makes_room),
};
CHECK_MAIN("training memory", cases)
