/* nlm.h's tokens one by one: their text, the detokenizer, and what a generation tells of each. */
#include <math.h>

#include "base/str.h"
#include "session_fixture.h"

enum { N_IDS = 200, N_PROMPT = 10 };

typedef struct bytes {
    char data[4096];
    size_t length;
} bytes;

static void append(bytes *to, const char *text, size_t length) {
    CU_ASSERT_FATAL(to->length + length < sizeof to->data);
    memcpy(to->data + to->length, text, length);
    to->length += length;
}

static bytes decode(const fixture *f, uint32_t flags, const int32_t *ids, size_t n) {
    bytes out;
    EXPECT_OK(nlm_decode(f->model, ids, n, flags, out.data, sizeof out.data, &out.length, error));
    return out;
}

/* After each id all that is whole has come, and at the end the rest. */
static void check_text(const fixture *f, nlm_detokenizer *d, uint32_t flags, const int32_t *ids, size_t n) {
    bytes out = {0};
    const char *text;
    size_t length;
    for (size_t i = 0; i < n; i++) {
        EXPECT_OK(nlm_detokenizer_add(d, ids[i], &text, &length, error));
        append(&out, text, length);
        const bytes all = decode(f, flags, ids, i + 1);
        CU_ASSERT_EQUAL(out.length, all.length ? nlm_utf8_complete(all.data, all.length) : 0);
    }
    EXPECT_OK(nlm_detokenizer_end(d, &text, &length, error));
    append(&out, text, length);
    const bytes all = decode(f, flags, ids, n);
    CU_ASSERT(out.length == all.length && memcmp(out.data, all.data, all.length) == 0);
}

/* Random ids are mostly single bytes: characters come in parts, and many never become whole. */
static void ids_one_by_one_give_the_text_of_all(void) {
    static const uint32_t flags[] = {0, NLM_TEXT_SPECIAL};
    for (size_t m = 0; m < N_FIXTURE_MODELS; m++) {
        fixture f = fixture_open(fixture_models[m], NULL, 1);
        for (size_t i = 0; i < 2; i++) {
            nlm_detokenizer *d = NULL;
            EXPECT_OK(nlm_detokenizer_create(f.model, flags[i], &d, error));
            for (uint32_t seed = 0; seed < 20; seed++) { /* one detokenizer, one text after another */
                int32_t ids[N_IDS];
                fixture_ids(&f, seed, ids, N_IDS);
                check_text(&f, d, flags[i], ids, N_IDS);
            }
            nlm_detokenizer_destroy(d);
        }
        fixture_close(&f);
    }
}

static void characters_come_out_when_they_are_whole(void) {
    static const char euro[] =
        "a\xe2\x82\xac"
        "b";
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_detokenizer *d = NULL;
    int32_t ids[16];
    size_t count, length;
    const char *text;
    bool was_held = false;
    EXPECT_OK(nlm_encode(f.model, euro, strlen(euro), 0, ids, 16, &count, error));
    EXPECT_OK(nlm_detokenizer_create(f.model, 0, &d, error));
    bytes out = {0};
    for (size_t i = 0; i < count; i++) {
        EXPECT_OK(nlm_detokenizer_add(d, ids[i], &text, &length, error));
        was_held |= length == 0 && out.length > 0;
        append(&out, text, length);
    }
    CU_ASSERT(was_held && out.length == strlen(euro) && memcmp(out.data, euro, out.length) == 0);
    EXPECT_OK(nlm_detokenizer_end(d, &text, &length, error));
    CU_ASSERT_EQUAL(length, 0);
    CU_ASSERT_EQUAL(nlm_detokenizer_add(d, f.n_vocab, &text, &length, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_detokenizer_add(d, -1, &text, &length, NULL), NLM_INVALID_ARGUMENT);
    fixture_close(&f); /* the model goes first */
    for (size_t i = 0; i + 2 < count; i++) EXPECT_OK(nlm_detokenizer_add(d, ids[i], &text, &length, error));
    EXPECT_OK(nlm_detokenizer_end(d, &text, &length, error));
    CU_ASSERT(length == 2 && memcmp(text, "\xe2\x82", 2) == 0);
    nlm_detokenizer_destroy(d);
    nlm_detokenizer_destroy(NULL);
}

static void tokens_say_their_text_and_whether_they_end(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_model_info info = {.struct_size = sizeof info};
    nlm_detokenizer *d = NULL;
    const char *text;
    size_t length;
    EXPECT_OK(nlm_model_describe(f.model, &info, error));
    EXPECT_OK(nlm_token_text(f.model, info.eos, NLM_TEXT_SPECIAL, &text, &length, error));
    CU_ASSERT(length == 4 && memcmp(text, "</s>", 4) == 0);
    EXPECT_OK(nlm_token_text(f.model, info.eos, 0, &text, &length, error));
    CU_ASSERT_EQUAL(length, 0);
    EXPECT_OK(nlm_token_text(f.model, 3 + 'q', 0, &text, &length, error)); /* a byte's token */
    CU_ASSERT(length == 1 && text[0] == 'q');
    CU_ASSERT_EQUAL(nlm_token_text(f.model, f.n_vocab, 0, &text, &length, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_token_text(f.model, 3, NLM_TEXT_BOS, &text, &length, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_detokenizer_create(f.model, NLM_TEXT_BOS, &d, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(d);
    for (int32_t id = -1; id <= f.n_vocab; id++) CU_ASSERT_EQUAL(nlm_token_is_end(f.model, id), id == info.eos);
    CU_ASSERT_EQUAL(nlm_token_is_end(NULL, info.eos), 0);
    fixture_close(&f);
}

/* ---- tokens of a generation ---- */

typedef struct told {
    int32_t ids[N_IDS];
    size_t n;
    uint32_t n_top;
    float *logits; /* [n, n_vocab] that the tokens are chosen from; or NULL */
    fixture *f;
    bytes text;
    size_t stop_at; /* the call that ends it; 0: none */
} told;

/* The sum in another order, and relative to the token itself. */
static double log_softmax(const float *logits, int32_t n, int32_t id) {
    double sum = 0;
    for (int32_t i = n - 1; i >= 0; i--) sum += exp((double)logits[i] - (double)logits[id]);
    return -log(sum);
}

static void check_top(const told *t, const nlm_generated *token, const float *logits) {
    const int32_t n_vocab = t->f->n_vocab;
    CU_ASSERT(fabs((double)token->logprob - log_softmax(logits, n_vocab, token->id)) < 1e-5);
    for (uint32_t i = 0; i < token->n_top; i++) {
        const nlm_logprob top = token->top[i];
        int32_t n_before = 0;
        for (int32_t id = 0; id < n_vocab; id++)
            n_before += logits[id] > logits[top.id] || (logits[id] == logits[top.id] && id < top.id);
        CU_ASSERT_EQUAL(n_before, (int32_t)i);
        CU_ASSERT(fabs((double)top.logprob - log_softmax(logits, n_vocab, top.id)) < 1e-5);
    }
}

static int32_t take(void *user, const nlm_generated *token) {
    told *t = user;
    CU_ASSERT_EQUAL_FATAL(token->struct_size, sizeof *token);
    CU_ASSERT_FATAL(t->n < N_IDS);
    const uint32_t expected = t->n_top < (uint32_t)t->f->n_vocab ? t->n_top : (uint32_t)t->f->n_vocab;
    CU_ASSERT_EQUAL(token->n_top, expected);
    if (t->n_top == 0) CU_ASSERT(token->logprob == 0);
    if (t->logits && t->n_top > 0) check_top(t, token, t->logits + t->n * (size_t)t->f->n_vocab);
    append(&t->text, token->text, token->length);
    t->ids[t->n++] = token->id;
    return t->n == t->stop_at;
}

static int32_t collect(void *user, const char *text, size_t length) {
    append(user, text, length);
    return 0;
}

static void start(const fixture *f, nlm_session *session) {
    int32_t ids[N_PROMPT];
    fixture_ids(f, 3, ids, N_PROMPT);
    EXPECT_OK(nlm_session_reset(session, error));
    fixture_extend(session, ids, N_PROMPT);
}

static nlm_generate_result generate(told *t, nlm_session *session, nlm_sampler *sampler, uint64_t n, bytes *text) {
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = NLM_GENERATE_IGNORE_END,
                                          .max_tokens = n,
                                          .on_token = take,
                                          .token_user = t,
                                          .n_top = t->n_top};
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_generate(session, sampler, &options, collect, text, &result, error));
    return result;
}

/* The logits that `n` greedy tokens after the prompt are chosen from. */
static float *greedy_logits(const fixture *f, nlm_session *session, size_t n) {
    float *rows = calloc(n, (size_t)f->n_vocab * sizeof *rows);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rows);
    start(f, session);
    for (size_t i = 0; i < n; i++) {
        const float *logits;
        int32_t id;
        EXPECT_OK(nlm_session_logits(session, &logits, error));
        memcpy(rows + i * (size_t)f->n_vocab, logits, (size_t)f->n_vocab * sizeof *rows);
        EXPECT_OK(nlm_session_sample(session, NULL, &id, error));
        EXPECT_OK(nlm_session_extend(session, &id, 1, error));
    }
    return rows;
}

static void generation_tells_tokens_and_their_logprobs(void) {
    static const uint32_t tops[] = {0, 1, 5, NLM_LOGPROBS_MAX};
    fixture f = fixture_open("llama-gqa-f32", NULL, 2);
    nlm_session *session = fixture_session(&f);
    float *logits = greedy_logits(&f, session, 30);
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) {
        told t = {.n_top = tops[i], .f = &f, .logits = logits};
        bytes text = {0};
        size_t count;
        start(&f, session);
        CU_ASSERT_EQUAL(generate(&t, session, NULL, 30, &text).n_tokens, 30);
        CU_ASSERT_EQUAL(t.n, 30);
        const int32_t *ids = nlm_session_tokens(session, &count);
        CU_ASSERT(count == N_PROMPT + 30 && memcmp(ids + N_PROMPT, t.ids, 30 * sizeof *ids) == 0);
        CU_ASSERT(t.text.length >= text.length && memcmp(t.text.data, text.data, text.length) == 0);
    }
    const nlm_generate_options above = {.struct_size = sizeof above, .n_top = NLM_LOGPROBS_MAX + 1};
    CU_ASSERT_EQUAL(nlm_session_generate(session, NULL, &above, NULL, NULL, NULL, NULL), NLM_INVALID_ARGUMENT);
    free(logits);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* The callback ends the generation behind its token, whose text the next call begins with. */
static void token_callback_ends_behind_its_token(void) {
    fixture f = fixture_open("mamba-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    told all = {.f = &f}, part = {.f = &f, .stop_at = 7};
    bytes whole = {0}, text = {0};
    size_t count;
    start(&f, session);
    generate(&all, session, NULL, 30, &whole);
    start(&f, session);
    nlm_generate_result result = generate(&part, session, NULL, 30, &text);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_CALLBACK && result.n_tokens == 7 && part.n == 7);
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, N_PROMPT + 7);
    part.stop_at = 0;
    result = generate(&part, session, NULL, 23, &text);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_TOKENS && part.n == 30);
    CU_ASSERT_EQUAL(memcmp(all.ids, part.ids, 30 * sizeof *all.ids), 0);
    CU_ASSERT(whole.length == text.length && memcmp(whole.data, text.data, text.length) == 0);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static int32_t note_end(void *user, const nlm_generated *token) {
    told *t = user;
    t->ids[t->n++] = token->is_end ? token->id : -1;
    return 1;
}

static void end_token_is_told_as_one(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    told t = {.f = &f};
    int32_t id;
    start(&f, session);
    EXPECT_OK(nlm_session_sample(session, NULL, &id, error));
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = NLM_GENERATE_IGNORE_END,
                                          .stop_ids = &id,
                                          .n_stop_ids = 1,
                                          .on_token = note_end,
                                          .token_user = &t};
    nlm_generate_result result = {.struct_size = sizeof result};
    EXPECT_OK(nlm_session_generate(session, NULL, &options, NULL, NULL, &result, error));
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_STOP_ID && result.n_tokens == 1 && t.n == 1 && t.ids[0] == id);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(ids_one_by_one_give_the_text_of_all),        CHECK_CASE(characters_come_out_when_they_are_whole),
    CHECK_CASE(tokens_say_their_text_and_whether_they_end), CHECK_CASE(generation_tells_tokens_and_their_logprobs),
    CHECK_CASE(token_callback_ends_behind_its_token),       CHECK_CASE(end_token_is_told_as_one),
};
CHECK_MAIN("tokens", cases)
