/* A device that runs out of memory, fails or is lost at every place where it can: what failed says so in a
 * sentence, nothing is left on the device, what can be tried again gives the right logits, and the engine
 * goes on with another backend. */
#include "unit/fake_fixture.h"

#include <inttypes.h>

#include "unit/temporary.h"

enum { N_TRUNK = 45, N_BRANCH = 3, N_ALL = 64, LIMIT = 5000 };

static const nlm_model_options model_options = {
    .struct_size = sizeof model_options, .context_length = 96, .parallel = 2};

static const char *const llama = "llama-gqa-f32", *const mamba = "mamba-f32";

/* What is done, and what should come of it. */
typedef struct story {
    const char *model;
    nlm_model_options options;
    fixture f;
    nlm_session *trunk, *branch;
    int32_t trunk_ids[N_ALL], branch_ids[N_ALL]; /* all that each is to hold */
    size_t n_trunk, n_branch;
    float *trunk_logits, *branch_logits; /* cpu_scalar's */
    temporary folder;
    nlm_status expected; /* of a failure */
} story;

/* ---- the steps, each of which can be tried again ---- */

static nlm_status load(story *s, nlm_error *err) {
    char path[512];
    snprintf(path, sizeof path, NLM_TEST_DATA "/models/%s.gguf", s->model);
    return nlm_model_load(s->f.engine, path, &s->options, &s->f.model, err);
}

/* A session that failed holds a beginning of its tokens, in which it gives no wrong logits. */
static nlm_status bring_to(nlm_session *session, const int32_t *ids, size_t count, nlm_error *err) {
    size_t held;
    const int32_t *tokens = nlm_session_tokens(session, &held);
    CU_ASSERT_FATAL(held <= count && memcmp(tokens, ids, held * sizeof *ids) == 0);
    return held < count ? nlm_session_extend(session, ids + held, count - held, err) : NLM_OK;
}

static nlm_status create(story *s, nlm_error *err) {
    return nlm_session_create(s->f.model, &s->trunk, err);
}

static nlm_status prefill(story *s, nlm_error *err) {
    return bring_to(s->trunk, s->trunk_ids, N_TRUNK, err);
}

static nlm_status fork_trunk(story *s, nlm_error *err) {
    return nlm_session_fork(s->trunk, &s->branch, err);
}

/* Writes into a page that both hold. */
static nlm_status grow_branch(story *s, nlm_error *err) {
    return bring_to(s->branch, s->branch_ids, N_TRUNK + N_BRANCH, err);
}

static nlm_status step_together(story *s, nlm_error *err) {
    size_t held[2];
    nlm_session *sessions[2] = {s->trunk, s->branch};
    (void)nlm_session_tokens(s->trunk, &held[0]);
    (void)nlm_session_tokens(s->branch, &held[1]);
    if (held[0] == N_TRUNK && held[1] == N_TRUNK + N_BRANCH) {
        const int32_t ids[2] = {s->trunk_ids[held[0]], s->branch_ids[held[1]]};
        return nlm_sessions_decode(sessions, ids, 2, err);
    }
    const nlm_status status = bring_to(s->trunk, s->trunk_ids, s->n_trunk, err);
    return status == NLM_OK ? bring_to(s->branch, s->branch_ids, s->n_branch, err) : status;
}

static nlm_status save(story *s, nlm_error *err) {
    return nlm_session_save(s->branch, temporary_path(&s->folder, "session"), err);
}

static nlm_status reset(story *s, nlm_error *err) {
    return nlm_session_reset(s->branch, err);
}

static nlm_status restore(story *s, nlm_error *err) {
    return nlm_session_restore(s->branch, temporary_path(&s->folder, "session"), err);
}

/* The beginning of the trunk is in the prompt cache. */
static nlm_status prefill_again(story *s, nlm_error *err) {
    const nlm_status status = bring_to(s->trunk, s->trunk_ids, s->n_trunk, err);
    return status == NLM_OK ? bring_to(s->branch, s->branch_ids, s->n_branch, err) : status;
}

static nlm_status reset_trunk(story *s, nlm_error *err) {
    return nlm_session_reset(s->trunk, err);
}

/* Logits may be on the device still. */
static nlm_status look(story *s, nlm_error *err) {
    const float *logits;
    const nlm_status status = nlm_session_logits(s->trunk, &logits, err);
    return status == NLM_OK ? nlm_session_logits(s->branch, &logits, err) : status;
}

typedef struct step {
    nlm_status (*run)(story *s, nlm_error *err);
    bool is_done; /* even if it fails: what follows must come out right without another try */
} step;

static const step steps[] = {{load, false},       {create, false},        {prefill, false},
                             {fork_trunk, false}, {grow_branch, false},   {step_together, false},
                             {save, false},       {reset, true},          {restore, false},
                             {reset_trunk, true}, {prefill_again, false}, {look, false}};

/* ---- telling it ---- */

static void check_failure(const story *s, nlm_status status, const nlm_error *err) {
    CU_ASSERT_EQUAL(status, s->expected);
    CU_ASSERT_EQUAL(err->code, s->expected);
    CU_ASSERT(strlen(err->msg) > 10);
    const bool names_device = strstr(err->msg, "fake_stream") != NULL;
    CU_ASSERT(names_device);
    if (!names_device) printf("\n  %s: '%s'", err->where, err->msg);
}

/* Whether all was done in the end; a lost device ends it. */
static bool tell(story *s) {
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_status status = steps[i].run(s, &err);
        if (status == NLM_OK) continue;
        check_failure(s, status, &err);
        if (s->expected == NLM_DEVICE_LOST) return false;
        if (!steps[i].is_done) EXPECT_OK(steps[i].run(s, error));
    }
    return true;
}

static void end(story *s) {
    nlm_session_destroy(s->trunk);
    nlm_session_destroy(s->branch);
    nlm_model_unload(s->f.model);
    s->trunk = s->branch = NULL;
    s->f.model = NULL;
}

static bool has_logits(nlm_session *session, const float *expected, int32_t n_vocab) {
    const float *logits;
    EXPECT_OK(nlm_session_logits(session, &logits, error));
    return memcmp(logits, expected, (size_t)n_vocab * sizeof *logits) == 0;
}

static void expect_right(const story *s) {
    CU_ASSERT(has_logits(s->trunk, s->trunk_logits, s->f.n_vocab));
    CU_ASSERT(has_logits(s->branch, s->branch_logits, s->f.n_vocab));
}

/* The engine, as it is after whatever happened, on cpu_scalar. */
static void expect_usable_on_another(story *s) {
    EXPECT_OK(nlm_engine_switch(s->f.engine, "cpu_scalar", 0, NULL, error));
    EXPECT_OK(load(s, error));
    EXPECT_OK(create(s, error));
    EXPECT_OK(bring_to(s->trunk, s->trunk_ids, s->n_trunk, error));
    CU_ASSERT(has_logits(s->trunk, s->trunk_logits, s->f.n_vocab));
    end(s);
}

/* ---- sweeps ---- */

static float *copy_logits(nlm_session *session, int32_t n_vocab) {
    const float *logits;
    float *copy = malloc((size_t)n_vocab * sizeof *copy);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    EXPECT_OK(nlm_session_logits(session, &logits, error));
    memcpy(copy, logits, (size_t)n_vocab * sizeof *copy);
    return copy;
}

static story begin(const char *model, uint32_t flags) {
    story s = {.model = model, .options = model_options, .n_trunk = N_TRUNK + 1, .n_branch = N_TRUNK + N_BRANCH + 1};
    s.options.flags = flags;
    CU_ASSERT_FATAL(temporary_make(&s.folder));
    s.f = fake_open(model, &model_options, "cpu_scalar", NULL);
    nlm_model_unload(s.f.model);
    fixture_ids(&s.f, 1, s.trunk_ids, N_ALL);
    fixture_ids(&s.f, 2, s.branch_ids, N_ALL);
    memcpy(s.branch_ids, s.trunk_ids, N_TRUNK * sizeof *s.trunk_ids);
    CU_ASSERT_FATAL(tell(&s));
    s.trunk_logits = copy_logits(s.trunk, s.f.n_vocab);
    s.branch_logits = copy_logits(s.branch, s.f.n_vocab);
    end(&s);
    return s;
}

static void finish(story *s) {
    free(s->trunk_logits);
    free(s->branch_logits);
    nlm_engine_destroy(s->f.engine);
    temporary_remove(&s->folder);
    nlm_set_log(NULL, NULL, 1);
}

/* The story with the option set to 1, 2, 3, ... until that is more than there is. */
static void sweep_with(uint32_t flags, const char *model, const char *option, nlm_status expected,
                       const char *refuse) {
    fake_listen();
    story s = begin(model, flags);
    s.expected = expected;
    uint64_t n = 0;
    for (bool had_fault = true; had_fault && n < LIMIT;) {
        char number[24];
        snprintf(number, sizeof number, "%" PRIu64, ++n);
        const char *options[] = {option, number,   "refuse",          refuse,  "status",
                                 "0",    "silent", n % 2 ? "0" : "1", "go_on", n % 5 < 2 ? "1" : "0",
                                 NULL};
        if (expected == NLM_DEVICE_ERROR && n % 3 == 0) options[5] = "77"; /* which is none */
        fake_listen();
        EXPECT_OK(nlm_engine_switch(s.f.engine, "fake_stream", 0, options, error));
        if (tell(&s)) expect_right(&s);
        end(&s);
        had_fault = fake_said.had_fault;
        if (expected != NLM_DEVICE_ERROR || n % 8 == 0) expect_usable_on_another(&s);
        CU_ASSERT_EQUAL_FATAL(fake_said.n_errors, 0);
    }
    CU_ASSERT(n > 5 && n < LIMIT);
    finish(&s);
}

static void sweep(const char *model, const char *option, nlm_status expected, const char *refuse) {
    sweep_with(0, model, option, expected, refuse);
}

static void llama_survives_any_allocation_that_fails(void) {
    sweep(llama, "fail_alloc", NLM_OUT_OF_MEMORY, "");
}
static void mamba_survives_any_allocation_that_fails(void) {
    sweep(mamba, "fail_alloc", NLM_OUT_OF_MEMORY, "");
}
static void llama_survives_any_call_that_fails(void) {
    sweep(llama, "fail_call", NLM_DEVICE_ERROR, "rms_norm");
}
static void mamba_survives_any_call_that_fails(void) {
    sweep(mamba, "fail_call", NLM_DEVICE_ERROR, "rms_norm");
}
static void mamba_clears_its_states_before_it_goes_on(void) {
    sweep_with(NLM_MODEL_NO_PROMPT_CACHE, mamba, "fail_call", NLM_DEVICE_ERROR, "");
}
static void llama_survives_any_work_that_fails_late(void) {
    sweep(llama, "fail_work", NLM_DEVICE_ERROR, "");
}
static void mamba_survives_any_work_that_fails_late(void) {
    sweep(mamba, "fail_work", NLM_DEVICE_ERROR, "");
}
static void llama_frees_all_when_its_work_loses_the_device(void) {
    sweep(llama, "lost_work", NLM_DEVICE_LOST, "rms_norm");
}
static void llama_frees_all_when_the_device_is_lost(void) {
    sweep(llama, "lost_call", NLM_DEVICE_LOST, "rms_norm");
}
static void mamba_frees_all_when_the_device_is_lost(void) {
    sweep(mamba, "lost_call", NLM_DEVICE_LOST, "");
}

/* ---- the switch ---- */

static void an_engine_with_models_stays_where_it_is(void) {
    fake_listen();
    fixture f = fake_open(llama, &model_options, "fake_stream", NULL);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_engine_switch(f.engine, "cpu_scalar", 0, NULL, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "end them first"));
    nlm_model_unload(f.model);
    CU_ASSERT_EQUAL(nlm_engine_switch(f.engine, "no_such", 0, NULL, &err), NLM_NOT_FOUND);
    nlm_engine_info info = {.struct_size = sizeof info};
    EXPECT_OK(nlm_engine_describe(f.engine, &info, error));
    CU_ASSERT_STRING_EQUAL(info.backend, "fake_stream");
    EXPECT_OK(nlm_engine_switch(f.engine, "cpu_scalar", 0, NULL, error));
    EXPECT_OK(nlm_engine_describe(f.engine, &info, error));
    CU_ASSERT_STRING_EQUAL(info.backend, "cpu_scalar");
    nlm_engine_destroy(f.engine);
    CU_ASSERT_EQUAL(fake_said.n_errors, 0);
    nlm_set_log(NULL, NULL, 1);
}

static const check_case cases[] = {
    CHECK_CASE(llama_survives_any_allocation_that_fails),
    CHECK_CASE(mamba_survives_any_allocation_that_fails),
    CHECK_CASE(llama_survives_any_call_that_fails),
    CHECK_CASE(mamba_survives_any_call_that_fails),
    CHECK_CASE(mamba_clears_its_states_before_it_goes_on),
    CHECK_CASE(llama_survives_any_work_that_fails_late),
    CHECK_CASE(mamba_survives_any_work_that_fails_late),
    CHECK_CASE(llama_frees_all_when_the_device_is_lost),
    CHECK_CASE(mamba_frees_all_when_the_device_is_lost),
    CHECK_CASE(an_engine_with_models_stays_where_it_is),
    CHECK_CASE(llama_frees_all_when_its_work_loses_the_device),
};
CHECK_MAIN("fake faults", cases)
