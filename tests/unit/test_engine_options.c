/* An engine's own log and its limit of memory. */
#include "session_fixture.h"

typedef struct heard {
    int n;                    /* messages */
    int32_t loudest, softest; /* levels */
    char text[4096];
} heard;

static void hear(void *user, int32_t level, const char *message) {
    heard *h = user;
    if (h->n++ == 0) h->loudest = h->softest = level;
    if (level < h->loudest) h->loudest = level;
    if (level > h->softest) h->softest = level;
    const size_t length = strlen(h->text);
    snprintf(h->text + length, sizeof h->text - length, "%s\n", message);
}

static const nlm_engine_options plain = {.struct_size = sizeof plain,
                                         .flags = NLM_ENGINE_UNBOUND,
                                         .backend = "cpu_scalar",
                                         .threads = 2,
                                         .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};

static nlm_engine *open_engine(const nlm_engine_options *options) {
    nlm_engine *engine = NULL;
    EXPECT_OK(nlm_engine_create(options, &engine, error));
    return engine;
}

static nlm_engine *open_with_log(heard *h, int32_t level) {
    nlm_engine_options options = plain;
    options.log = hear;
    options.log_user = h;
    options.log_level = level;
    return open_engine(&options);
}

static const char *const path = NLM_TEST_DATA "/models/llama-gqa-f32.gguf";

/* A context beyond the model's is a warning. */
static nlm_model *load_long(nlm_engine *engine) {
    const nlm_model_options options = {
        .struct_size = sizeof options, .context_length = 300, .chat_template = "chatml"};
    nlm_model *model = NULL;
    EXPECT_OK(nlm_model_load(engine, path, &options, &model, error));
    return model;
}

static void messages_go_to_the_log_of_their_engine(void) {
    heard process = {0}, first = {0}, second = {0};
    nlm_set_log(hear, &process, 1);
    nlm_engine *loud = open_with_log(&first, 2), *quiet = open_with_log(&second, 1), *bare = open_engine(&plain);
    CU_ASSERT_PTR_NOT_NULL(strstr(first.text, "backend cpu_scalar"));
    CU_ASSERT(first.softest == 2 && second.n == 0);
    nlm_model *model = load_long(loud);
    CU_ASSERT_PTR_NOT_NULL(strstr(first.text, "a context of 300 tokens"));
    CU_ASSERT(second.n == 0 && process.n == 0);
    nlm_model *other = load_long(quiet);
    CU_ASSERT(second.n > 0 && second.loudest == 1 && second.softest == 1 && process.n == 0);
    /* not through the door of the engine, and from a callback or beside another call as well */
    const nlm_message message = {"user", "Hi"};
    size_t count;
    EXPECT_OK(nlm_encode_chat(other, &message, 1, 0, NULL, 0, &count, error));
    CU_ASSERT_PTR_NOT_NULL(strstr(second.text, "<|im_start|>"));
    CU_ASSERT_EQUAL(process.n, 0);
    nlm_model *third = load_long(bare);
    CU_ASSERT_EQUAL(process.n, 1);
    nlm_engine_destroy(loud); /* waits for its model */
    nlm_model_unload(model);
    nlm_model_unload(other);
    nlm_model_unload(third);
    nlm_engine_destroy(quiet);
    nlm_engine_destroy(bare);
    nlm_set_log(NULL, NULL, 1);
}

typedef struct nested {
    nlm_engine *inner;
    int n_calls;
} nested;

static int32_t load_inside(void *user, double fraction) {
    nested *n = user;
    (void)fraction;
    if (n->n_calls++ == 0) nlm_model_unload(load_long(n->inner));
    return 0;
}

/* What a callback does with another engine is not this engine's. */
static void callbacks_write_to_the_log_they_had(void) {
    heard process = {0}, outer_heard = {0};
    nlm_set_log(hear, &process, 1);
    nlm_engine *outer = open_with_log(&outer_heard, 1);
    nested n = {.inner = open_engine(&plain)};
    nlm_model *model = NULL;
    const nlm_model_options options = {
        .struct_size = sizeof options, .context_length = 300, .progress = load_inside, .progress_user = &n};
    EXPECT_OK(nlm_model_load(outer, path, &options, &model, error));
    CU_ASSERT(n.n_calls > 1);
    CU_ASSERT_EQUAL(process.n, 1);
    CU_ASSERT_EQUAL(outer_heard.n, 1);
    nlm_model_unload(model);
    nlm_engine_destroy(n.inner);
    nlm_engine_destroy(outer);
    nlm_set_log(NULL, NULL, 1);
}

/* ---- memory ---- */

static uint64_t used(const nlm_engine *engine) {
    nlm_engine_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_engine_describe(engine, &info, error));
    return info.memory_used_bytes;
}

/* What a model and one session of it count on an engine without a limit. */
static void measure(const char *file, const nlm_model_options *options, uint64_t *out_model, uint64_t *out_all) {
    nlm_engine *engine = open_engine(&plain);
    nlm_model *model = NULL;
    nlm_session *session = NULL;
    nlm_memory_estimate e = {.struct_size = sizeof e};
    CU_ASSERT_EQUAL(used(engine), 0);
    EXPECT_OK(nlm_model_estimate(engine, file, options, &e, error));
    EXPECT_OK(nlm_model_load(engine, file, options, &model, error));
    *out_model = used(engine);
    CU_ASSERT(*out_model >= e.weight_bytes + e.cache_bytes + e.working_bytes);
    EXPECT_OK(nlm_session_create(model, &session, error));
    *out_all = used(engine);
    nlm_session_destroy(session);
    CU_ASSERT_EQUAL(used(engine), *out_model);
    nlm_model_unload(model);
    CU_ASSERT_EQUAL(used(engine), 0);
    nlm_engine_destroy(engine);
}

/* What is in the way of the limit fails with a sentence, and a sanitizer sees that nothing is left of it. */
static void check_limit(const char *file) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2};
    uint64_t model_bytes, all_bytes;
    nlm_model *model = NULL, *second = NULL;
    nlm_session *session = NULL, *other = NULL;
    nlm_error err = NLM_ERROR_INIT;
    measure(file, &options, &model_bytes, &all_bytes);
    nlm_engine_options limited = plain;
    limited.memory_limit_bytes = model_bytes - 1;
    nlm_engine *engine = open_engine(&limited);
    CU_ASSERT_EQUAL(nlm_model_load(engine, file, &options, &model, &err), NLM_OUT_OF_MEMORY);
    CU_ASSERT_PTR_NULL(model);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "the engine's memory limit of "));
    CU_ASSERT_STRING_EQUAL(err.where, file);
    CU_ASSERT_EQUAL(used(engine), 0);
    nlm_engine_destroy(engine);
    limited.memory_limit_bytes = all_bytes;
    engine = open_engine(&limited);
    EXPECT_OK(nlm_model_load(engine, file, &options, &model, error));
    CU_ASSERT_EQUAL(nlm_model_load(engine, file, &options, &second, NULL), NLM_OUT_OF_MEMORY);
    EXPECT_OK(nlm_session_create(model, &session, error));
    CU_ASSERT_EQUAL(nlm_session_create(model, &other, &err), NLM_OUT_OF_MEMORY);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "memory limit"));
    CU_ASSERT_EQUAL(nlm_session_fork(session, &other, NULL), NLM_OUT_OF_MEMORY);
    CU_ASSERT_PTR_NULL(other);
    CU_ASSERT_EQUAL(used(engine), all_bytes);
    nlm_session_destroy(session);
    EXPECT_OK(nlm_session_create(model, &session, error)); /* its bytes came back */
    nlm_session_destroy(session);
    nlm_model_unload(model);
    EXPECT_OK(nlm_model_load(engine, file, &options, &model, error));
    nlm_model_unload(model);
    CU_ASSERT_EQUAL(used(engine), 0);
    nlm_engine_destroy(engine);
}

static void models_and_sessions_keep_to_the_limit(void) {
    check_limit(path);
    check_limit(NLM_TEST_DATA "/models/mamba-f32.gguf");
}

static const check_case cases[] = {
    CHECK_CASE(messages_go_to_the_log_of_their_engine),
    CHECK_CASE(callbacks_write_to_the_log_they_had),
    CHECK_CASE(models_and_sessions_keep_to_the_limit),
};
CHECK_MAIN("engine_options", cases)
