/* The text of a generation that is made in several calls: what a session holds back between them, and what of
 * control tokens is text. */
#include "session_fixture.h"
#include "temporary.h"

#define N_TOKENS 100

typedef struct sink {
    char text[8192]; /* of all calls, terminated */
    size_t length;
} sink;

static int32_t collect(void *user, const char *text, size_t length) {
    sink *s = user;
    CU_ASSERT_FATAL(s->length + length < sizeof s->text);
    memcpy(s->text + s->length, text, length);
    s->length += length;
    s->text[s->length] = '\0';
    return 0;
}

static int32_t refuse(void *user, const char *text, size_t length) {
    collect(user, text, length);
    return 1;
}

/* A random text of mostly single bytes, which end inside characters, and its session. */
typedef struct texts {
    fixture f;
    nlm_session *session;
    nlm_sampler *sampler;
} texts;

static void start(texts *t) {
    int32_t ids[10];
    fixture_ids(&t->f, 3, ids, 10);
    EXPECT_OK(nlm_session_reset(t->session, error));
    fixture_extend(t->session, ids, 10);
}

static texts texts_open(const char *path) {
    const nlm_model_options model_options = {.struct_size = sizeof model_options, .parallel = 2};
    const nlm_sampler_options options = {.struct_size = sizeof options, .temperature = 30, .seed = 5};
    texts t = {.f = fixture_open(path, &model_options, 1)};
    t.session = fixture_session(&t.f);
    EXPECT_OK(nlm_sampler_create(t.f.model, &options, &t.sampler, error));
    start(&t);
    return t;
}

static void texts_close(texts *t) {
    nlm_sampler_destroy(t->sampler);
    nlm_session_destroy(t->session);
    fixture_close(&t->f);
}

static nlm_generate_options with_stop(const char *const *stop, uint64_t max_tokens) {
    return (nlm_generate_options){.struct_size = sizeof(nlm_generate_options),
                                  .flags = NLM_GENERATE_IGNORE_END,
                                  .max_tokens = max_tokens,
                                  .stops = stop,
                                  .n_stops = stop ? 1 : 0};
}

/* Appends what comes to *out. */
static nlm_generate_result generate(texts *t, const nlm_generate_options *options, sink *out) {
    nlm_generate_result result = {.struct_size = sizeof result};
    const size_t before = out->length;
    EXPECT_OK(nlm_session_generate(t->session, t->sampler, options, collect, out, &result, error));
    CU_ASSERT_EQUAL(result.n_bytes, out->length - before);
    return result;
}

/* Goes on with what a fork or a file holds, every now and then. */
static void move(texts *t, uint64_t n_calls, const char *path) {
    nlm_session *copy = NULL;
    if (n_calls % 3 == 1) {
        EXPECT_OK(nlm_session_fork(t->session, &copy, error));
        nlm_session_destroy(t->session);
        t->session = copy;
    } else if (n_calls % 3 == 2) {
        EXPECT_OK(nlm_session_save(t->session, path, error));
        start(t);
        EXPECT_OK(nlm_session_restore(t->session, path, error));
    }
}

/* The text of N_TOKENS tokens, `step` a call. Returns what ended it; *out_held counts the calls that held text. */
static int32_t in_steps(texts *t, const char *const *stop, uint64_t step, const char *path, sink *out,
                        int *out_held) {
    int32_t ended_by = NLM_ENDED_BY_TOKENS;
    out->length = 0;
    start(t);
    for (uint64_t n = 0; n < N_TOKENS && ended_by == NLM_ENDED_BY_TOKENS; n += step) {
        const nlm_generate_options options = with_stop(stop, n + step < N_TOKENS ? step : N_TOKENS - n);
        const nlm_generate_result result = generate(t, &options, out);
        ended_by = result.ended_by;
        *out_held += result.n_held > 0;
        if (step < N_TOKENS) move(t, n / step, path);
    }
    EXPECT_OK(nlm_session_flush_text(t->session, collect, out, error));
    return ended_by;
}

static void check_steps(texts *t, const char *const *stop, int32_t ended_by, const char *path) {
    static const uint64_t steps[] = {1, 2, 7};
    sink whole, parts;
    int held = 0;
    CU_ASSERT_EQUAL(in_steps(t, stop, N_TOKENS, path, &whole, &held), ended_by);
    held = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        CU_ASSERT_EQUAL(in_steps(t, stop, steps[i], path, &parts, &held), ended_by);
        CU_ASSERT_EQUAL(parts.length, whole.length);
        CU_ASSERT_EQUAL(memcmp(parts.text, whole.text, whole.length), 0);
    }
    CU_ASSERT(held > 0);
}

static void text_of_many_calls_is_that_of_one(void) {
    static const char *const models[] = {"llama-gqa-f32", "mamba-f32"};
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    char path[512];
    snprintf(path, sizeof path, "%s", temporary_path(&folder, "s"));
    for (size_t i = 0; i < 2; i++) {
        texts t = texts_open(models[i]);
        sink whole;
        int held = 0;
        in_steps(&t, NULL, N_TOKENS, path, &whole, &held);
        check_steps(&t, NULL, NLM_ENDED_BY_TOKENS, path);
        for (size_t at = 20; at + 9 < whole.length && at < 60; at += 8) {
            char text[10] = {0};
            const char *stop = text;
            memcpy(text, whole.text + at, 9);
            if (strlen(text) == 9) check_steps(&t, &stop, NLM_ENDED_BY_STOP, path);
            text[8] ^= 1; /* nearly comes */
            if (strlen(text) == 9) check_steps(&t, &stop, NLM_ENDED_BY_TOKENS, path);
        }
        texts_close(&t);
    }
    temporary_remove(&folder);
}

/* Generates until exactly the last three bytes that came are held back: they begin *stop. */
static void hold_three(texts *t, char stop[8]) {
    sink all = {0}, out = {0};
    const nlm_generate_options options = with_stop(NULL, 40);
    start(t);
    generate(t, &options, &all);
    CU_ASSERT_FATAL(all.length > 3);
    snprintf(stop, 8, "%.3s~~~", all.text + all.length - 3);
    const nlm_generate_options stopped = with_stop((const char *[]){stop}, 40);
    start(t);
    CU_ASSERT_EQUAL(generate(t, &stopped, &out).n_held, 3);
    CU_ASSERT_EQUAL(out.length, all.length - 3);
}

static size_t flushed(texts *t) {
    sink out = {0};
    EXPECT_OK(nlm_session_flush_text(t->session, collect, &out, error));
    return out.length;
}

static void held_text_is_given_out_or_forgotten(void) {
    texts t = texts_open("llama-mqa-f32");
    char stop[8], path[512];
    const int32_t id = 5;
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    snprintf(path, sizeof path, "%s", temporary_path(&folder, "s"));
    EXPECT_OK(nlm_session_save(t.session, path, error));
    hold_three(&t, stop);
    CU_ASSERT_EQUAL(flushed(&t), 3);
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    EXPECT_OK(nlm_session_flush_text(t.session, NULL, NULL, error));
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    fixture_extend(t.session, &id, 1);
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    EXPECT_OK(nlm_sessions_decode(&t.session, &id, 1, error));
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    nlm_step_item item = {.struct_size = sizeof item, .session = t.session, .ids = &id, .count = 1};
    EXPECT_OK(nlm_step(&item, 1, error));
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    EXPECT_OK(nlm_session_restore(t.session, path, error));
    CU_ASSERT_EQUAL(flushed(&t), 0);
    hold_three(&t, stop);
    start(&t);
    CU_ASSERT_EQUAL(flushed(&t), 0);
    temporary_remove(&folder);
    texts_close(&t);
}

static void next_call_looks_for_its_own_stops_in_held_text(void) {
    texts t = texts_open("llama-mqa-f32");
    char stop[8];
    sink out = {0};
    hold_three(&t, stop);
    nlm_generate_options options = with_stop(NULL, 1);
    generate(&t, &options, &out);
    CU_ASSERT(out.length >= 3 && memcmp(out.text, stop, 3) == 0);
    hold_three(&t, stop);
    options = with_stop((const char *[]){stop + 1}, 1);
    stop[3] = '\0';
    out.length = 0;
    const nlm_generate_result result = generate(&t, &options, &out);
    CU_ASSERT_EQUAL(result.ended_by, NLM_ENDED_BY_STOP);
    CU_ASSERT(result.n_tokens == 0 && result.n_held == 0 && out.length == 1);
    texts_close(&t);
}

/* The callback ends a call before a stop string that is there already: the next one finds it. */
static void stop_behind_the_callbacks_end_is_found_next(void) {
    texts t = texts_open("llama-mqa-f32");
    char stop[8];
    sink out = {0};
    hold_three(&t, stop);
    stop[3] = '\0';
    const nlm_generate_options options = with_stop((const char *[]){stop + 1}, 1);
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_generate(t.session, t.sampler, &options, refuse, &out, &result, error));
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_CALLBACK && result.stop_index == -1 && result.n_held == 2);
    CU_ASSERT_EQUAL(generate(&t, &options, &out).ended_by, NLM_ENDED_BY_STOP);
    CU_ASSERT_EQUAL(out.length, 1);
    texts_close(&t);
}

/* ---- control tokens ---- */

/* A copy of a model whose token `id` is a control token; of as many tokens, so that the same ones come. */
static void write_with_control(const char *path, int32_t id) {
    static const char key[] = "tokenizer.ggml.token_type";
    FILE *in = fopen(NLM_TEST_DATA "/models/llama-gqa-f32.gguf", "rb"), *out = fopen(path, "wb");
    CU_ASSERT_FATAL(in && out);
    static char bytes[1 << 18];
    const size_t size = fread(bytes, 1, sizeof bytes, in);
    char *at = memmem(bytes, size, key, sizeof key - 1);
    CU_ASSERT_FATAL(at && size < sizeof bytes);
    at[sizeof key - 1 + 16 + 4 * (size_t)id] = 3; /* behind two types and the count */
    CU_ASSERT_EQUAL(fwrite(bytes, 1, size, out), size);
    fclose(in);
    CU_ASSERT_EQUAL(fclose(out), 0);
}

/* A byte token that comes after at least 20 others, and only then. */
static int32_t choose_token(size_t *out_position) {
    texts t = texts_open("llama-gqa-f32");
    sink out = {0};
    const nlm_generate_options options = with_stop(NULL, N_TOKENS);
    generate(&t, &options, &out);
    size_t count, first = 0;
    const int32_t *ids = nlm_session_tokens(t.session, &count);
    int32_t chosen = -1;
    for (size_t i = 30; i < count && chosen < 0; i++) {
        for (first = 10; ids[first] != ids[i]; first++) continue;
        if (first == i && ids[i] >= 3 && ids[i] < 259) chosen = ids[i];
    }
    CU_ASSERT_FATAL(chosen >= 0);
    *out_position = first - 10;
    texts_close(&t);
    return chosen;
}

static void control_tokens_stop_and_are_shown_as_told(void) {
    size_t position;
    const int32_t id = choose_token(&position);
    char path[512], text[8];
    snprintf(text, sizeof text, "<0x%02X>", (unsigned)(id - 3) & 0xff);
    temporary folder;
    CU_ASSERT_FATAL(temporary_make(&folder));
    snprintf(path, sizeof path, "%s", temporary_path(&folder, "m"));
    write_with_control(path, id);
    texts t = texts_open(path);
    sink out = {0};

    nlm_generate_options options = with_stop((const char *[]){text}, N_TOKENS);
    nlm_generate_result result = generate(&t, &options, &out);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_STOP && result.stop_index == 0 && result.n_tokens == position + 1);
    CU_ASSERT_PTR_NULL(strstr(out.text, text));

    start(&t);
    options = with_stop((const char *[]){"0x"}, N_TOKENS);
    CU_ASSERT_EQUAL(generate(&t, &options, &out).ended_by, NLM_ENDED_BY_TOKENS);
    options.flags |= NLM_GENERATE_SPECIAL;
    start(&t);
    result = generate(&t, &options, &out);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_STOP && result.n_tokens == position + 1);

    start(&t);
    options = with_stop(NULL, position + 1);
    out.length = 0;
    generate(&t, &options, &out);
    CU_ASSERT_PTR_NULL(memmem(out.text, out.length, text, 6));
    start(&t);
    options.flags |= NLM_GENERATE_SPECIAL;
    generate(&t, &options, &out);
    CU_ASSERT_EQUAL(memcmp(out.text + out.length - 6, text, 6), 0);
    texts_close(&t);
    temporary_remove(&folder);
}

static void stop_ids_end_as_the_models_own_do(void) {
    size_t position, count;
    const int32_t ids[] = {0, choose_token(&position)}, outside[] = {3, 1 << 20};
    texts t = texts_open("llama-gqa-f32");
    sink out = {0};
    nlm_generate_options options = with_stop(NULL, N_TOKENS);
    options.stop_ids = ids + 1;
    options.n_stop_ids = 1;
    const nlm_generate_result result = generate(&t, &options, &out);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_STOP_ID && result.stop_index == 0);
    CU_ASSERT_EQUAL(result.n_tokens, position + 1);
    nlm_session_tokens(t.session, &count);
    CU_ASSERT_EQUAL(count, 10 + position);
    options.stop_ids = outside;
    options.n_stop_ids = 2;
    CU_ASSERT_EQUAL(nlm_session_generate(t.session, NULL, &options, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    options = with_stop(NULL, 1);
    options.flags = 1u << 31;
    CU_ASSERT_EQUAL(nlm_session_generate(t.session, NULL, &options, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    texts_close(&t);
}

static const check_case cases[] = {
    CHECK_CASE(text_of_many_calls_is_that_of_one),
    CHECK_CASE(held_text_is_given_out_or_forgotten),
    CHECK_CASE(next_call_looks_for_its_own_stops_in_held_text),
    CHECK_CASE(stop_behind_the_callbacks_end_is_found_next),
    CHECK_CASE(control_tokens_stop_and_are_shown_as_told),
    CHECK_CASE(stop_ids_end_as_the_models_own_do),
};
CHECK_MAIN("generate_text", cases)
