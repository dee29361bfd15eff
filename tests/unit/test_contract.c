/* nlm.h with callers that break its rules: small structs, NULL, two threads, callbacks that call back, fork, ends in
 * any order. */
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session_fixture.h"

/* ---- structs and pointers ------------------------------------------------------------------- */

static void an_error_gets_no_byte_more_than_its_size(void) {
    for (uint32_t size = 4; size <= sizeof(nlm_error); size += size < 160 ? 1 : 37) {
        char memory[sizeof(nlm_error) + 8];
        memset(memory, 'x', sizeof memory);
        memcpy(memory, &size, sizeof size);
        nlm_engine *engine = NULL;
        const nlm_engine_options options = {.struct_size = sizeof options, .backend = "warp"};
        CU_ASSERT_EQUAL(nlm_engine_create(&options, &engine, (nlm_error *)memory), NLM_NOT_FOUND);
        for (size_t i = size; i < sizeof memory; i++) CU_ASSERT_FATAL(memory[i] == 'x');
        uint32_t after = 0;
        memcpy(&after, memory, sizeof after);
        CU_ASSERT_EQUAL(after, size);
        if (size >= 8) CU_ASSERT_EQUAL(((nlm_error *)memory)->code, NLM_NOT_FOUND);
        if (size > offsetof(nlm_error, where)) CU_ASSERT_EQUAL(memory[size - 1], '\0');
    }
}

/* Every call with one pointer that it needs left out. */
#define REFUSED(call)                                          \
    do {                                                       \
        err = (nlm_error)NLM_ERROR_INIT;                       \
        CU_ASSERT_EQUAL((call), NLM_INVALID_ARGUMENT);         \
        if (!err.msg[0]) printf("\n  %s says nothing", #call); \
        CU_ASSERT(err.msg[0] != '\0');                         \
    } while (0)

static void what_is_null_is_named(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *s = fixture_session(&f);
    const int32_t id = 5;
    const float *logits = NULL;
    float rows[1];
    size_t n = 0;
    int32_t out = 0;
    char text[4];
    nlm_engine *engine = NULL;
    nlm_model *model = NULL;
    nlm_session *session = NULL;
    nlm_sampler *sampler = NULL;
    nlm_embedding *embedding = NULL;
    nlm_engine_info engine_info = {.struct_size = sizeof engine_info};
    nlm_model_info model_info = {.struct_size = sizeof model_info};
    nlm_metrics metrics = {.struct_size = sizeof metrics};
    nlm_memory_estimate estimate = {.struct_size = sizeof estimate};
    const char *path = NLM_TEST_DATA "/models/llama-gqa-f32.gguf";
    nlm_error err = NLM_ERROR_INIT;
    REFUSED(nlm_engine_create(NULL, NULL, &err));
    REFUSED(nlm_engine_describe(NULL, &engine_info, &err));
    REFUSED(nlm_engine_describe(f.engine, NULL, &err));
    REFUSED(nlm_engine_switch(NULL, NULL, 0, NULL, &err));
    REFUSED(nlm_engine_profile(NULL, 0, text, sizeof text, &n, &err));
    REFUSED(nlm_engine_profile(f.engine, 0, text, sizeof text, NULL, &err));
    REFUSED(nlm_model_estimate(NULL, path, NULL, &estimate, &err));
    REFUSED(nlm_model_estimate(f.engine, NULL, NULL, &estimate, &err));
    REFUSED(nlm_model_estimate(f.engine, path, NULL, NULL, &err));
    REFUSED(nlm_model_load(NULL, path, NULL, &model, &err));
    REFUSED(nlm_model_load(f.engine, NULL, NULL, &model, &err));
    REFUSED(nlm_model_load(f.engine, path, NULL, NULL, &err));
    REFUSED(nlm_model_describe(NULL, &model_info, &err));
    REFUSED(nlm_model_describe(f.model, NULL, &err));
    REFUSED(nlm_sampler_create(NULL, NULL, &sampler, &err));
    REFUSED(nlm_sampler_create(f.model, NULL, NULL, &err));
    REFUSED(nlm_sampler_pick_with(NULL, rows, 1, NULL, 0, NULL, &out, &err));
    REFUSED(nlm_embed(NULL, NULL, NULL, 0, NULL, rows, &err));
    REFUSED(nlm_embed(f.model, NULL, &n, 1, NULL, rows, &err));
    REFUSED(nlm_embedding_create(NULL, NULL, NULL, 0, NULL, rows, &embedding, &err));
    REFUSED(nlm_embedding_create(f.model, NULL, &n, 1, NULL, rows, &embedding, &err));
    REFUSED(nlm_embedding_create(f.model, NULL, &n, 1, NULL, rows, NULL, &err));
    REFUSED(nlm_embedding_run(NULL, 0, NULL, &err));
    REFUSED(nlm_session_create(NULL, &session, &err));
    REFUSED(nlm_session_create(f.model, NULL, &err));
    REFUSED(nlm_session_extend(NULL, &id, 1, &err));
    REFUSED(nlm_session_extend(s, NULL, 1, &err));
    REFUSED(nlm_session_extend_logits(NULL, &id, 1, rows, &err));
    REFUSED(nlm_session_extend_logits(s, &id, 1, NULL, &err));
    REFUSED(nlm_step(NULL, 1, &err));
    REFUSED(nlm_step(&(nlm_step_item){.struct_size = sizeof(nlm_step_item)}, 1, &err));
    REFUSED(nlm_sessions_decode(NULL, &id, 1, &err));
    REFUSED(nlm_sessions_decode(&s, NULL, 1, &err));
    REFUSED(nlm_sessions_decode(&session, &id, 1, &err));
    REFUSED(nlm_session_logits(NULL, &logits, &err));
    REFUSED(nlm_session_logits(s, NULL, &err));
    REFUSED(nlm_session_sample(NULL, NULL, &out, &err));
    REFUSED(nlm_session_sample(s, NULL, NULL, &err));
    REFUSED(nlm_session_reset(NULL, &err));
    REFUSED(nlm_session_fork(NULL, &session, &err));
    REFUSED(nlm_session_fork(s, NULL, &err));
    REFUSED(nlm_session_save(NULL, "/tmp/x", &err));
    REFUSED(nlm_session_save(s, NULL, &err));
    REFUSED(nlm_session_restore(NULL, "/tmp/x", &err));
    REFUSED(nlm_session_restore(s, NULL, &err));
    REFUSED(nlm_session_save_memory(NULL, text, sizeof text, &n, &err));
    REFUSED(nlm_session_save_memory(s, text, sizeof text, NULL, &err));
    REFUSED(nlm_session_restore_memory(NULL, text, sizeof text, &err));
    REFUSED(nlm_session_restore_memory(s, NULL, 1, &err));
    REFUSED(nlm_session_generate(NULL, NULL, NULL, NULL, NULL, NULL, &err));
    REFUSED(nlm_session_metrics(NULL, &metrics, &err));
    REFUSED(nlm_session_metrics(s, NULL, &err));
    nlm_session_set_progress(NULL, NULL, NULL);
    CU_ASSERT_PTR_NULL(nlm_session_tokens(NULL, &n));
    CU_ASSERT_EQUAL(n, 0);
    nlm_session_destroy(NULL);
    nlm_model_unload(NULL);
    nlm_engine_destroy(NULL);
    nlm_sampler_destroy(NULL);
    CU_ASSERT_PTR_NULL(engine);
    nlm_session_destroy(s);
    fixture_close(&f);
}

static void what_is_null_of_text_is_named(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    const int32_t id = 5;
    size_t n = 0;
    nlm_detokenizer *detokenizer = NULL;
    const char *told;
    const nlm_message no_role = {NULL, "x"};
    nlm_error err = NLM_ERROR_INIT;
    REFUSED(nlm_encode(NULL, "x", 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode(f.model, NULL, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode(f.model, "x", 1, 0, NULL, 0, NULL, &err));
    REFUSED(nlm_decode(NULL, &id, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_decode(f.model, NULL, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_decode(f.model, &id, 1, 0, NULL, 0, NULL, &err));
    REFUSED(nlm_encode_chat(NULL, &no_role, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_chat(f.model, NULL, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_chat(f.model, &no_role, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_chat_continue(NULL, &no_role, 0, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_chat_continue(f.model, NULL, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_chat_continue(f.model, &no_role, 1, 0, NULL, 0, &n, &err));
    REFUSED(nlm_encode_conversation(f.model, NULL, NULL, 0, &n, &err));
    REFUSED(nlm_render_conversation(f.model, NULL, NULL, 0, &n, &err));
    REFUSED(nlm_encode_conversation(f.model, &(nlm_conversation){.struct_size = 32}, NULL, 0, &n, &err));
    REFUSED(nlm_token_text(NULL, id, 0, &told, &n, &err));
    REFUSED(nlm_token_text(f.model, id, 0, NULL, &n, &err));
    REFUSED(nlm_token_text(f.model, id, 0, &told, NULL, &err));
    REFUSED(nlm_detokenizer_create(NULL, 0, &detokenizer, &err));
    REFUSED(nlm_detokenizer_create(f.model, 0, NULL, &err));
    REFUSED(nlm_detokenizer_add(NULL, id, &told, &n, &err));
    REFUSED(nlm_detokenizer_end(NULL, &told, &n, &err));
    CU_ASSERT_PTR_NULL(detokenizer);
    nlm_detokenizer_destroy(NULL);
    fixture_close(&f);
}

static void flags_that_are_not_known_are_refused(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    const int32_t id = 5;
    nlm_sampler *sampler = NULL;
    fixture_extend(session, &id, 1);
    const nlm_generate_options flags = {.struct_size = sizeof flags, .flags = 1u << 20, .max_tokens = 1};
    CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, &flags, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    const nlm_generate_options no_stops = {.struct_size = sizeof no_stops, .n_stops = 2, .max_tokens = 1};
    CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, &no_stops, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    const nlm_sampler_options reserved = {.struct_size = sizeof reserved, .reserved = 1};
    CU_ASSERT_EQUAL(nlm_sampler_create(f.model, &reserved, &sampler, NULL), NLM_INVALID_ARGUMENT);
    const nlm_generate_options spoiled[] = {{.struct_size = sizeof *spoiled, .reserved = 1},
                                            {.struct_size = sizeof *spoiled, .reserved2 = 1}};
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, &spoiled[i], NULL, NULL, NULL, NULL),
                        NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- threads, callbacks and processes ------------------------------------------------------- */

/* A prefill that waits in its callback until it is let go on. */
typedef struct held {
    nlm_session *session;
    sem_t is_inside, may_leave;
    int32_t ids[200];
    nlm_status status, inner;
} held;

static int32_t hold(void *user, double fraction) {
    held *h = user;
    (void)fraction;
    h->inner = nlm_session_reset(h->session, NULL);
    sem_post(&h->is_inside);
    sem_wait(&h->may_leave);
    nlm_session_set_progress(h->session, NULL, NULL);
    return 0;
}

static void *prefill(void *user) {
    held *h = user;
    h->status = nlm_session_extend(h->session, h->ids, 200, NULL);
    return NULL;
}

/* A Mamba's prompts are cut at every 128 tokens. */
static void a_second_thread_is_refused_and_what_it_destroys_waits(void) {
    const nlm_model_options two = {.struct_size = sizeof two, .parallel = 2};
    fixture f = fixture_open("mamba-f32", &two, 2);
    held h = {.session = fixture_session(&f)};
    nlm_session *other = fixture_session(&f);
    nlm_error err = NLM_ERROR_INIT;
    pthread_t thread;
    sem_init(&h.is_inside, 0, 0);
    sem_init(&h.may_leave, 0, 0);
    fixture_ids(&f, 1, h.ids, 200);
    nlm_session_set_progress(h.session, hold, &h);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, prefill, &h), 0);
    sem_wait(&h.is_inside);
    CU_ASSERT_EQUAL(nlm_session_extend(h.session, h.ids, 1, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "under way"));
    CU_ASSERT_EQUAL(nlm_session_extend(other, h.ids, 1, NULL), NLM_INVALID_ARGUMENT);
    size_t count = 0;
    EXPECT_OK(nlm_encode(f.model, "x", 1, 0, NULL, 0, &count, error)); /* may be called at any time */
    /* As a garbage collector would: in the wrong order, from a thread of its own. */
    nlm_engine_destroy(f.engine);
    nlm_model_unload(f.model);
    nlm_session_destroy(other);
    nlm_session_destroy(h.session);
    sem_post(&h.may_leave);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(h.status, NLM_OK);
    CU_ASSERT_EQUAL(h.inner, NLM_INVALID_ARGUMENT); /* a callback may not call back */
    sem_destroy(&h.is_inside);
    sem_destroy(&h.may_leave);
}

/* What is left works until it goes; a sanitizer sees what would leak or be used after. */
static void handles_may_go_in_any_order(void) {
    static const char *const orders[] = {"ems", "esm", "mes", "mse", "sem", "sme"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        fixture f = fixture_open("llama-gqa-f32", NULL, 1);
        nlm_session *session = fixture_session(&f);
        const int32_t id = 5;
        for (const char *what = orders[i]; *what; what++) {
            if (*what == 'e') nlm_engine_destroy(f.engine);
            if (*what == 'm') nlm_model_unload(f.model);
            if (*what == 's') nlm_session_destroy(session);
            if (strchr(what + 1, 's')) fixture_extend(session, &id, 1);
        }
    }
}

/* ThreadSanitizer cannot follow threads that are made after a fork(). */
#if defined(__SANITIZE_THREAD__)
#define CHILDS_THREADS 1
#else
#define CHILDS_THREADS 2
#endif

static int in_a_child(const fixture *f, nlm_session *session) {
    const int32_t id = 5;
    nlm_error err = NLM_ERROR_INIT;
    alarm(20);
    if (nlm_session_extend(session, &id, 1, &err) != NLM_INVALID_ARGUMENT) return 1;
    if (!strstr(err.msg, "fork()")) return 2;
    if (nlm_session_generate(session, NULL, NULL, NULL, NULL, NULL, NULL) != NLM_INVALID_ARGUMENT) return 3;
    nlm_session_destroy(session);
    nlm_model_unload(f->model);
    nlm_engine_destroy(f->engine);
    fixture own = fixture_open("llama-gqa-f32", NULL, CHILDS_THREADS);
    nlm_session *mine = fixture_session(&own);
    if (nlm_session_extend(mine, &id, 1, NULL) != NLM_OK) return 4;
    nlm_session_destroy(mine);
    fixture_close(&own);
    return 0;
}

static void a_child_of_fork_is_told_and_can_make_its_own(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 2);
    nlm_session *session = fixture_session(&f);
    const int32_t id = 5;
    fixture_extend(session, &id, 1);
    const pid_t child = fork();
    if (child == 0) _exit(in_a_child(&f, session));
    int status = 0;
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
    fixture_extend(session, &id, 1); /* the parent's goes on */
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- loading -------------------------------------------------------------------------------- */

typedef struct steps {
    size_t n, cancel_at;
    double last;
} steps;

static int32_t count_steps(void *user, double fraction) {
    steps *s = user;
    CU_ASSERT(fraction >= s->last && fraction <= 1);
    s->last = fraction;
    return ++s->n == s->cancel_at;
}

static void a_load_tells_every_weight_and_ends_at_any(void) {
    steps all = {0};
    nlm_model_options options = {.struct_size = sizeof options, .progress = count_steps, .progress_user = &all};
    nlm_engine *engine = fixture_engine(1);
    nlm_model *model = NULL;
    const char *path = NLM_TEST_DATA "/models/llama-gqa-f32.gguf";
    EXPECT_OK(nlm_model_load(engine, path, &options, &model, error));
    CU_ASSERT(all.n > 10 && all.last == 1);
    nlm_model_unload(model);
    for (size_t at = 1; at <= all.n; at++) {
        steps some = {.cancel_at = at};
        options.progress_user = &some;
        CU_ASSERT_EQUAL(nlm_model_load(engine, path, &options, &model, NULL), NLM_CANCELLED);
        CU_ASSERT_PTR_NULL(model);
        CU_ASSERT_EQUAL(some.n, at);
    }
    options.progress = NULL;
    EXPECT_OK(nlm_model_load(engine, path, &options, &model, error));
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
}

static const check_case cases[] = {
    CHECK_CASE(an_error_gets_no_byte_more_than_its_size),
    CHECK_CASE(what_is_null_is_named),
    CHECK_CASE(what_is_null_of_text_is_named),
    CHECK_CASE(flags_that_are_not_known_are_refused),
    CHECK_CASE(a_second_thread_is_refused_and_what_it_destroys_waits),
    CHECK_CASE(handles_may_go_in_any_order),
    CHECK_CASE(a_child_of_fork_is_told_and_can_make_its_own),
    CHECK_CASE(a_load_tells_every_weight_and_ends_at_any),
};
CHECK_MAIN("contract", cases)
