/* Generation that is kept to a grammar, through nlm.h, and one grammar for many threads. */
#include <pthread.h>
#include <stdbool.h>

#include "session_fixture.h"

#define MODEL "llama-gqa-f32"

static nlm_grammar *grammar_for(const fixture *f, uint32_t kind, const char *text, uint64_t cache_bytes) {
    const nlm_grammar_options options = {.struct_size = sizeof options, .cache_bytes = cache_bytes};
    nlm_grammar *grammar = NULL;
    EXPECT_OK(nlm_grammar_create(f->model, kind, text, strlen(text), &options, &grammar, error));
    return grammar;
}

static nlm_grammar_state *state_of(nlm_grammar *grammar) {
    nlm_grammar_state *state = NULL;
    EXPECT_OK(nlm_grammar_state_create(grammar, &state, error));
    return state;
}

static nlm_constraint constraint_of(nlm_grammar_state *state) {
    nlm_constraint constraint = {.struct_size = sizeof constraint};
    EXPECT_OK(nlm_grammar_state_constraint(state, &constraint, error));
    return constraint;
}

static nlm_sampler *sampler_of(const fixture *f, uint64_t seed) {
    const nlm_sampler_options options = {.struct_size = sizeof options, .seed = seed, .temperature = seed ? 2.0f : 0};
    nlm_sampler *sampler = NULL;
    EXPECT_OK(nlm_sampler_create(f->model, &options, &sampler, error));
    return sampler;
}

typedef struct text {
    char bytes[4096];
    size_t length;
} text;

static int32_t keep(void *user, const char *bytes, size_t length) {
    text *t = user;
    if (length > sizeof t->bytes - t->length) return 1;
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    return 0;
}

static const struct {
    uint32_t kind;
    const char *text;
} grammars[] = {
    {NLM_GRAMMAR_GBNF, "root ::= (\"yes\" | \"no\") [ a-z]{3,9} \".\""},
    {NLM_GRAMMAR_GBNF, "root ::= \"(\" root{0,2} \")\" | [0-9]{1,3} | \"\xC3\xA9\""},
    {NLM_GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":-9,\"maximum\":99},"
     "\"b\":{\"type\":\"string\",\"maxLength\":5}},\"required\":[\"a\",\"b\"],"
     "\"additionalProperties\":false}"},
};
#define N_GRAMMARS (sizeof grammars / sizeof *grammars)

/* What was generated may be read in the grammar; where the model ended it, to its end. */
static void generated_text_is_of_the_grammar(void) {
    fixture f = fixture_open(MODEL, NULL, 1);
    nlm_session *session = fixture_session(&f);
    const int32_t prompt[] = {5, 9, 2};
    for (size_t g = 0; g < N_GRAMMARS; g++) {
        nlm_grammar *grammar = grammar_for(&f, grammars[g].kind, grammars[g].text, 0);
        for (uint64_t seed = 0; seed < 6; seed++) {
            nlm_grammar_state *state = state_of(grammar), *check = state_of(grammar);
            const nlm_constraint constraint = constraint_of(state);
            nlm_sampler *sampler = sampler_of(&f, seed);
            text made = {.length = 0};
            const nlm_generate_options options = {
                .struct_size = sizeof options, .max_tokens = 40, .constraint = &constraint};
            nlm_generate_result result = {.struct_size = sizeof result};
            nlm_grammar_state_info info = {.struct_size = sizeof info};
            EXPECT_OK(nlm_session_reset(session, error));
            EXPECT_OK(nlm_session_extend(session, prompt, 3, error));
            EXPECT_OK(nlm_session_generate(session, sampler, &options, keep, &made, &result, error));
            EXPECT_OK(nlm_grammar_state_accept_text(check, made.bytes, made.length, NULL, error));
            EXPECT_OK(nlm_grammar_state_describe(check, &info, error));
            CU_ASSERT(result.ended_by == NLM_ENDED_BY_MODEL || result.ended_by == NLM_ENDED_BY_TOKENS);
            CU_ASSERT_EQUAL(result.ended_by == NLM_ENDED_BY_MODEL && !info.is_complete, 0);
            CU_ASSERT(g > 0 || result.ended_by == NLM_ENDED_BY_MODEL); /* at most 13 bytes and an end */
            nlm_sampler_destroy(sampler);
            nlm_grammar_state_destroy(check);
            nlm_grammar_state_destroy(state);
        }
        nlm_grammar_destroy(grammar);
    }
    nlm_session_destroy(session);
    fixture_close(&f);
}

enum { N_TOGETHER = 4, N_TOKENS = 12 };

/* Steps of several sessions, each with its own state of one grammar, choose what generating alone does. */
static void steps_choose_as_generation_does(void) {
    fixture f = fixture_open(
        MODEL, &(nlm_model_options){.struct_size = sizeof(nlm_model_options), .parallel = N_TOGETHER}, 1);
    nlm_grammar *grammar = grammar_for(&f, grammars[1].kind, grammars[1].text, 0);
    nlm_step_item items[N_TOGETHER];
    nlm_grammar_state *states[N_TOGETHER];
    nlm_constraint constraints[N_TOGETHER];
    int32_t chosen[N_TOGETHER][N_TOKENS], first[N_TOGETHER][2];
    nlm_sampler *sampler = sampler_of(&f, 3);
    for (int32_t i = 0; i < N_TOGETHER; i++) {
        states[i] = state_of(grammar);
        constraints[i] = constraint_of(states[i]);
        first[i][0] = 7 + i;
        first[i][1] = 3;
        items[i] = (nlm_step_item){.struct_size = sizeof items[i],
                                   .flags = NLM_STEP_SAMPLE,
                                   .session = fixture_session(&f),
                                   .ids = first[i],
                                   .count = 2,
                                   .sampler = sampler,
                                   .constraint = &constraints[i]};
    }
    for (int t = 0; t < N_TOKENS; t++) {
        EXPECT_OK(nlm_step(items, N_TOGETHER, error));
        for (int32_t i = 0; i < N_TOGETHER; i++) {
            chosen[i][t] = items[i].next;
            items[i].ids = &chosen[i][t];
            items[i].count = 1;
        }
        bool has_end = false; /* of one: the others go no further either */
        for (int32_t i = 0; i < N_TOGETHER; i++) has_end |= nlm_token_is_end(f.model, chosen[i][t]);
        if (!has_end) continue;
        for (int32_t i = 0; i < N_TOGETHER; i++)
            memset(&chosen[i][t + 1], 0xFF, (size_t)(N_TOKENS - 1 - t) * sizeof(int32_t));
        break;
    }
    for (int32_t i = 0; i < N_TOGETHER; i++) {
        nlm_session *session = items[i].session;
        EXPECT_OK(nlm_session_reset(session, error));
        EXPECT_OK(nlm_grammar_state_reset(states[i], error));
        EXPECT_OK(nlm_session_extend(session, first[i], 2, error));
        for (int t = 0; t < N_TOKENS && chosen[i][t] >= 0; t++) {
            const nlm_generate_options options = {
                .struct_size = sizeof options, .max_tokens = 1, .constraint = &constraints[i]};
            nlm_generate_result result = {.struct_size = sizeof result};
            EXPECT_OK(nlm_session_generate(session, sampler, &options, NULL, NULL, &result, error));
            size_t count = 0;
            const int32_t *ids = nlm_session_tokens(session, &count);
            const bool is_end = nlm_token_is_end(f.model, chosen[i][t]) != 0;
            CU_ASSERT_EQUAL(result.ended_by == NLM_ENDED_BY_MODEL, is_end);
            CU_ASSERT(is_end || ids[count - 1] == chosen[i][t]);
        }
        nlm_session_destroy(session);
        nlm_grammar_state_destroy(states[i]);
    }
    nlm_sampler_destroy(sampler);
    nlm_grammar_destroy(grammar);
    fixture_close(&f);
}

/* ---- threads ---------------------------------------------------------------------------------- */

enum { N_THREADS = 4, N_WALKS = 20, N_STEPS = 12 };

typedef struct walker {
    const nlm_model *model;
    nlm_grammar *grammar;
    size_t n_words;
    uint64_t sum; /* of all masks along the way */
} walker;

static uint64_t mix(uint64_t sum, const uint32_t *words, size_t count) {
    for (size_t i = 0; i < count; i++) sum = (sum ^ words[i]) * UINT64_C(0x100000001B3);
    return sum;
}

/* The same walks in every thread: always on by a token that the mask has. */
static void *walk(void *argument) {
    walker *w = argument;
    uint32_t *bits = calloc(w->n_words, sizeof *bits);
    for (uint32_t n = 0; n < N_WALKS && bits; n++) {
        nlm_grammar_state *state = NULL;
        nlm_constraint c = {.struct_size = sizeof c};
        if (nlm_grammar_state_create(w->grammar, &state, NULL) != NLM_OK) break;
        nlm_grammar_state_constraint(state, &c, NULL);
        for (uint32_t step = 0; step < N_STEPS && c.mask(c.user, bits, w->n_words, NULL) == NLM_OK; step++) {
            w->sum = mix(w->sum, bits, w->n_words);
            uint32_t id = (n * 37 + step * 101) % (uint32_t)(32 * w->n_words);
            while (!(bits[id / 32] >> id % 32 & 1)) id = (id + 1) % (uint32_t)(32 * w->n_words);
            if (!c.allows(c.user, (int32_t)id) || c.accept(c.user, (int32_t)id, NULL) != NLM_OK) w->sum = 0;
        }
        nlm_grammar_state_destroy(state);
    }
    free(bits);
    return NULL;
}

/* Also while what is kept is dropped under the others' feet. */
static void threads_share_a_grammar(void) {
    fixture f = fixture_open(MODEL, NULL, 1);
    for (uint64_t cache_bytes = 0; cache_bytes < 2; cache_bytes++) { /* the usual, and next to none */
        nlm_grammar *grammar = grammar_for(&f, grammars[1].kind, grammars[1].text, cache_bytes);
        walker walkers[N_THREADS + 1];
        pthread_t threads[N_THREADS];
        for (size_t i = 0; i <= N_THREADS; i++) {
            walkers[i] =
                (walker){.model = f.model, .grammar = grammar, .n_words = ((size_t)f.n_vocab + 31) / 32, .sum = 1};
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, walk, &walkers[i]), 0);
        }
        for (size_t i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
        walk(&walkers[N_THREADS]);
        CU_ASSERT(walkers[N_THREADS].sum > 1);
        for (size_t i = 0; i < N_THREADS; i++) CU_ASSERT_EQUAL(walkers[i].sum, walkers[N_THREADS].sum);
        nlm_grammar_destroy(grammar);
    }
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(generated_text_is_of_the_grammar),
    CHECK_CASE(steps_choose_as_generation_does),
    CHECK_CASE(threads_share_a_grammar),
};
CHECK_MAIN("grammar_generate", cases)
