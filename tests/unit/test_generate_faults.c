/* A generation that a device ends with an error anywhere: the same call again goes on with the text, in which
 * nothing is missing and nothing comes twice. */
#include "unit/fake_fixture.h"

#include <inttypes.h>

enum { N_PROMPT = 6, N_GENERATED = 8, LIMIT = 2000 };

static uint32_t n_ahead; /* nlm_generate_options.ahead, for the sweep under way */

typedef struct sink {
    char text[1024];
    size_t length;
} sink;

static int32_t collect(void *user, const char *text, size_t length) {
    sink *s = user;
    CU_ASSERT_FATAL(s->length + length < sizeof s->text);
    memcpy(s->text + s->length, text, length);
    s->length += length;
    return 0;
}

static uint64_t n_held(const nlm_session *session) {
    size_t count;
    nlm_session_tokens(session, &count);
    return count;
}

static nlm_status generate(nlm_session *session, sink *out, nlm_error *err) {
    static const char *const stops[] = {"never comes"};
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = NLM_GENERATE_IGNORE_END,
                                          .max_tokens = N_PROMPT + N_GENERATED - n_held(session),
                                          .stops = stops,
                                          .n_stops = n_ahead == 0,
                                          .ahead = n_ahead};
    return nlm_session_generate(session, NULL, &options, collect, out, NULL, err);
}

/* The whole answer on a device with these options; every call that fails is made once more. */
static void answer(fixture *f, const char *model, const char *const *options, sink *out) {
    char path[512];
    int32_t ids[N_PROMPT];
    nlm_session *session = NULL;
    EXPECT_OK(nlm_engine_switch(f->engine, "fake_stream", 0, options, error));
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.gguf", model);
    if (nlm_model_load(f->engine, path, NULL, &f->model, NULL) != NLM_OK) {
        EXPECT_OK(nlm_model_load(f->engine, path, NULL, &f->model, error));
    }
    if (nlm_session_create(f->model, &session, NULL) != NLM_OK) session = fixture_session(f);
    fixture_ids(f, 4, ids, N_PROMPT);
    if (nlm_session_extend(session, ids, N_PROMPT, NULL) != NLM_OK) {
        CU_ASSERT_EQUAL_FATAL(n_held(session), 0);
        fixture_extend(session, ids, N_PROMPT);
    }
    out->length = 0;
    const nlm_status status = generate(session, out, NULL);
    CU_ASSERT(n_held(session) >= N_PROMPT);
    if (status != NLM_OK) EXPECT_OK(generate(session, out, error));
    const float *logits; /* after the last token, which is computed for them alone */
    if (nlm_session_logits(session, &logits, NULL) != NLM_OK) EXPECT_OK(nlm_session_logits(session, &logits, error));
    EXPECT_OK(nlm_session_flush_text(session, collect, out, error));
    CU_ASSERT_EQUAL(n_held(session), N_PROMPT + N_GENERATED);
    nlm_session_destroy(session);
    nlm_model_unload(f->model);
}

static void sweep(const char *model, const char *option) {
    sink whole = {0}, out = {0};
    fake_listen();
    fixture f = fake_open(model, NULL, "cpu_scalar", NULL);
    nlm_model_unload(f.model);
    answer(&f, model, NULL, &whole);
    CU_ASSERT(whole.length >= N_GENERATED);
    uint64_t n = 0;
    for (bool had_fault = true; had_fault && n < LIMIT; had_fault = fake_said.had_fault) {
        char number[24];
        snprintf(number, sizeof number, "%" PRIu64, ++n);
        fake_listen();
        answer(&f, model, (const char *const[]){option, number, NULL}, &out);
        CU_ASSERT_EQUAL_FATAL(out.length, whole.length);
        CU_ASSERT_EQUAL_FATAL(memcmp(out.text, whole.text, whole.length), 0);
    }
    CU_ASSERT(n > N_GENERATED && n < LIMIT);
    nlm_engine_destroy(f.engine);
    nlm_set_log(NULL, NULL, 1);
}

static void llama_goes_on_behind_any_call_that_failed(void) {
    sweep("llama-gqa-f32", "fail_call");
}
static void llama_goes_on_behind_any_work_that_failed(void) {
    sweep("llama-gqa-f32", "fail_work");
}
static void mamba_goes_on_behind_any_work_that_failed(void) {
    sweep("mamba-f32", "fail_work");
}

static void sweep_ahead(const char *model, const char *option) {
    n_ahead = 5;
    sweep(model, option);
    n_ahead = 0;
}
static void llama_goes_on_behind_any_call_ahead_that_failed(void) {
    sweep_ahead("llama-gqa-f32", "fail_call");
}
static void llama_goes_on_behind_any_work_ahead_that_failed(void) {
    sweep_ahead("llama-gqa-f32", "fail_work");
}
static void mamba_goes_on_behind_any_call_ahead_that_failed(void) {
    sweep_ahead("mamba-f32", "fail_call");
}
static void mamba_goes_on_behind_any_work_ahead_that_failed(void) {
    sweep_ahead("mamba-f32", "fail_work");
}

static const check_case cases[] = {
    CHECK_CASE(llama_goes_on_behind_any_call_that_failed),
    CHECK_CASE(llama_goes_on_behind_any_work_that_failed),
    CHECK_CASE(mamba_goes_on_behind_any_work_that_failed),
    CHECK_CASE(llama_goes_on_behind_any_call_ahead_that_failed),
    CHECK_CASE(llama_goes_on_behind_any_work_ahead_that_failed),
    CHECK_CASE(mamba_goes_on_behind_any_call_ahead_that_failed),
    CHECK_CASE(mamba_goes_on_behind_any_work_ahead_that_failed),
};
CHECK_MAIN("generate faults", cases)
