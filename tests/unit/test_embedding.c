/* What programs that embed nlm ask for: shorter sessions, cancelling, choosing from logits of their own, metadata. */
#include <math.h>
#include <stdbool.h>

#include "session_fixture.h"

static int32_t append_text(void *user, const char *text, size_t length) {
    strncat(user, text, length);
    return 0;
}

/* ---- shorter sessions ----------------------------------------------------------------------- */

/* A session cut to n tokens is one that never had more; what follows is the same, bit for bit. */
static void a_cut_session_is_one_that_never_had_more(void) {
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        const nlm_model_options two = {.struct_size = sizeof two, .parallel = 2};
        fixture f = fixture_open(fixture_models[m], &two, 1);
        int32_t ids[60];
        fixture_ids(&f, 1, ids, 60);
        static const size_t kept[] = {1, 15, 16, 17, 39, 40};
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++) {
            nlm_session *cut = fixture_session(&f), *plain = fixture_session(&f);
            fixture_extend(cut, ids, 40);
            EXPECT_OK(nlm_session_truncate(cut, kept[k], error));
            size_t count = 0;
            nlm_session_tokens(cut, &count);
            CU_ASSERT_EQUAL(count, kept[k]);
            fixture_extend(plain, ids, kept[k]);
            CU_ASSERT(fixture_same_logits(cut, plain, f.n_vocab));
            fixture_extend(cut, ids + 40, 20);
            fixture_extend(plain, ids + 40, 20);
            CU_ASSERT(fixture_same_logits(cut, plain, f.n_vocab));
            nlm_session_destroy(cut);
            nlm_session_destroy(plain);
        }
        fixture_close(&f);
    }
}

static void a_cut_leaves_what_others_share(void) {
    const nlm_model_options two = {.struct_size = sizeof two, .parallel = 2};
    fixture f = fixture_open("llama-gqa-f32", &two, 1);
    nlm_session *session = fixture_session(&f), *copy = NULL;
    int32_t ids[40];
    fixture_ids(&f, 1, ids, 40);
    fixture_extend(session, ids, 40);
    EXPECT_OK(nlm_session_fork(session, &copy, error));
    EXPECT_OK(nlm_session_truncate(copy, 20, error));
    fixture_extend(copy, ids, 20);
    EXPECT_OK(nlm_session_truncate(session, 39, error));
    EXPECT_OK(nlm_session_reset(copy, error));
    fixture_extend(copy, ids, 39);
    CU_ASSERT(fixture_same_logits(session, copy, f.n_vocab));
    CU_ASSERT_EQUAL(nlm_session_truncate(session, 40, NULL), NLM_INVALID_ARGUMENT);
    EXPECT_OK(nlm_session_truncate(session, 0, error));
    const float *logits = NULL;
    CU_ASSERT_EQUAL(nlm_session_logits(session, &logits, NULL), NLM_INVALID_ARGUMENT);
    nlm_session_destroy(session);
    nlm_session_destroy(copy);
    fixture_close(&f);
}

/* Text held back for a stop string is that of tokens which are gone. */
static void a_cut_forgets_the_text_that_was_held_back(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    int32_t ids[4];
    fixture_ids(&f, 1, ids, 4);
    fixture_extend(session, ids, 4);
    char whole[256] = "";
    const nlm_generate_options plain = {
        .struct_size = sizeof plain, .flags = NLM_GENERATE_IGNORE_END, .max_tokens = 8};
    EXPECT_OK(nlm_session_generate(session, NULL, &plain, append_text, whole, NULL, error));
    CU_ASSERT_FATAL(strlen(whole) > 1);
    const char *const stops[] = {strcat(whole, "\x01")}; /* begins as the text does and never stands */
    nlm_generate_options held = plain;
    held.stops = stops;
    held.n_stops = 1;
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_truncate(session, 4, error));
    EXPECT_OK(nlm_session_generate(session, NULL, &held, NULL, NULL, &result, error));
    CU_ASSERT(result.n_held > 0);
    EXPECT_OK(nlm_session_truncate(session, 4, error));
    char left[256] = "";
    EXPECT_OK(nlm_session_flush_text(session, append_text, left, error));
    CU_ASSERT_STRING_EQUAL(left, "");
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static int32_t cancel_after_three(void *user, const char *text, size_t length) {
    struct {
        nlm_session *session;
        int n;
    } *u = user;
    (void)text;
    (void)length;
    if (++u->n == 3) nlm_session_cancel(u->session);
    return 0;
}

static void a_generation_is_cancelled_after_its_token(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    struct {
        nlm_session *session;
        int n;
    } user = {fixture_session(&f), 0};
    int32_t ids[4];
    fixture_ids(&f, 1, ids, 4);
    fixture_extend(user.session, ids, 4);
    nlm_generate_result result = {.struct_size = sizeof result};
    const nlm_generate_options options = {
        .struct_size = sizeof options, .flags = NLM_GENERATE_IGNORE_END, .max_tokens = 200};
    nlm_session_cancel(user.session); /* nothing is under way: forgotten */
    EXPECT_OK(nlm_session_generate(user.session, NULL, &options, cancel_after_three, &user, &result, error));
    CU_ASSERT_EQUAL(result.ended_by, NLM_ENDED_BY_CANCEL);
    CU_ASSERT(user.n >= 3 && result.n_tokens < 200);
    EXPECT_OK(nlm_session_generate(user.session, NULL, &options, NULL, NULL, &result, error));
    CU_ASSERT_EQUAL(result.ended_by, NLM_ENDED_BY_TOKENS);
    nlm_session_destroy(user.session);
    fixture_close(&f);
}

static int32_t cancel_from_within(void *user, double fraction) {
    (void)fraction;
    nlm_session_cancel(user);
    return 0;
}

/* A Mamba's prompts are cut at every 128 tokens; the second chunk's progress sees what the first one's asked for. */
static void a_prefill_is_cancelled_after_its_chunk(void) {
    fixture f = fixture_open("mamba-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    int32_t ids[250];
    fixture_ids(&f, 1, ids, 250);
    nlm_session_set_progress(session, cancel_from_within, session);
    CU_ASSERT_EQUAL(nlm_session_extend(session, ids, 250, NULL), NLM_CANCELLED);
    size_t count = 0;
    nlm_session_tokens(session, &count);
    CU_ASSERT(count > 0 && count < 250);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- logits of one's own, metadata ---------------------------------------------------------- */

static void a_sampler_picks_from_logits_of_the_callers(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    int32_t ids[9], by_session = 0, by_hand = 0;
    fixture_ids(&f, 1, ids, 9);
    fixture_extend(session, ids, 9);
    const nlm_sampler_options options = {
        .struct_size = sizeof options, .seed = 7, .temperature = 1.5f, .top_p = 0.9f, .repeat_penalty = 1.2f};
    nlm_sampler *sampler = NULL;
    EXPECT_OK(nlm_sampler_create(f.model, &options, &sampler, error));
    const float *logits = NULL;
    EXPECT_OK(nlm_session_logits(session, &logits, error));
    EXPECT_OK(nlm_session_sample(session, sampler, &by_session, error));
    const size_t n = (size_t)f.n_vocab;
    EXPECT_OK(nlm_sampler_pick(sampler, logits, n, ids, 9, &by_hand, error));
    CU_ASSERT_EQUAL(by_session, by_hand);
    float *own = malloc(n * sizeof *own);
    CU_ASSERT_PTR_NOT_NULL_FATAL(own);
    for (size_t i = 0; i < n; i++) own[i] = i == 11 ? 1 : -INFINITY;
    EXPECT_OK(nlm_sampler_pick(sampler, own, n, ids, 9, &by_hand, error));
    CU_ASSERT_EQUAL(by_hand, 11);
    own[11] = -INFINITY;
    CU_ASSERT_EQUAL(nlm_sampler_pick(sampler, own, n, ids, 9, &by_hand, NULL), NLM_NUMERIC);
    own[11] = NAN;
    CU_ASSERT_EQUAL(nlm_sampler_pick(sampler, own, n, ids, 9, &by_hand, NULL), NLM_NUMERIC);
    CU_ASSERT_EQUAL(nlm_sampler_pick(sampler, logits, n - 1, ids, 9, &by_hand, NULL), NLM_INVALID_ARGUMENT);
    ids[3] = f.n_vocab;
    CU_ASSERT_EQUAL(nlm_sampler_pick(sampler, logits, n, ids, 9, &by_hand, NULL), NLM_INVALID_ARGUMENT);
    free(own);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static void metadata_is_told_as_text(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    char text[64];
    size_t length = 0;
    EXPECT_OK(nlm_model_metadata(f.model, "general.architecture", text, sizeof text, &length, error));
    CU_ASSERT_STRING_EQUAL(text, "llama");
    EXPECT_OK(nlm_model_metadata(f.model, "llama.context_length", text, sizeof text, &length, error));
    CU_ASSERT_STRING_EQUAL(text, "256");
    EXPECT_OK(nlm_model_metadata(f.model, "general.architecture", text, 3, &length, error));
    CU_ASSERT_STRING_EQUAL(text, "ll");
    CU_ASSERT_EQUAL(length, 5);
    CU_ASSERT_EQUAL(nlm_model_metadata(f.model, "no.such", text, sizeof text, &length, NULL), NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(nlm_model_metadata(f.model, "tokenizer.ggml.tokens", text, sizeof text, &length, NULL),
                    NLM_UNSUPPORTED);
    size_t n = 0;
    bool has_architecture = false;
    while (nlm_model_metadata_key(f.model, n, text, sizeof text, &length, NULL) == NLM_OK) {
        has_architecture |= strcmp(text, "general.architecture") == 0;
        n++;
    }
    CU_ASSERT(n > 5 && has_architecture);
    fixture_close(&f);
}

static void backends_are_listed_before_there_is_an_engine(void) {
    nlm_backends *backends = NULL;
    EXPECT_OK(nlm_backends_create(NLM_PLUGIN_DIRECTORY "/plugins.toml", &backends, error));
    nlm_backend_info info = {.struct_size = sizeof info};
    size_t n = 0, n_ready = 0;
    for (; nlm_backends_describe(backends, n, &info, NULL) == NLM_OK; n++) {
        CU_ASSERT((info.state == NLM_BACKEND_READY) == (info.reason[0] == '\0'));
        if (info.state != NLM_BACKEND_READY) continue;
        n_ready++;
        nlm_backend_device device = {.struct_size = sizeof device};
        EXPECT_OK(nlm_backends_device(backends, n, 0, &device, error));
        CU_ASSERT(device.name[0] != '\0');
        CU_ASSERT_EQUAL(nlm_backends_device(backends, n, (int32_t)info.n_devices, &device, NULL),
                        NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(nlm_backends_device(backends, n, -1, &device, NULL), NLM_INVALID_ARGUMENT);
    }
    CU_ASSERT(n > 0 && n_ready > 0); /* cpu_scalar */
    nlm_backends_destroy(backends);
    CU_ASSERT_EQUAL(nlm_backends_create("/nowhere/plugins.toml", &backends, NULL), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NULL(backends);
    /* An engine's device is named as firmly. */
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .backend = "cpu_scalar",
                                        .device_id = -1,
                                        .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    nlm_engine *engine = NULL;
    CU_ASSERT_EQUAL(nlm_engine_create(&options, &engine, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(engine);
}

static const check_case cases[] = {
    CHECK_CASE(a_cut_session_is_one_that_never_had_more),
    CHECK_CASE(a_cut_leaves_what_others_share),
    CHECK_CASE(a_cut_forgets_the_text_that_was_held_back),
    CHECK_CASE(a_generation_is_cancelled_after_its_token),
    CHECK_CASE(a_prefill_is_cancelled_after_its_chunk),
    CHECK_CASE(a_sampler_picks_from_logits_of_the_callers),
    CHECK_CASE(metadata_is_told_as_text),
    CHECK_CASE(backends_are_listed_before_there_is_an_engine),
};
CHECK_MAIN("embedding", cases)
