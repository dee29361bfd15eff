/* Generation: what ends it, what it gives out, and that a seed gives one text. */
#include "session_fixture.h"
#include "temporary.h"

typedef struct sink {
    char text[8192];
    size_t length;
    int n_calls, stop_at; /* stop_at: the call that ends the generation, 0: none */
} sink;

static int32_t collect(void *user, const char *text, size_t length) {
    sink *s = user;
    if (s->length + length < sizeof s->text) memcpy(s->text + s->length, text, length);
    s->length += length;
    s->n_calls++;
    return s->n_calls == s->stop_at;
}

static nlm_generate_result generate(nlm_session *session, nlm_sampler *sampler, uint64_t max_tokens,
                                    const char *const *stops, size_t n_stops, sink *out) {
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = NLM_GENERATE_IGNORE_END,
                                          .max_tokens = max_tokens,
                                          .stops = stops,
                                          .n_stops = n_stops};
    nlm_generate_result result = {.struct_size = sizeof result};
    out->length = 0;
    out->n_calls = 0;
    EXPECT_OK(nlm_session_generate(session, sampler, &options, collect, out, &result, error));
    CU_ASSERT_EQUAL(result.n_bytes, out->length);
    return result;
}

static nlm_sampler *make_sampler(const fixture *f, uint64_t seed) {
    const nlm_sampler_options options = {
        .struct_size = sizeof options, .temperature = 30, .top_p = 0.95f, .repeat_penalty = 1.1f, .seed = seed};
    nlm_sampler *sampler = NULL;
    EXPECT_OK(nlm_sampler_create(f->model, &options, &sampler, error));
    return sampler;
}

static void start(const fixture *f, nlm_session *session) {
    int32_t ids[10];
    fixture_ids(f, 3, ids, 10);
    EXPECT_OK(nlm_session_reset(session, error));
    fixture_extend(session, ids, 10);
}

static void seed_gives_one_text_for_any_number_of_threads(void) {
    sink first, other;
    memset(&first, 0, sizeof first);
    memset(&other, 0, sizeof other);
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            fixture f = fixture_open(fixture_models[i], NULL, threads);
            nlm_session *session = fixture_session(&f);
            nlm_sampler *sampler = make_sampler(&f, 42), *another = make_sampler(&f, 43);
            start(&f, session);
            generate(session, sampler, 100, NULL, 0, threads == 1 ? &first : &other);
            if (threads > 1) {
                CU_ASSERT_EQUAL(first.length, other.length);
                CU_ASSERT_EQUAL(memcmp(first.text, other.text, first.length), 0);
            }
            start(&f, session);
            generate(session, another, 100, NULL, 0, &other);
            CU_ASSERT(first.length != other.length || memcmp(first.text, other.text, first.length) != 0);
            nlm_sampler_destroy(sampler);
            nlm_sampler_destroy(another);
            nlm_session_destroy(session);
            fixture_close(&f);
        }
    }
}

/* In one go, in pieces, and across a file: a draw depends on the seed and the position alone. */
static void generation_in_pieces_gives_the_text_of_one(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fixture f = fixture_open(fixture_models[i], NULL, 2);
        nlm_session *session = fixture_session(&f);
        nlm_sampler *sampler = make_sampler(&f, 7);
        sink text = {0};
        size_t count, again;
        int32_t whole[256];
        start(&f, session);
        generate(session, sampler, 90, NULL, 0, &text);
        memcpy(whole, nlm_session_tokens(session, &count), 100 * sizeof *whole);
        CU_ASSERT_EQUAL(count, 100);
        start(&f, session);
        for (uint64_t n = 1; n <= 12; n++) generate(session, sampler, n, NULL, 0, &text);
        EXPECT_OK(nlm_session_save(session, temporary_path(&t, "s"), error));
        EXPECT_OK(nlm_session_reset(session, error));
        EXPECT_OK(nlm_session_restore(session, temporary_path(&t, "s"), error));
        generate(session, sampler, 12, NULL, 0, &text);
        CU_ASSERT_EQUAL(memcmp(whole, nlm_session_tokens(session, &again), sizeof *whole * count), 0);
        CU_ASSERT_EQUAL(again, count);
        nlm_sampler_destroy(sampler);
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

/* Stop strings are taken from the text that comes without them. */
static void stop_string_ends_the_text_before_it(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 2);
    nlm_session *session = fixture_session(&f);
    nlm_sampler *sampler = make_sampler(&f, 11);
    sink all = {0}, cut = {0};
    start(&f, session);
    generate(session, sampler, 100, NULL, 0, &all);
    CU_ASSERT_FATAL(all.length > 100 && all.length < sizeof all.text);
    int n_tried = 0;
    for (size_t at = 5; n_tried < 5 && at + 9 < all.length; at += 11) {
        char stop[10];
        memcpy(stop, all.text + at, 9);
        stop[9] = '\0';
        if (strlen(stop) < 9) continue;
        n_tried++;
        const char *first = memmem(all.text, all.length, stop, 9), *stops[] = {"@@never@@", stop};
        start(&f, session);
        const nlm_generate_result r = generate(session, sampler, 100, stops, 2, &cut);
        CU_ASSERT(r.ended_by == NLM_ENDED_BY_STOP && r.stop_index == 1);
        CU_ASSERT_EQUAL(cut.length, (size_t)(first - all.text));
        CU_ASSERT_EQUAL(memcmp(cut.text, all.text, cut.length), 0);
    }
    CU_ASSERT_EQUAL(n_tried, 5);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static void generation_ends_where_it_is_told_to(void) {
    fixture f = fixture_open("mamba-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    sink out = {0};
    start(&f, session);
    CU_ASSERT_EQUAL(generate(session, NULL, 5, NULL, 0, &out).ended_by, NLM_ENDED_BY_TOKENS);
    out.stop_at = 3;
    CU_ASSERT_EQUAL(generate(session, NULL, 50, NULL, 0, &out).ended_by, NLM_ENDED_BY_CALLBACK);
    CU_ASSERT_EQUAL(out.n_calls, 3);
    out.stop_at = 0;
    CU_ASSERT_EQUAL(generate(session, NULL, 0, NULL, 0, &out).ended_by, NLM_ENDED_BY_CONTEXT);
    size_t count = 0;
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, 256);
    CU_ASSERT_EQUAL(generate(session, NULL, 5, NULL, 0, &out).n_tokens, 0);
    EXPECT_OK(nlm_session_reset(session, error));
    CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, NULL, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* Greedy ids of generate are those of stepping by hand. */
static void generation_takes_the_tokens_that_sampling_gives(void) {
    fixture f = fixture_open("llama-window-bf16",
                             &(nlm_model_options){.struct_size = sizeof(nlm_model_options), .parallel = 2}, 1);
    nlm_session *one = fixture_session(&f), *two = fixture_session(&f);
    nlm_sampler *sampler = make_sampler(&f, 99);
    sink out = {0};
    start(&f, one);
    start(&f, two);
    generate(one, sampler, 30, NULL, 0, &out);
    for (int i = 0; i < 30; i++) {
        int32_t id = -1;
        EXPECT_OK(nlm_session_sample(two, sampler, &id, error));
        EXPECT_OK(nlm_session_extend(two, &id, 1, error));
    }
    size_t n_one, n_two;
    const int32_t *a = nlm_session_tokens(one, &n_one), *b = nlm_session_tokens(two, &n_two);
    CU_ASSERT(n_one == n_two && memcmp(a, b, n_one * sizeof *a) == 0);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(one);
    nlm_session_destroy(two);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(seed_gives_one_text_for_any_number_of_threads),
    CHECK_CASE(generation_in_pieces_gives_the_text_of_one),
    CHECK_CASE(stop_string_ends_the_text_before_it),
    CHECK_CASE(generation_ends_where_it_is_told_to),
    CHECK_CASE(generation_takes_the_tokens_that_sampling_gives),
};
CHECK_MAIN("generate", cases)
