/* Where gradients are: among activations, or in memory of their own. */
#include "unit/training_fixture.h"

#define FAKE_REGISTRY NLM_TEST_FAKES "/plugins.toml"

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

/* ---- memory that is not there ---- */

static void open_fake(training *t, const char *fail_alloc) {
    nlm_error err = NLM_ERROR_INIT;
    char path[512];
    const char *const options[] = {"fail_alloc", fail_alloc, NULL};
    const nlm_plugins_options plugins = {.registry = FAKE_REGISTRY};
    const nlm_pool_options pool = {.threads = 2, .is_unbound = true};
    *t = (training){.env = {.n_devices = 1}};
    expect_ok(nlm_plugins_create(&plugins, &t->plugins, &err), &err);
    expect_ok(nlm_plugins_open(t->plugins, "fake_stream", 0, options, &t->env.devices[0], &err), &err);
    expect_ok(nlm_pool_create(&pool, &t->env.pool, &err), &err);
    expect_ok(nlm_activations_create(&t->env.activations, &err), &err);
    expect_ok(nlm_model_open(model_path("llama-gqa-f32", path, sizeof path), &t->model, &err), &err);
}

/* A step of two parts for which memory is missing; false: none was. What steps of one part need, and give, is as
 * before. */
static bool two_parts_fail(training *t, const training *same) {
    nlm_error err = NLM_ERROR_INIT;
    training_batch a, b;
    nlm_trainer_metrics metrics;
    nlm_trainer_memory before, after;
    training_make(&a, t, 1);
    training_make(&b, t, 2);
    const nlm_train_batch list[2] = {a.batch, b.batch};
    nlm_trainer_memory_of(t->trainer, &before);
    if (nlm_trainer_step(t->trainer, list, 2, &metrics, &err) == NLM_OK) return false;
    CU_ASSERT_FALSE(nlm_trainer_accumulates(t->trainer));
    training_steps(t, 1, 1);
    nlm_trainer_memory_of(t->trainer, &after);
    CU_ASSERT_EQUAL(memcmp(&after, &before, sizeof after), 0);
    CU_ASSERT_TRUE(training_is_same(t, same));
    return true;
}

/* Each allocation of a step of two parts fails in turn, behind a step of one. */
static void a_step_for_which_memory_is_missing_changes_nothing(void) {
    nlm_trainer_options options = training_usual();
    training same;
    char number[16];
    int n_failed = 0, n_missing = 0;
    open_fake(&same, "1000000");
    nlm_error err = NLM_ERROR_INIT;
    expect_ok(nlm_trainer_create(&same.env, same.model, &options, &same.trainer, &err), &err);
    training_steps(&same, 0, 2);
    for (int n = 1, is_done = 0; !is_done && n < 10000; n++) {
        training t;
        snprintf(number, sizeof number, "%d", n);
        open_fake(&t, number);
        const nlm_status status = nlm_trainer_create(&t.env, t.model, &options, &t.trainer, &err);
        training_batch first;
        nlm_trainer_metrics metrics;
        if (status == NLM_OK) training_make(&first, &t, 0);
        if (status != NLM_OK || nlm_trainer_step(t.trainer, &first.batch, 1, &metrics, &err) != NLM_OK)
            n_missing++;
        else if (two_parts_fail(&t, &same))
            n_failed++;
        else
            is_done = 1;
        training_close(&t);
    }
    training_close(&same);
    CU_ASSERT_TRUE(n_missing > 0);
    CU_ASSERT_TRUE(n_failed > 0);
    printf(" %d of %d", n_failed, n_failed + n_missing);
}

static const check_case cases[] = {
    CHECK_CASE(gradients_may_share_memory),
    CHECK_CASE(a_step_of_more_parts_makes_room),
    CHECK_CASE(a_step_for_which_memory_is_missing_changes_nothing),
};
CHECK_MAIN("training memory", cases)
