/* Samplers in sessions: mirostat's state, repetitions in the text of tokens, biases. */
#include <math.h>
#include <stdbool.h>

#include "session_fixture.h"
#include "temporary.h"

#define N 40

static nlm_sampler *sampler_for(const fixture *f, nlm_sampler_options options) {
    nlm_sampler *sampler = NULL;
    options.struct_size = sizeof options;
    EXPECT_OK(nlm_sampler_create(f->model, &options, &sampler, error));
    return sampler;
}

static const nlm_sampler_options mirostat = {.temperature = 1.2f, .seed = 9, .mirostat_tau = 3, .mirostat_eta = 0.3f};

static void start(const fixture *f, nlm_session *session) {
    int32_t ids[5];
    fixture_ids(f, 6, ids, 5);
    EXPECT_OK(nlm_session_reset(session, error));
    fixture_extend(session, ids, 5);
}

static void generate(nlm_session *session, nlm_sampler *sampler, uint64_t n) {
    const nlm_generate_options options = {
        .struct_size = sizeof options, .flags = NLM_GENERATE_IGNORE_END, .max_tokens = n};
    EXPECT_OK(nlm_session_generate(session, sampler, &options, NULL, NULL, NULL, error));
}

static bool holds(const nlm_session *session, const int32_t *expected, size_t n) {
    size_t count;
    const int32_t *ids = nlm_session_tokens(session, &count);
    return count == n && memcmp(ids, expected, n * sizeof *ids) == 0;
}

/* The whole text at once, in pieces with another session between them, by picks and by steps; and a choice that is
 * made again gives the same. */
static void mirostat_belongs_to_the_session(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 3};
    fixture f = fixture_open("llama-gqa-f32", &options, 2);
    nlm_session *a = fixture_session(&f), *b = fixture_session(&f);
    nlm_sampler *sampler = sampler_for(&f, mirostat);
    int32_t whole[5 + N];
    size_t count;
    start(&f, a);
    generate(a, sampler, N);
    memcpy(whole, nlm_session_tokens(a, &count), sizeof whole);
    CU_ASSERT_EQUAL_FATAL(count, 5 + N);
    start(&f, a);
    start(&f, b);
    EXPECT_OK(nlm_session_extend(b, whole, 3, error));
    double mu = 0;
    for (size_t i = 0; i < N; i++) {
        const float *logits;
        int32_t picked = -1, first = -1, again = -1, other;
        const nlm_pick_options pick = {.struct_size = sizeof pick, .mirostat_mu = &mu};
        EXPECT_OK(nlm_session_sample(b, sampler, &other, error));
        EXPECT_OK(nlm_session_logits(a, &logits, error));
        EXPECT_OK(nlm_sampler_pick_with(sampler, logits, (size_t)f.n_vocab, whole, 5 + i, &pick, &picked, error));
        EXPECT_OK(nlm_session_sample(a, sampler, &first, error));
        EXPECT_OK(nlm_session_sample(a, sampler, &again, error));
        CU_ASSERT(picked == whole[5 + i] && first == picked && again == picked && mu != 0);
        EXPECT_OK(nlm_session_extend(a, &first, 1, error));
        EXPECT_OK(nlm_session_extend(b, &other, 1, error));
    }
    CU_ASSERT(holds(a, whole, 5 + N));
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(a);
    nlm_session_destroy(b);
    fixture_close(&f);
}

/* A fork, a file and memory go on as the session does; after a reset the text begins anew. */
static void mirostat_goes_into_forks_and_files(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2};
    fixture f = fixture_open("mamba-f32", &options, 1);
    nlm_session *session = fixture_session(&f), *fork = NULL;
    nlm_sampler *sampler = sampler_for(&f, mirostat);
    temporary t;
    int32_t whole[5 + N];
    size_t count, size = 0;
    CU_ASSERT_FATAL(temporary_make(&t));
    start(&f, session);
    generate(session, sampler, N);
    memcpy(whole, nlm_session_tokens(session, &count), sizeof whole);
    start(&f, session);
    generate(session, sampler, N / 2);
    EXPECT_OK(nlm_session_fork(session, &fork, error));
    EXPECT_OK(nlm_session_save(session, temporary_path(&t, "s"), error));
    EXPECT_OK(nlm_session_save_memory(session, NULL, 0, &size, error));
    void *memory = malloc(size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    EXPECT_OK(nlm_session_save_memory(session, memory, size, &size, error));
    generate(fork, sampler, N - N / 2);
    CU_ASSERT(holds(fork, whole, 5 + N));
    EXPECT_OK(nlm_session_restore(fork, temporary_path(&t, "s"), error));
    generate(fork, sampler, N - N / 2);
    CU_ASSERT(holds(fork, whole, 5 + N));
    EXPECT_OK(nlm_session_restore_memory(fork, memory, size, error));
    generate(fork, sampler, N - N / 2);
    CU_ASSERT(holds(fork, whole, 5 + N));
    start(&f, fork);
    generate(fork, sampler, N);
    CU_ASSERT(holds(fork, whole, 5 + N));
    free(memory);
    temporary_remove(&t);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(fork);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- repetitions in texts ---- */

static int32_t id_of(const fixture *f, const char *text) {
    int32_t ids[8];
    size_t n = 0;
    EXPECT_OK(nlm_encode(f->model, text, strlen(text), 0, ids, 8, &n, error));
    return ids[n - 1];
}

/* The token whose text is exactly this. */
static int32_t piece_of(const fixture *f, const char *wanted) {
    for (int32_t id = 0; id < f->n_vocab; id++) {
        const char *text;
        size_t length;
        if (nlm_token_text(f->model, id, 0, &text, &length, NULL) != NLM_OK) continue;
        if (length == strlen(wanted) && memcmp(text, wanted, length) == 0) return id;
    }
    CU_FAIL_FATAL("no such token");
    return -1;
}

/* Logits that are all the same but for a likely one: is it still the greatest? */
static bool is_taken(const fixture *f, nlm_sampler *sampler, const int32_t *history, size_t n, int32_t id) {
    static float logits[1024];
    int32_t next = -1;
    for (int32_t i = 0; i < f->n_vocab; i++) logits[i] = (float)(i == id);
    EXPECT_OK(nlm_sampler_pick(sampler, logits, (size_t)f->n_vocab, history, n, &next, error));
    return next == id;
}

static void breakers_end_repetitions(void) {
    fixture f = fixture_open("stories260K-q8_0", NULL, 1);
    const int32_t a = id_of(&f, "a"), b = id_of(&f, "b"), c = id_of(&f, "c"), line = id_of(&f, "x\n");
    const int32_t plain[] = {a, b, c, a, b}, broken[] = {a, line, c, a, line}, before[] = {b, line, a, c, b, line, a};
    static const char *const letters[] = {"zzz", "b"}, *const none[] = {"zzz"}, *const empty[] = {""};
    const nlm_sampler_options on = {.dry_multiplier = 2}, one = {.dry_multiplier = 2, .dry_allowed_length = 1};
    nlm_sampler_options own = on, other = on, wrong = on;
    own.dry_breakers = letters;
    own.n_dry_breakers = 2;
    other.dry_breakers = none;
    other.n_dry_breakers = 1;
    nlm_sampler *usual = sampler_for(&f, on), *with_own = sampler_for(&f, own), *without = sampler_for(&f, other);
    nlm_sampler *short_ones = sampler_for(&f, one);
    CU_ASSERT_FALSE(is_taken(&f, usual, plain, 5, c));
    CU_ASSERT_TRUE(is_taken(&f, usual, plain, 5, a));
    CU_ASSERT_TRUE(is_taken(&f, usual, broken, 5, c)); /* the last is a breaker */
    CU_ASSERT_FALSE(is_taken(&f, without, broken, 5, c));
    CU_ASSERT_TRUE(is_taken(&f, usual, before, 7, c)); /* one token alone stands behind it */
    CU_ASSERT_FALSE(is_taken(&f, without, before, 7, c));
    CU_ASSERT_FALSE(is_taken(&f, short_ones, before, 7, c));
    CU_ASSERT_TRUE(is_taken(&f, with_own, plain, 5, c));
    wrong.dry_breakers = empty;
    wrong.n_dry_breakers = 1;
    wrong.struct_size = sizeof wrong;
    nlm_sampler *refused = NULL;
    CU_ASSERT_EQUAL(nlm_sampler_create(f.model, &wrong, &refused, NULL), NLM_INVALID_ARGUMENT);
    wrong.dry_breakers = NULL;
    CU_ASSERT_EQUAL(nlm_sampler_create(f.model, &wrong, &refused, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(refused);
    nlm_sampler_destroy(short_ones);
    nlm_sampler_destroy(usual);
    nlm_sampler_destroy(with_own);
    nlm_sampler_destroy(without);
    fixture_close(&f);
}

/* A breaker that several tokens spell, with all of their texts or with parts of the first and the last. */
static void breakers_of_several_tokens_end_repetitions(void) {
    static const struct {
        const char *breaker, *spelled; /* tokens with '|' between */
        bool ends;
    } table[] = {{"ab", "a|b", true},           {"ab", "b|a", false},      {"ab", "a", false},
                 {"abc", "a|b|c", true},        {"abc", "a|b|b|c", false}, {"a b", "a| be", true},
                 {"time b", " time| be", true}, {"abc", "b|c", false},     {"e t", " the| time", true},
                 {"e f", " the| time", false}};
    fixture f = fixture_open("stories260K-q8_0", NULL, 1);
    const int32_t x = id_of(&f, "x"), y = id_of(&f, "y"), z = id_of(&f, "z");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        /* x ... y z x ... y: z would go on with a repetition, of y alone where ... ends with the breaker. */
        char spelled[32];
        snprintf(spelled, sizeof spelled, "%s", table[i].spelled);
        const nlm_sampler_options o = {.dry_multiplier = 2, .dry_breakers = &table[i].breaker, .n_dry_breakers = 1};
        nlm_sampler *sampler = sampler_for(&f, o);
        int32_t all[32] = {x};
        size_t n = 1;
        for (char *rest = NULL, *token = strtok_r(spelled, "|", &rest); token; token = strtok_r(NULL, "|", &rest)) {
            all[n++] = piece_of(&f, token);
        }
        all[n] = y;
        all[n + 1] = z;
        memcpy(all + n + 2, all, (n + 1) * sizeof *all);
        const size_t count = 2 * n + 3;
        CU_ASSERT_EQUAL(is_taken(&f, sampler, all, count, z), table[i].ends);
        nlm_sampler_destroy(sampler);
    }
    fixture_close(&f);
}

/* Without a tokenizer there are no texts to look for breakers in. */
static void repetitions_of_ids_need_no_text(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    const int32_t history[] = {1, 2, 3, 1, 2};
    static const char *const letters[] = {"b"};
    nlm_sampler_options o = {.struct_size = sizeof o, .dry_multiplier = 2};
    nlm_sampler *sampler = sampler_for(&f, o), *refused = NULL;
    CU_ASSERT_FALSE(is_taken(&f, sampler, history, 5, 3));
    o.dry_breakers = letters;
    o.n_dry_breakers = 1;
    size_t n;
    const bool has_text = nlm_encode(f.model, "a", 1, 0, NULL, 0, &n, NULL) == NLM_OK;
    CU_ASSERT_EQUAL(nlm_sampler_create(f.model, &o, &refused, NULL), has_text ? NLM_OK : NLM_NOT_FOUND);
    nlm_sampler_destroy(refused);
    nlm_sampler_destroy(sampler);
    fixture_close(&f);
}

/* ---- biases ---- */

static void biases_are_copied_and_reach_generation(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    nlm_logit_bias biases[] = {{7, 1e6f}, {9, 2e6f}, {9, -INFINITY}};
    nlm_sampler *sampler =
        sampler_for(&f, (nlm_sampler_options){.temperature = 0.7f, .biases = biases, .n_biases = 3});
    memset(biases, 0, sizeof biases);
    start(&f, session);
    generate(session, sampler, 4);
    size_t count;
    const int32_t *ids = nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL_FATAL(count, 9);
    for (size_t i = 5; i < 9; i++) CU_ASSERT_EQUAL(ids[i], 7);
    nlm_sampler_destroy(sampler);
    /* greedy too; and when nothing is left it is said */
    nlm_logit_bias *all = calloc((size_t)f.n_vocab, sizeof *all);
    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    for (int32_t i = 0; i < f.n_vocab; i++) all[i] = (nlm_logit_bias){i, -INFINITY};
    sampler = sampler_for(&f, (nlm_sampler_options){.biases = all, .n_biases = (size_t)f.n_vocab - 1});
    int32_t id = -1;
    EXPECT_OK(nlm_session_sample(session, sampler, &id, error));
    CU_ASSERT_EQUAL(id, f.n_vocab - 1);
    nlm_sampler_destroy(sampler);
    sampler = sampler_for(&f, (nlm_sampler_options){.biases = all, .n_biases = (size_t)f.n_vocab});
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_session_sample(session, sampler, &id, &err), NLM_NUMERIC);
    CU_ASSERT(strstr(err.msg, "biases") != NULL);
    nlm_step_item item = {.struct_size = sizeof item, .flags = NLM_STEP_SAMPLE, .session = session};
    item.sampler = sampler;
    CU_ASSERT_EQUAL(nlm_step(&item, 1, &err), NLM_NUMERIC);
    CU_ASSERT_EQUAL(item.next, -1);
    free(all);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(mirostat_belongs_to_the_session), CHECK_CASE(mirostat_goes_into_forks_and_files),
    CHECK_CASE(breakers_end_repetitions),        CHECK_CASE(breakers_of_several_tokens_end_repetitions),
    CHECK_CASE(repetitions_of_ids_need_no_text), CHECK_CASE(biases_are_copied_and_reach_generation),
};
CHECK_MAIN("sampler_session", cases)
