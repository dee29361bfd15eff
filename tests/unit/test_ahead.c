/* Tokens that a device computes and chooses before the host looks: the same as one by one, whatever ends them. */
#include "unit/damaged_model.h"
#include "unit/fake_fixture.h"
#include "unit/temporary.h"

enum { N_PROMPT = 6, N_TOKENS = 21, MOST = 64 };

static const nlm_model_options three = {.struct_size = sizeof three, .parallel = 3};
static const char *const models[] = {"llama-gqa-f32", "llama-window-bf16", "mamba-f32"};
#define N_MODELS (sizeof models / sizeof *models)

/* What a generation gave out, and how it is cut short. */
typedef struct telling {
    int32_t ids[MOST];
    size_t n;
    size_t last;          /* the callback ends it with so many; 0: never */
    nlm_session *cancels; /* and cancels then instead, or NULL */
} telling;

static int32_t tell(void *user, const nlm_generated *token) {
    telling *t = user;
    CU_ASSERT_FATAL(t->n < MOST);
    t->ids[t->n++] = token->id;
    if (t->n != t->last) return 0;
    if (t->cancels) nlm_session_cancel(t->cancels);
    return t->cancels ? 0 : 1;
}

static nlm_generate_options options_of(telling *t, uint32_t ahead, uint64_t n_tokens) {
    return (nlm_generate_options){.struct_size = sizeof(nlm_generate_options),
                                  .flags = NLM_GENERATE_IGNORE_END,
                                  .max_tokens = n_tokens,
                                  .on_token = tell,
                                  .token_user = t,
                                  .ahead = ahead};
}

/* Generates n_tokens more; how it ended. */
static int32_t go_on(nlm_session *session, nlm_sampler *sampler, telling *t, uint32_t ahead, uint64_t n_tokens) {
    const nlm_generate_options options = options_of(t, ahead, n_tokens);
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_generate(session, sampler, &options, NULL, NULL, &result, error));
    return result.ended_by;
}

static nlm_session *begin(const fixture *f) {
    int32_t ids[N_PROMPT];
    nlm_session *session = fixture_session(f);
    fixture_ids(f, 4, ids, N_PROMPT);
    fixture_extend(session, ids, N_PROMPT);
    return session;
}

static nlm_sampler *sampler_of(const fixture *f, const nlm_sampler_options *options) {
    nlm_sampler *sampler = NULL;
    EXPECT_OK(nlm_sampler_create(f->model, options, &sampler, error));
    return sampler;
}

/* The sessions hold the same tokens, and the same follow. */
static void expect_same_state(nlm_session *a, nlm_session *b, int32_t n_vocab) {
    size_t n_a, n_b;
    const int32_t *x = nlm_session_tokens(a, &n_a), *y = nlm_session_tokens(b, &n_b);
    CU_ASSERT_EQUAL_FATAL(n_a, n_b);
    CU_ASSERT_EQUAL(memcmp(x, y, n_a * sizeof *x), 0);
    CU_ASSERT(fixture_same_logits(a, b, n_vocab));
}

/* One by one on the same device. */
static void expect_same(const telling *t, const telling *alone) {
    CU_ASSERT_EQUAL_FATAL(t->n, alone->n);
    CU_ASSERT_EQUAL(memcmp(t->ids, alone->ids, t->n * sizeof *t->ids), 0);
}

static const nlm_sampler_options ways[] = {
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 1, .seed = 3},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 0.9F, .top_k = 40, .top_p = 0.9F, .seed = UINT64_MAX},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 2, .min_p = 0.1F, .seed = 1},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 1, .top_p = 0.5F, .min_p = 0.05F, .seed = 9},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 0, .top_k = 3},
    /* what a device cannot do */
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 1, .repeat_penalty = 1.3F, .seed = 5},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 1, .mirostat_tau = 4, .seed = 5},
    {.struct_size = sizeof(nlm_sampler_options), .temperature = 1, .temperature_range = 0.5F, .seed = 5},
};
#define N_WAYS (sizeof ways / sizeof *ways)

static void any_choice_is_the_same(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fake_listen();
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        for (size_t w = 0; w <= N_WAYS; w++) {
            nlm_sampler *sampler = w < N_WAYS ? sampler_of(&f, &ways[w]) : NULL;
            telling alone = {0}, by_seven = {0}, by_all = {0};
            nlm_session *one = begin(&f), *seven = begin(&f), *all = begin(&f);
            CU_ASSERT_EQUAL(go_on(one, sampler, &alone, 0, N_TOKENS), NLM_ENDED_BY_TOKENS);
            CU_ASSERT_EQUAL(go_on(seven, sampler, &by_seven, 7, N_TOKENS), NLM_ENDED_BY_TOKENS);
            CU_ASSERT_EQUAL(go_on(all, sampler, &by_all, 1000, N_TOKENS), NLM_ENDED_BY_TOKENS);
            expect_same(&by_seven, &alone);
            expect_same(&by_all, &alone);
            expect_same_state(one, seven, f.n_vocab);
            expect_same_state(one, all, f.n_vocab);
            nlm_session_destroy(one);
            nlm_session_destroy(seven);
            nlm_session_destroy(all);
            nlm_sampler_destroy(sampler);
        }
        fixture_close(&f);
        CU_ASSERT_EQUAL(fake_said.n_errors + fake_said.n_warnings, 0);
    }
}

/* The tokens of a text, one by one. */
static telling text_of(const fixture *f, nlm_sampler *sampler) {
    telling t = {0};
    nlm_session *session = begin(f);
    go_on(session, sampler, &t, 0, N_TOKENS);
    nlm_session_destroy(session);
    return t;
}

static void an_end_within_is_the_same(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        nlm_sampler *sampler = sampler_of(&f, &ways[0]);
        const telling text = text_of(&f, sampler);
        for (size_t at = 0; at < 12; at++) {
            telling told[2] = {{.n = 0}, {.n = 0}};
            nlm_session *sessions[2] = {begin(&f), begin(&f)};
            for (int i = 0; i < 2; i++) {
                nlm_generate_options options = options_of(&told[i], i ? 8 : 0, N_TOKENS);
                nlm_generate_result result = {.struct_size = sizeof result};
                options.stop_ids = &text.ids[at];
                options.n_stop_ids = 1;
                EXPECT_OK(nlm_session_generate(sessions[i], sampler, &options, NULL, NULL, &result, error));
                CU_ASSERT_EQUAL(result.ended_by, NLM_ENDED_BY_STOP_ID);
            }
            expect_same(&told[1], &told[0]);
            expect_same_state(sessions[0], sessions[1], f.n_vocab);
            /* and what follows, the token that ended it among it */
            for (int i = 0; i < 2; i++) go_on(sessions[i], sampler, &told[i], i ? 5 : 0, 9);
            expect_same(&told[1], &told[0]);
            expect_same_state(sessions[0], sessions[1], f.n_vocab);
            nlm_session_destroy(sessions[0]);
            nlm_session_destroy(sessions[1]);
        }
        nlm_sampler_destroy(sampler);
        fixture_close(&f);
    }
}

/* Behind an end the logits that chose it are asked for by a step, which computes nothing. */
static void a_step_behind_an_end_has_logits(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        const telling text = text_of(&f, NULL);
        nlm_session *session = begin(&f);
        telling told = {0};
        nlm_generate_options options = options_of(&told, 16, N_TOKENS);
        options.stop_ids = &text.ids[5];
        options.n_stop_ids = 1;
        EXPECT_OK(nlm_session_generate(session, NULL, &options, NULL, NULL, NULL, error));
        nlm_step_item item = {.struct_size = sizeof item, .flags = NLM_STEP_SAMPLE, .session = session};
        EXPECT_OK(nlm_step(&item, 1, error));
        CU_ASSERT_EQUAL(item.next, text.ids[told.n - 1]);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
}

static void a_callback_ends_within(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        const telling text = text_of(&f, NULL);
        for (size_t last = 1; last < 12; last++) {
            telling told = {.last = last};
            nlm_session *session = begin(&f);
            CU_ASSERT_EQUAL(go_on(session, NULL, &told, 8, N_TOKENS), NLM_ENDED_BY_CALLBACK);
            CU_ASSERT_EQUAL(told.n, last);
            go_on(session, NULL, &told, 8, N_TOKENS - last);
            expect_same(&told, &text);
            /* what was given up is computed again by those that cannot take it back */
            const bool is_recurrent = strstr(models[m], "mamba") != NULL, is_given_up = (last - 1) % 8 != 0;
            const uint64_t computed = fixture_metrics(session).decode_tokens;
            CU_ASSERT_EQUAL(computed > N_TOKENS, is_recurrent && is_given_up);
            nlm_session_destroy(session);
        }
        fixture_close(&f);
    }
}

/* Where states cannot be taken back the tokens that are there come first. */
static void cancelling_loses_nothing(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        const telling text = text_of(&f, NULL);
        nlm_session *session = begin(&f);
        telling told = {.last = 4, .cancels = session};
        CU_ASSERT_EQUAL(go_on(session, NULL, &told, 8, N_TOKENS), NLM_ENDED_BY_CANCEL);
        CU_ASSERT(told.n >= 4 && told.n <= 9);
        told.last = 0;
        go_on(session, NULL, &told, 8, N_TOKENS - told.n);
        expect_same(&told, &text);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
}

typedef struct text {
    char bytes[1024];
    size_t n;
} text;

static int32_t collect(void *user, const char *bytes, size_t n) {
    text *t = user;
    CU_ASSERT_FATAL(t->n + n < sizeof t->bytes);
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    return 0;
}

/* Generates with a stop string that is in the text, one by one and ahead. */
static void stop_strings_within_are_the_same(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        fixture f = fake_open(models[m], &three, "fake_stream", NULL);
        text whole = {.n = 0};
        telling told[3] = {{.n = 0}, {.n = 0}, {.n = 0}};
        nlm_session *session = begin(&f);
        nlm_generate_options options = options_of(&told[0], 0, N_TOKENS);
        EXPECT_OK(nlm_session_generate(session, NULL, &options, collect, &whole, NULL, error));
        nlm_session_destroy(session);
        CU_ASSERT_FATAL(whole.n > 8);
        const char stop[] = {whole.bytes[whole.n / 2], whole.bytes[whole.n / 2 + 1], 0};
        const char *const stops[] = {stop};
        nlm_session *sessions[2] = {begin(&f), begin(&f)};
        text cut[2] = {{.n = 0}, {.n = 0}};
        for (int i = 0; i < 2; i++) {
            options = options_of(&told[1 + i], i ? 8 : 0, N_TOKENS);
            options.stops = stops;
            options.n_stops = stop[0] != 0 && stop[1] != 0;
            EXPECT_OK(nlm_session_generate(sessions[i], NULL, &options, collect, &cut[i], NULL, error));
        }
        CU_ASSERT_EQUAL(cut[0].n, cut[1].n);
        CU_ASSERT_EQUAL(memcmp(cut[0].bytes, cut[1].bytes, cut[0].n), 0);
        expect_same(&told[2], &told[1]);
        expect_same_state(sessions[0], sessions[1], f.n_vocab);
        nlm_session_destroy(sessions[0]);
        nlm_session_destroy(sessions[1]);
        fixture_close(&f);
    }
}

static void a_full_context_ends_it(void) {
    for (size_t m = 0; m < N_MODELS; m++) {
        const nlm_model_options small = {.struct_size = sizeof small, .context_length = 32, .parallel = 2};
        fixture f = fake_open(models[m], &small, "fake_stream", NULL);
        telling told[2] = {{.n = 0}, {.n = 0}};
        nlm_session *sessions[2] = {begin(&f), begin(&f)};
        for (int i = 0; i < 2; i++) {
            CU_ASSERT_EQUAL(go_on(sessions[i], NULL, &told[i], i ? 10 : 0, 0), NLM_ENDED_BY_CONTEXT);
        }
        expect_same(&told[1], &told[0]);
        nlm_session_destroy(sessions[0]);
        nlm_session_destroy(sessions[1]);
        fixture_close(&f);
    }
}

/* A device that cannot: the tokens are the same, and only what is new is said. */
static void devices_that_cannot_go_one_by_one(void) {
    static const char *const lacks[][3] = {{"refuse", "advance"}, {"refuse", "sample argmax"},
                                           {"refuse", "rope"},    {"without", "capture"},
                                           {"parts", "3"},        {"shared", "1"}};
    fixture whole = fake_open(models[0], NULL, "fake_stream", NULL);
    nlm_sampler *sampler = sampler_of(&whole, &ways[1]);
    const telling expected = text_of(&whole, sampler);
    nlm_sampler_destroy(sampler);
    fixture_close(&whole);
    for (size_t i = 0; i < sizeof lacks / sizeof *lacks; i++) {
        fake_listen();
        fixture f = fake_open(models[0], NULL, "fake_stream", lacks[i]);
        telling told = {0};
        nlm_session *session = begin(&f);
        sampler = sampler_of(&f, &ways[1]);
        go_on(session, sampler, &told, 8, N_TOKENS);
        expect_same(&told, &expected);
        nlm_sampler_destroy(sampler);
        nlm_session_destroy(session);
        fixture_close(&f);
        CU_ASSERT_EQUAL(fake_said.n_errors, 0);
    }
}

/* The embedding of a token that the text has is no number: what follows it is none. */
static void logits_that_are_no_numbers_tell_the_same(void) {
    static const struct {
        const char *name;
        size_t n_embd;
    } untied[] = {{"llama-gqa-f32", 36}, {"mamba-f32", 26}};
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t m = 0; m < sizeof untied / sizeof *untied; m++) {
        fixture f = fake_open(untied[m].name, NULL, "fake_stream", NULL);
        const telling text = text_of(&f, NULL);
        fixture_close(&f);
        const char *path = temporary_path(&t, "damaged.gguf");
        nlm_error told_of[2] = {NLM_ERROR_INIT, NLM_ERROR_INIT};
        telling told[2] = {{.n = 0}, {.n = 0}};
        for (int i = 0; i < 2; i++) {
            f = fake_open(untied[m].name, NULL, "fake_stream", NULL);
            nlm_model_unload(f.model);
            damaged_model_write(untied[m].name, "token_embd.weight", (size_t)text.ids[5] * untied[m].n_embd, path);
            EXPECT_OK(nlm_model_load(f.engine, path, NULL, &f.model, error));
            nlm_session *session = begin(&f);
            const nlm_generate_options options = options_of(&told[i], i ? 8 : 0, N_TOKENS);
            CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, &options, NULL, NULL, NULL, &told_of[i]),
                            NLM_NUMERIC);
            size_t n = 0;
            nlm_session_tokens(session, &n);
            CU_ASSERT_EQUAL(n, N_PROMPT + told[i].n);
            nlm_session_destroy(session);
            fixture_close(&f);
        }
        CU_ASSERT(told[0].n > 0 && told[0].n <= 6);
        expect_same(&told[1], &told[0]);
        CU_ASSERT_STRING_EQUAL(told_of[0].msg, told_of[1].msg);
        CU_ASSERT_PTR_NOT_NULL(strstr(told_of[0].msg, "nan"));
    }
    temporary_remove(&t);
}

/* All pages are held by a session and by the prompt cache, whose prompt is still there afterwards. */
static void cached_prompts_stay(void) {
    enum { N_CACHED = 97, N_OTHER = 129 }; /* four pages, of which three are cached, and five: all eight */
    const nlm_model_options options = {
        .struct_size = sizeof options, .parallel = 1, .context_length = 256, .prompt_cache_bytes = 1ull << 30};
    int32_t ids[N_OTHER];
    fake_listen();
    fixture f = fake_open("llama-gqa-f32", &options, "fake_stream", NULL);
    telling t = {.last = 3};
    for (int i = 0; i < 3; i++) {
        nlm_session *session = fixture_session(&f);
        fixture_ids(&f, i == 1 ? 2 : 1, ids, N_OTHER);
        fixture_extend(session, ids, i == 1 ? N_OTHER : N_CACHED);
        if (i == 1) CU_ASSERT_EQUAL(go_on(session, NULL, &t, MOST, MOST), NLM_ENDED_BY_CALLBACK);
        CU_ASSERT_EQUAL(fixture_metrics(session).cached_tokens, i == 2 ? N_CACHED - 1 : 0);
        nlm_session_destroy(session);
    }
    fixture_close(&f);
    CU_ASSERT_EQUAL(fake_said.n_errors + fake_said.n_warnings, 0);
}

static const check_case cases[] = {
    CHECK_CASE(any_choice_is_the_same),
    CHECK_CASE(an_end_within_is_the_same),
    CHECK_CASE(a_step_behind_an_end_has_logits),
    CHECK_CASE(a_callback_ends_within),
    CHECK_CASE(cancelling_loses_nothing),
    CHECK_CASE(stop_strings_within_are_the_same),
    CHECK_CASE(a_full_context_ends_it),
    CHECK_CASE(cached_prompts_stay),
    CHECK_CASE(logits_that_are_no_numbers_tell_the_same),
    CHECK_CASE(devices_that_cannot_go_one_by_one),
};
CHECK_MAIN("ahead", cases)
