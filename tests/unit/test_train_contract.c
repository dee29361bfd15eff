/* nlm/train.h and what is beside a training: its files, models and sessions of its engine, callbacks, fork. */
#include <sys/wait.h>
#include <unistd.h>

#include "train_api_fixture.h"

/* ---- files ------------------------------------------------------------------------------------------------ */

static void a_restored_training_goes_on_with_the_same_bits(void) {
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    nlm_engine *engine = fixture_engine(1);
    nlm_training *whole = usual_training(engine, LLAMA), *second = usual_training(engine, LLAMA);
    const nlm_training_batch batch = usual_batch();
    REFUSED(nlm_training_restore(second, folder.folder, error), NLM_NOT_FOUND, "no checkpoint");
    for (int i = 0; i < 4; i++) {
        step(whole, &batch);
        EXPECT_OK(nlm_training_save(whole, folder.folder, 2, error));
    }
    CU_ASSERT_EQUAL(temporary_count(&folder), 2);
    EXPECT_OK(nlm_training_restore(second, folder.folder, error));
    CU_ASSERT_EQUAL(info_of(second).steps, 4);
    CU_ASSERT_EQUAL(step(whole, &batch).loss, step(second, &batch).loss);
    CU_ASSERT(are_same(exported(whole), exported(second)));
    nlm_training *other = usual_training(engine, MODEL("llama-mha-f32"));
    REFUSED(nlm_training_restore(other, folder.folder, error), NLM_INVALID_ARGUMENT, "another model");
    CU_ASSERT_EQUAL(info_of(other).steps, 0);
    nlm_training_destroy(other);
    nlm_training_destroy(second);
    nlm_training_destroy(whole);
    nlm_engine_destroy(engine);
    temporary_remove(&folder);
}

static void places_and_types_that_cannot_be_are_refused(void) {
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA);
    const char *path = temporary_path(&folder, "model.gguf");
    REFUSED(nlm_training_save(t, "/no/where", 0, error), NLM_NOT_FOUND, "/no/where");
    REFUSED(nlm_training_restore(t, "/no/where", error), NLM_NOT_FOUND, "/no/where");
    REFUSED(nlm_training_export(t, NULL, "/no/where/model.gguf", error), NLM_NOT_FOUND, "/no/where");
    REFUSED(nlm_training_export(t, "q9", path, error), NLM_INVALID_ARGUMENT, "'q9'");
    REFUSED(nlm_training_export(t, "i32", path, error), NLM_INVALID_ARGUMENT, "no type of weights");
    CU_ASSERT_EQUAL(temporary_count(&folder), 0);
    EXPECT_OK(nlm_training_export(t, "q8_0", path, error));
    nlm_model *model = NULL;
    EXPECT_OK(nlm_model_load(engine, path, NULL, &model, error));
    nlm_model_unload(model);
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
    temporary_remove(&folder);
}

/* ---- beside others of the engine ------------------------------------------------------------------------ */

/* Of a session's last token, as they are whatever else the engine does; from malloc. */
static float *logits_of(nlm_session *session, int32_t n_vocab) {
    const float *logits = NULL;
    float *copy = malloc((size_t)n_vocab * sizeof *copy);
    EXPECT_OK(nlm_session_logits(session, &logits, error));
    memcpy(copy, logits, (size_t)n_vocab * sizeof *copy);
    return copy;
}

/* What a session was told last stands in memory that all runs of the engine share. */
static void sessions_keep_their_logits(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    nlm_training *t = usual_training(f.engine, LLAMA);
    const nlm_training_batch batch = usual_batch();
    int32_t tokens[6];
    double loss = 0;
    fixture_ids(&f, 3, tokens, 6);
    fixture_extend(session, tokens, 6);
    float *alone = logits_of(session, f.n_vocab);
    for (int i = 0; i < 2; i++) {
        EXPECT_OK(nlm_session_truncate(session, 5, error));
        fixture_extend(session, tokens + 5, 1);
        if (i == 0)
            step(t, &batch);
        else
            EXPECT_OK(nlm_training_evaluate(t, &batch, &loss, error));
        float *beside = logits_of(session, f.n_vocab);
        CU_ASSERT_EQUAL(memcmp(alone, beside, (size_t)f.n_vocab * sizeof *alone), 0);
        free(beside);
    }
    free(alone);
    nlm_training_destroy(t);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static void an_engine_with_a_training_stays_on_its_device(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA);
    REFUSED(nlm_engine_switch(engine, "cpu_scalar", 0, NULL, error), NLM_INVALID_ARGUMENT, "trainings");
    nlm_training_destroy(t);
    EXPECT_OK(nlm_engine_switch(engine, "cpu_scalar", 0, NULL, error));
    nlm_engine_destroy(engine);
}

static uint64_t memory_used(const nlm_engine *engine) {
    nlm_engine_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_engine_describe(engine, &info, error));
    return info.memory_used_bytes;
}

static uint64_t memory_of(const nlm_training *t) {
    const nlm_training_info info = info_of(t);
    return info.parameter_bytes + info.gradient_bytes + info.optimizer_bytes + info.activation_bytes;
}

static nlm_engine *engine_with(uint64_t memory_limit_bytes) {
    nlm_engine *engine = NULL;
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .flags = NLM_ENGINE_UNBOUND,
                                        .backend = "cpu_scalar",
                                        .threads = 1,
                                        .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml",
                                        .memory_limit_bytes = memory_limit_bytes};
    EXPECT_OK(nlm_engine_create(&options, &engine, error));
    return engine;
}

static void a_training_counts_towards_the_engines_memory(void) {
    nlm_engine *engine = fixture_engine(1);
    nlm_training *t = usual_training(engine, LLAMA), *other = NULL;
    const uint64_t bytes = memory_of(t);
    CU_ASSERT_EQUAL(memory_used(engine), bytes);
    nlm_training_destroy(t);
    CU_ASSERT_EQUAL(memory_used(engine), 0);
    nlm_engine_destroy(engine);
    nlm_engine *limited = engine_with(2 * bytes - 1);
    t = usual_training(limited, LLAMA);
    const nlm_training_options again = {SIZED, .path = LLAMA, .max_tokens = 64, .max_seqs = 4};
    REFUSED(nlm_training_create(limited, &again, &other, error), NLM_OUT_OF_MEMORY, "memory limit");
    CU_ASSERT_EQUAL(memory_used(limited), bytes);
    const nlm_training_batch batch = usual_batch();
    step(t, &batch);
    nlm_training_destroy(t);
    nlm_engine_destroy(limited);
}

/* Of several batches, a step needs more; it was planned for, or is when the first of them comes. */
static void steps_of_several_batches_have_room_of_their_own(void) {
    nlm_engine *engine = fixture_engine(1);
    const nlm_training_options options = {SIZED, .path = LLAMA, .max_tokens = 64, .max_seqs = 4, .n_batches = 2};
    const nlm_training_batch both[2] = {usual_batch(), usual_batch()};
    nlm_training *one = usual_training(engine, LLAMA), *two = training_of(engine, &options);
    const uint64_t of_one = memory_of(one), of_two = memory_of(two);
    CU_ASSERT_TRUE(of_one < of_two);
    CU_ASSERT_EQUAL(memory_used(engine), of_one + of_two);
    EXPECT_OK(nlm_training_step(two, both, 2, NULL, error));
    EXPECT_OK(nlm_training_step(one, both, 2, NULL, error));
    CU_ASSERT_EQUAL(memory_of(one), of_two);
    CU_ASSERT_EQUAL(memory_used(engine), 2 * of_two);
    CU_ASSERT_TRUE(are_same(exported(one), exported(two)));
    nlm_training_destroy(one);
    nlm_training_destroy(two);
    CU_ASSERT_EQUAL(memory_used(engine), 0);
    nlm_engine_destroy(engine);
    engine = engine_with(of_one);
    one = usual_training(engine, LLAMA);
    two = NULL;
    REFUSED(nlm_training_step(one, both, 2, NULL, error), NLM_OUT_OF_MEMORY, "memory limit");
    CU_ASSERT_EQUAL(memory_used(engine), of_one);
    step(one, both);
    REFUSED(nlm_training_create(engine, &options, &two, error), NLM_OUT_OF_MEMORY, "memory limit");
    nlm_training_destroy(one);
    nlm_engine_destroy(engine);
}

static void a_training_outlives_its_engines_handle(void) {
    fixture f = fixture_open("mamba-f32", NULL, 2);
    nlm_training *first = usual_training(f.engine, LLAMA), *second = usual_training(f.engine, MODEL("mamba-f32"));
    const nlm_training_batch batch = usual_batch();
    nlm_engine_destroy(f.engine);
    step(first, &batch);
    nlm_training_destroy(first);
    nlm_model_unload(f.model);
    step(second, &batch);
    nlm_training_destroy(second);
}

typedef struct caller {
    nlm_training *training;
    nlm_status inner;
} caller;

static int32_t call_back(void *user, const char *text, size_t length) {
    (void)text, (void)length;
    caller *c = user;
    const nlm_training_batch batch = usual_batch();
    c->inner = nlm_training_step(c->training, &batch, 1, NULL, NULL);
    nlm_training_destroy(c->training); /* when the call is over */
    return 1;
}

static void a_callback_may_not_train(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    const int32_t id = 5;
    caller c = {.training = usual_training(f.engine, LLAMA)};
    const nlm_generate_options options = {.struct_size = sizeof options, .max_tokens = 40};
    fixture_extend(session, &id, 1);
    EXPECT_OK(nlm_session_generate(session, NULL, &options, call_back, &c, NULL, error));
    CU_ASSERT_EQUAL(c.inner, NLM_INVALID_ARGUMENT);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static int in_a_child(nlm_engine *engine, nlm_training *t) {
    const nlm_training_batch batch = usual_batch();
    double loss = 0;
    alarm(20);
    if (nlm_training_step(t, &batch, 1, NULL, NULL) != NLM_INVALID_ARGUMENT) return 1;
    if (nlm_training_evaluate(t, &batch, &loss, NULL) != NLM_INVALID_ARGUMENT) return 2;
    if (nlm_training_save(t, "/tmp", 0, NULL) != NLM_INVALID_ARGUMENT) return 3;
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
    return 0;
}

static void a_child_of_fork_is_refused(void) {
    nlm_engine *engine = fixture_engine(2);
    nlm_training *t = usual_training(engine, LLAMA);
    const nlm_training_batch batch = usual_batch();
    step(t, &batch);
    const pid_t child = fork();
    if (child == 0) _exit(in_a_child(engine, t));
    int status = 0;
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    step(t, &batch); /* the parent's goes on */
    nlm_training_destroy(t);
    nlm_engine_destroy(engine);
}

static const check_case cases[] = {
    CHECK_CASE(a_restored_training_goes_on_with_the_same_bits),
    CHECK_CASE(places_and_types_that_cannot_be_are_refused),
    CHECK_CASE(sessions_keep_their_logits),
    CHECK_CASE(an_engine_with_a_training_stays_on_its_device),
    CHECK_CASE(a_training_counts_towards_the_engines_memory),
    CHECK_CASE(steps_of_several_batches_have_room_of_their_own),
    CHECK_CASE(a_training_outlives_its_engines_handle),
    CHECK_CASE(a_callback_may_not_train),
    CHECK_CASE(a_child_of_fork_is_refused),
};
CHECK_MAIN("train_contract", cases)
