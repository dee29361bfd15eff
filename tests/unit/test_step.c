/* Many sessions in one step: prompts, chunks and single tokens mixed, some of which cannot go on. */
#include "damaged_model.h"
#include "session_fixture.h"
#include "temporary.h"

#define N_SESSIONS 16
#define N_CONTEXT  96

/* What session s of the mix holds before the step, and what the step gives it. */
typedef struct mix_row {
    size_t held, count, n_logits;
    nlm_status expected;
} mix_row;

/* Full sessions, one that nearly is, prompts longer and shorter than a batch, empty sessions, single tokens. */
static const mix_row mix[N_SESSIONS] = {
    {5, 1, 0, NLM_OK},   {0, 70, 0, NLM_OK},           {N_CONTEXT, 1, 0, NLM_LIMIT},
    {17, 1, 1, NLM_OK},  {31, 33, 0, NLM_OK},          {90, 7, 0, NLM_LIMIT},
    {0, 1, 0, NLM_OK},   {64, 1, 0, NLM_OK},           {0, 40, 40, NLM_OK},
    {12, 20, 5, NLM_OK}, {95, 1, 0, NLM_OK},           {0, 96, 0, NLM_OK},
    {33, 1, 0, NLM_OK},  {N_CONTEXT, 3, 0, NLM_LIMIT}, {2, 64, 64, NLM_OK},
    {8, 0, 0, NLM_OK},
};

static void each_model(void (*run)(const fixture *f)) {
    const nlm_model_options options = {
        .struct_size = sizeof options, .context_length = N_CONTEXT, .parallel = N_SESSIONS + 1};
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fixture f = fixture_open(fixture_models[i], &options, 2);
        run(&f);
        fixture_close(&f);
    }
}

static float *rows_for(const fixture *f, size_t n) {
    return calloc(n ? n * (size_t)f->n_vocab : 1, sizeof(float));
}

static void check_against_alone(const fixture *f, nlm_session *session, const int32_t *ids, const mix_row *row,
                                const float *rows) {
    nlm_session *alone = fixture_session(f);
    if (row->held) fixture_extend(alone, ids, row->held);
    const bool goes_on = row->expected == NLM_OK && row->count > 0;
    float *expected = rows_for(f, row->count);
    if (goes_on) EXPECT_OK(nlm_session_extend_logits(alone, ids + row->held, row->count, expected, error));
    CU_ASSERT(fixture_same_logits(session, alone, f->n_vocab));
    size_t count = 0;
    const int32_t *tokens = nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, row->held + (goes_on ? row->count : 0));
    CU_ASSERT_EQUAL(memcmp(tokens, ids, count * sizeof *ids), 0);
    const size_t n = (size_t)f->n_vocab, first = row->count - row->n_logits;
    CU_ASSERT_EQUAL(memcmp(rows, expected + first * n, row->n_logits * n * sizeof *rows), 0);
    free(expected);
    nlm_session_destroy(alone);
}

static void run_mix(const fixture *f) {
    nlm_session *sessions[N_SESSIONS];
    nlm_step_item items[N_SESSIONS] = {{0}};
    nlm_error errors[N_SESSIONS];
    float *rows[N_SESSIONS];
    int32_t ids[N_SESSIONS][2 * N_CONTEXT];
    for (uint32_t s = 0; s < N_SESSIONS; s++) {
        fixture_ids(f, 500 + s, ids[s], 2 * N_CONTEXT);
        sessions[s] = fixture_session(f);
        if (mix[s].held) fixture_extend(sessions[s], ids[s], mix[s].held);
        rows[s] = rows_for(f, mix[s].n_logits);
        errors[s] = (nlm_error)NLM_ERROR_INIT;
        items[s] = (nlm_step_item){.struct_size = sizeof *items,
                                   .flags = NLM_STEP_SAMPLE,
                                   .session = sessions[s],
                                   .ids = ids[s] + mix[s].held,
                                   .count = mix[s].count,
                                   .out_logits = rows[s],
                                   .n_logits = mix[s].n_logits,
                                   .error = &errors[s]};
    }
    nlm_error first = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_step(items, N_SESSIONS, &first), NLM_LIMIT);
    CU_ASSERT_STRING_EQUAL(first.msg, errors[2].msg);
    for (size_t s = 0; s < N_SESSIONS; s++) {
        CU_ASSERT_EQUAL(items[s].status, mix[s].expected);
        CU_ASSERT_EQUAL(errors[s].code, mix[s].expected);
        int32_t next = -1;
        EXPECT_OK(nlm_session_sample(sessions[s], NULL, &next, error));
        CU_ASSERT_EQUAL(items[s].next, mix[s].expected == NLM_OK ? next : -1);
        check_against_alone(f, sessions[s], ids[s], &mix[s], rows[s]);
        free(rows[s]);
    }
    for (size_t s = 0; s < N_SESSIONS; s++) nlm_session_destroy(sessions[s]);
}

static void sixteen_mixed_sessions_each_get_their_bits_and_their_status(void) {
    each_model(run_mix);
}

/* ---- what is refused ---- */

static void a_wrong_item_leaves_the_others_alone(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 3};
    fixture f = fixture_open("llama-gqa-f32", &options, 1), other = fixture_open("mamba-f32", NULL, 1);
    nlm_session *a = fixture_session(&f), *b = fixture_session(&f), *c = fixture_session(&other);
    const int32_t good = 1, bad = 1 << 20;
    float row[1024];
    nlm_sampler *sampler = NULL;
    EXPECT_OK(nlm_sampler_create(other.model, NULL, &sampler, error));
    const bool is_other_vocabulary = other.n_vocab != f.n_vocab;
    const nlm_step_item wrong[] = {
        {.session = a, .ids = &bad, .count = 1},
        {.session = NULL, .ids = &good, .count = 1},
        {.session = c, .ids = &good, .count = 1},
        {.session = b, .ids = &good, .count = 1},
        {.session = a},
        {.session = a, .ids = NULL, .count = 1},
        {.session = a, .ids = &good, .count = 1, .out_logits = row, .n_logits = 2},
        {.session = a, .ids = &good, .count = 1, .n_logits = 1},
        {.session = a, .ids = &good, .count = 1, .flags = 1u << 31},
    };
    size_t n_held = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        nlm_step_item items[2] = {{.session = b, .ids = &good, .count = 1}, wrong[i]};
        items[0].struct_size = items[1].struct_size = sizeof *items;
        CU_ASSERT_EQUAL(nlm_step(items, 2, NULL), NLM_INVALID_ARGUMENT);
        CU_ASSERT_EQUAL(items[0].status, NLM_OK);
        CU_ASSERT_EQUAL(items[1].status, NLM_INVALID_ARGUMENT);
        size_t count = 0;
        nlm_session_tokens(b, &count);
        CU_ASSERT_EQUAL(count, ++n_held);
        nlm_session_tokens(a, &count);
        CU_ASSERT_EQUAL(count, 0);
    }
    if (is_other_vocabulary) {
        nlm_step_item item = {.struct_size = sizeof item,
                              .flags = NLM_STEP_SAMPLE,
                              .session = a,
                              .ids = &good,
                              .count = 1,
                              .sampler = sampler};
        CU_ASSERT_EQUAL(nlm_step(&item, 1, NULL), NLM_INVALID_ARGUMENT);
    }
    CU_ASSERT(is_other_vocabulary);
    nlm_step_item small = {.struct_size = 8, .session = a, .ids = &good, .count = 1};
    CU_ASSERT_EQUAL(nlm_step(&small, 1, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_step(&small, 0, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_step(NULL, 1, NULL), NLM_INVALID_ARGUMENT);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(a);
    nlm_session_destroy(b);
    nlm_session_destroy(c);
    fixture_close(&f);
    fixture_close(&other);
}

/* An item of a later header is larger; what this library does not know of it is left as it is. */
static void items_may_be_larger_than_this_library_knows(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2};
    fixture f = fixture_open("llama-gqa-f32", &options, 1);
    struct {
        nlm_step_item item;
        uint64_t later;
    } items[2];
    const int32_t ids[2] = {3, 4};
    for (size_t i = 0; i < 2; i++) {
        items[i].item =
            (nlm_step_item){.struct_size = sizeof *items, .session = fixture_session(&f), .ids = &ids[i], .count = 1};
        items[i].later = 7;
    }
    EXPECT_OK(nlm_step(&items[0].item, 2, error));
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(items[i].item.status, NLM_OK);
        CU_ASSERT_EQUAL(items[i].later, 7);
        nlm_session_destroy(items[i].item.session);
    }
    fixture_close(&f);
}

/* ---- logits ---- */

/* Logits that were handed out stay when other sessions run, of other models of the engine too. */
static void logits_stay_until_their_session_changes(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .parallel = 2};
    fixture f = fixture_open("llama-gqa-f32", &options, 1);
    nlm_model *second = NULL;
    EXPECT_OK(nlm_model_load(f.engine, NLM_TEST_DATA "/models/mamba-f32.gguf", NULL, &second, error));
    nlm_session *a = fixture_session(&f), *b = fixture_session(&f), *c = NULL, *fork = NULL;
    EXPECT_OK(nlm_session_create(second, &c, error));
    int32_t ids[40];
    fixture_ids(&f, 9, ids, 40);
    const size_t bytes = (size_t)f.n_vocab * sizeof(float);
    float *before = malloc(bytes);
    fixture_extend(a, ids, 20);
    const float *logits = NULL;
    EXPECT_OK(nlm_session_logits(a, &logits, error));
    memcpy(before, logits, bytes);
    nlm_session *runs[] = {b, c};
    const int32_t small[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < 2; i++) fixture_extend(runs[i], small, 4);
    CU_ASSERT_EQUAL(memcmp(before, logits, bytes), 0);
    /* and those that nobody has asked for are there when somebody does */
    EXPECT_OK(nlm_session_reset(a, error));
    fixture_extend(a, ids, 20);
    fixture_extend(c, small, 4);
    fixture_extend(b, small, 4);
    EXPECT_OK(nlm_session_logits(a, &logits, error));
    CU_ASSERT_EQUAL(memcmp(before, logits, bytes), 0);
    nlm_session_destroy(b);
    EXPECT_OK(nlm_session_fork(a, &fork, error));
    CU_ASSERT(fixture_same_logits(a, fork, f.n_vocab));
    free(before);
    nlm_session_destroy(fork);
    nlm_session_destroy(a);
    nlm_session_destroy(c);
    nlm_model_unload(second);
    fixture_close(&f);
}

/* ---- cancelling ---- */

static int32_t stop_at_once(void *user, double fraction) {
    (void)fraction;
    ++*(int *)user;
    return 1;
}

/* One prompt is cancelled after its first run; the others of the step end. */
static void a_cancelled_prompt_leaves_the_others_alone(void) {
    const nlm_model_options options = {.struct_size = sizeof options, .context_length = 4096, .parallel = 3};
    fixture f = fixture_open("llama-gqa-f32", &options, 2);
    enum { LENGTH = 1200 };
    int32_t *ids = malloc(LENGTH * sizeof *ids);
    fixture_ids(&f, 77, ids, LENGTH);
    nlm_session *stopped = fixture_session(&f), *whole = fixture_session(&f), *alone = fixture_session(&f);
    int n_calls = 0;
    nlm_session_set_progress(stopped, stop_at_once, &n_calls);
    nlm_step_item items[2] = {
        {.struct_size = sizeof *items, .session = stopped, .ids = ids, .count = LENGTH},
        {.struct_size = sizeof *items, .session = whole, .ids = ids + 1, .count = LENGTH - 1},
    };
    CU_ASSERT_EQUAL(nlm_step(items, 2, NULL), NLM_CANCELLED);
    CU_ASSERT_EQUAL(items[0].status, NLM_CANCELLED);
    CU_ASSERT_EQUAL(items[1].status, NLM_OK);
    CU_ASSERT_EQUAL(n_calls, 1);
    size_t count = 0;
    nlm_session_tokens(stopped, &count);
    CU_ASSERT(count > 0 && count < LENGTH);
    fixture_extend(alone, ids + 1, LENGTH - 1);
    CU_ASSERT(fixture_same_logits(whole, alone, f.n_vocab));
    nlm_session_destroy(stopped);
    nlm_session_destroy(whole);
    nlm_session_destroy(alone);
    free(ids);
    fixture_close(&f);
}

/* A prompt whose first run is bounded goes on where it was left, for a Mamba too; the token that the other session
 * gets beside it does not wait for all of it. */
static void no_more_of_a_prompt_is_computed_than_asked(void) {
    static const char *const names[] = {"llama-gqa-f32", "mamba-f32"};
    enum { LENGTH = 700, ROOM = 90 };
    static int32_t ids[LENGTH];
    for (size_t m = 0; m < 2; m++) {
        const nlm_model_options options = {.struct_size = sizeof options, .context_length = 1024, .parallel = 3};
        fixture f = fixture_open(names[m], &options, 2);
        fixture_ids(&f, 31, ids, LENGTH);
        nlm_session *prompt = fixture_session(&f), *other = fixture_session(&f), *alone = fixture_session(&f);
        fixture_extend(other, ids + 5, 10);
        size_t held = 0;
        int n_steps = 0;
        for (nlm_status status = NLM_CANCELLED; status == NLM_CANCELLED; n_steps++) {
            const size_t before = held;
            nlm_step_item items[2] = {
                {.struct_size = sizeof *items, .session = other, .ids = ids, .count = 1, .flags = NLM_STEP_SAMPLE},
                {.struct_size = sizeof *items,
                 .session = prompt,
                 .ids = ids + held,
                 .count = LENGTH - held,
                 .flags = NLM_STEP_SAMPLE,
                 .max_computed = ROOM},
            };
            nlm_step(items, 2, NULL);
            CU_ASSERT_EQUAL(items[0].status, NLM_OK);
            status = items[1].status;
            nlm_session_tokens(prompt, &held);
            CU_ASSERT_FATAL(held > before && held - before <= ROOM);
            CU_ASSERT_EQUAL(items[1].next < 0, status == NLM_CANCELLED);
        }
        CU_ASSERT_EQUAL(held, LENGTH);
        CU_ASSERT_EQUAL(n_steps, (LENGTH + ROOM - 1) / ROOM);
        fixture_extend(alone, ids, LENGTH);
        CU_ASSERT(fixture_same_logits(prompt, alone, f.n_vocab));
        nlm_session_destroy(prompt);
        nlm_session_destroy(other);
        nlm_session_destroy(alone);
        fixture_close(&f);
    }
}

/* ---- damage ---- */

#define BAD_TOKEN 7

/* A token whose embedding is NaN fails its own session, and no other of the batch. */
static void a_logit_that_is_not_finite_fails_its_own_session(void) {
    static const struct {
        const char *name;
        size_t n_embd;
    } models[] = {{"llama-gqa-f32", 36}, {"mamba-f32", 26}};
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t i = 0; i < 2; i++) {
        const char *path = temporary_path(&t, "damaged.gguf");
        damaged_model_write(models[i].name, "token_embd.weight", BAD_TOKEN * models[i].n_embd, path);
        const nlm_model_options options = {.struct_size = sizeof options, .parallel = 3};
        fixture f = fixture_open(path, &options, 2);
        nlm_session *bad = fixture_session(&f), *good = fixture_session(&f), *alone = fixture_session(&f);
        const int32_t prompt[6] = {1, 2, 3, 4, 5, 6}, wrong = BAD_TOKEN;
        fixture_extend(bad, prompt, 3);
        fixture_extend(good, prompt, 4);
        nlm_error err = NLM_ERROR_INIT;
        nlm_step_item items[2] = {
            {.struct_size = sizeof *items, .session = bad, .ids = &wrong, .count = 1, .error = &err},
            {.struct_size = sizeof *items, .session = good, .ids = prompt + 4, .count = 2},
        };
        CU_ASSERT_EQUAL(nlm_step(items, 2, NULL), NLM_NUMERIC);
        CU_ASSERT_EQUAL(items[0].status, NLM_NUMERIC);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "after position 3 is "));
        CU_ASSERT_EQUAL(items[1].status, NLM_OK);
        fixture_extend(alone, prompt, 6);
        CU_ASSERT(fixture_same_logits(good, alone, f.n_vocab));
        /* it goes back to the tokens before, whose logits are there again */
        size_t count = 9;
        nlm_session_tokens(bad, &count);
        CU_ASSERT_EQUAL(count, 3);
        EXPECT_OK(nlm_session_reset(alone, error));
        fixture_extend(alone, prompt, 3);
        CU_ASSERT(fixture_same_logits(bad, alone, f.n_vocab));
        nlm_session_destroy(bad);
        nlm_session_destroy(good);
        nlm_session_destroy(alone);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(sixteen_mixed_sessions_each_get_their_bits_and_their_status),
    CHECK_CASE(a_wrong_item_leaves_the_others_alone),
    CHECK_CASE(items_may_be_larger_than_this_library_knows),
    CHECK_CASE(logits_stay_until_their_session_changes),
    CHECK_CASE(a_cancelled_prompt_leaves_the_others_alone),
    CHECK_CASE(no_more_of_a_prompt_is_computed_than_asked),
    CHECK_CASE(a_logit_that_is_not_finite_fails_its_own_session),
};
CHECK_MAIN("step", cases)
