/* Constraints: what a token is chosen from, how often their functions are asked, and what is made of their errors. */
#include <math.h>
#include <stdbool.h>

#include "base/philox.h"
#include "session_fixture.h"

#define N_IDS 64

/* Allows the ids whose remainder is `rest`; 0 for `modulus`: none. */
typedef struct rule {
    int32_t modulus, rest;
    int32_t only; /* > 0: this one alone */
    size_t n_allows, n_masks, n_accepts;
    int32_t accepted[N_IDS];
    nlm_status mask_status, accept_status;
    size_t fail_at;    /* accept number that fails with accept_status */
    bool is_loud;      /* errors have a sentence */
    uint32_t spill;    /* of the last word, set beside the vocabulary's bits */
    nlm_session *used; /* that is extended from within, or NULL */
    nlm_status inner;
} rule;

static bool has(const rule *r, int32_t id) {
    if (r->only > 0) return id == r->only;
    return r->modulus > 0 && id % r->modulus == r->rest;
}

static int32_t allows(void *user, int32_t id) {
    rule *r = user;
    const int32_t one = 1;
    r->n_allows++;
    if (r->used) r->inner = nlm_session_extend(r->used, &one, 1, NULL);
    return has(r, id) ? 7 : 0;
}

static nlm_status say(const rule *r, nlm_status status, nlm_error *error) {
    if (status != NLM_OK && r->is_loud) snprintf(error->msg, sizeof error->msg, "the rule is\n broken");
    if (status != NLM_OK) error->code = status;
    return status;
}

static int32_t n_vocab_of_masks;

static nlm_status mask(void *user, uint32_t *bits, size_t n_words, nlm_error *error) {
    rule *r = user;
    r->n_masks++;
    CU_ASSERT_EQUAL_FATAL(n_words, ((size_t)n_vocab_of_masks + 31) / 32);
    for (size_t i = 0; i < n_words; i++) CU_ASSERT_EQUAL(bits[i], 0);
    for (int32_t id = 0; id < n_vocab_of_masks; id++) {
        if (has(r, id)) bits[id / 32] |= 1u << id % 32;
    }
    if (n_vocab_of_masks % 32) bits[n_words - 1] |= r->spill << n_vocab_of_masks % 32;
    return say(r, r->mask_status, error);
}

static nlm_status accept(void *user, int32_t id, nlm_error *error) {
    rule *r = user;
    CU_ASSERT_FATAL(r->n_accepts < N_IDS);
    if (r->accept_status != NLM_OK && r->n_accepts == r->fail_at) return say(r, r->accept_status, error);
    r->accepted[r->n_accepts++] = id;
    return NLM_OK;
}

static nlm_constraint constraint_of(rule *r) {
    return (nlm_constraint){
        .struct_size = sizeof(nlm_constraint), .user = r, .allows = allows, .mask = mask, .accept = accept};
}

static nlm_sampler *sampler_for(const fixture *f, nlm_sampler_options options) {
    nlm_sampler *sampler = NULL;
    options.struct_size = sizeof options;
    EXPECT_OK(nlm_sampler_create(f->model, &options, &sampler, error));
    return sampler;
}

/* ---- what is chosen ---- */

/* Softmax of logits / temperature over those the rule has (NULL: all), by id. */
static void probabilities(const float *logits, int32_t n, double temperature, const rule *r, double *out) {
    double total = 0;
    for (int32_t i = 0; i < n; i++) total += out[i] = !r || has(r, i) ? exp((double)logits[i] / temperature) : 0;
    for (int32_t i = 0; i < n; i++) out[i] /= total;
}

static int32_t draw(const double *p, int32_t n, double uniform) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += p[i];
        if (uniform < sum) return i;
    }
    return n - 1;
}

static void test_logits(const fixture *f, uint32_t seed, float *logits) {
    uint32_t state = seed * 2654435761u + 12345u;
    for (int32_t i = 0; i < f->n_vocab; i++) {
        state = state * 1664525u + 1013904223u;
        logits[i] = (float)(state >> 8) / 16777216.0f * 8 - 4;
    }
}

static nlm_status pick(nlm_sampler *sampler, const float *logits, int32_t n, const int32_t *history, size_t n_history,
                       const nlm_constraint *constraint, int32_t *out_id, nlm_error *error) {
    const nlm_pick_options options = {.struct_size = sizeof options, .constraint = constraint};
    return nlm_sampler_pick_with(sampler, logits, (size_t)n, history, n_history, &options, out_id, error);
}

/* The draw of all tokens where the rule has it, else the second draw, of the rule's alone; the functions are asked as
 * often as the header says. */
static void pick_draws_twice_at_most(void) {
    static int32_t history[400];
    static float logits[4096];
    static double all[4096], allowed[4096];
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_sampler *sampler = sampler_for(&f, (nlm_sampler_options){.temperature = 0.8f, .seed = 77});
    rule r = {.modulus = 3, .rest = 1, .spill = ~0u};
    const nlm_constraint constraint = constraint_of(&r);
    n_vocab_of_masks = f.n_vocab;
    size_t n_rejected = 0;
    for (size_t at = 0; at < 400; at++) {
        int32_t id = -1;
        test_logits(&f, (uint32_t)at, logits);
        EXPECT_OK(pick(sampler, logits, f.n_vocab, history, at, &constraint, &id, error));
        probabilities(logits, f.n_vocab, (double)0.8f, NULL, all);
        probabilities(logits, f.n_vocab, (double)0.8f, &r, allowed);
        int32_t expected = draw(all, f.n_vocab, nlm_philox_uniform(77, at));
        if (!has(&r, expected)) {
            n_rejected++;
            expected = draw(allowed, f.n_vocab, nlm_philox_uniform_of(77, at, 1));
        }
        CU_ASSERT_EQUAL(id, expected);
    }
    CU_ASSERT(n_rejected > 200 && n_rejected < 330);
    CU_ASSERT(r.n_allows == 400 && r.n_masks == n_rejected && r.n_accepts == 0);
    nlm_sampler_destroy(sampler);
    fixture_close(&f);
}

/* Tokens come as often as they would if the others' logits were -INFINITY. */
static void pick_keeps_the_conditional_distribution(void) {
    enum { DRAWS = 40000 };
    static int32_t history[DRAWS];
    static float logits[4096];
    static double expected[4096];
    static int counts[4096];
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_sampler *sampler = sampler_for(&f, (nlm_sampler_options){.temperature = 1.3f, .seed = 20261129});
    rule r = {.modulus = f.n_vocab / 12 + 1, .rest = 2};
    const nlm_constraint constraint = constraint_of(&r);
    n_vocab_of_masks = f.n_vocab;
    for (int32_t i = 0; i < f.n_vocab; i++) logits[i] = (float)(i % 7) * 0.25f + (has(&r, i) ? 2.0f : 0.0f);
    probabilities(logits, f.n_vocab, (double)1.3f, &r, expected);
    for (size_t at = 0; at < DRAWS; at++) {
        int32_t id = -1;
        EXPECT_OK(pick(sampler, logits, f.n_vocab, history, at, &constraint, &id, error));
        counts[id]++;
    }
    double chi_squared = 0;
    int n_kinds = 0;
    for (int32_t i = 0; i < f.n_vocab; i++) {
        CU_ASSERT(has(&r, i) || counts[i] == 0);
        if (!has(&r, i)) continue;
        n_kinds++;
        chi_squared += pow(counts[i] - expected[i] * DRAWS, 2) / (expected[i] * DRAWS);
    }
    printf(" [chi-squared %.2f of %d kinds, seed 20261129] ", chi_squared, n_kinds);
    CU_ASSERT(n_kinds >= 10 && n_kinds <= 13);
    CU_ASSERT(chi_squared < 32.9 && chi_squared > 1.0); /* 12 degrees of freedom, p = 0.001 */
    CU_ASSERT(r.n_masks > DRAWS / 10 && r.n_masks < DRAWS);
    nlm_sampler_destroy(sampler);
    fixture_close(&f);
}

static void greedy_takes_the_first_greatest_that_may_come(void) {
    static float logits[4096];
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_sampler *plain = sampler_for(&f, (nlm_sampler_options){0});
    nlm_sampler *penalised = sampler_for(&f, (nlm_sampler_options){.repeat_penalty = 8});
    rule r = {.modulus = 2, .rest = 1};
    const nlm_constraint constraint = constraint_of(&r);
    const int32_t seen[] = {11};
    int32_t id = -1;
    n_vocab_of_masks = f.n_vocab;
    logits[10] = 5;
    logits[11] = logits[13] = 4;
    logits[20] = -INFINITY;
    EXPECT_OK(pick(plain, logits, f.n_vocab, NULL, 0, &constraint, &id, error));
    CU_ASSERT_EQUAL(id, 11);
    EXPECT_OK(pick(penalised, logits, f.n_vocab, seen, 1, &constraint, &id, error));
    CU_ASSERT_EQUAL(id, 13);
    logits[11] = 6;
    EXPECT_OK(pick(plain, logits, f.n_vocab, NULL, 0, &constraint, &id, error));
    CU_ASSERT(id == 11 && r.n_masks == 2);
    nlm_error err = NLM_ERROR_INIT;
    r.only = 20;
    CU_ASSERT_EQUAL(pick(plain, logits, f.n_vocab, NULL, 0, &constraint, &id, &err), NLM_NUMERIC);
    CU_ASSERT_EQUAL(pick(penalised, logits, f.n_vocab, NULL, 0, &constraint, &id, &err), NLM_NUMERIC);
    CU_ASSERT(id == 11 && strstr(err.msg, "may come"));
    nlm_sampler_destroy(penalised);
    nlm_sampler_destroy(plain);
    fixture_close(&f);
}

/* ---- generation and steps ---- */

static void start(const fixture *f, nlm_session *session) {
    int32_t ids[9];
    fixture_ids(f, 4, ids, 9);
    EXPECT_OK(nlm_session_reset(session, error));
    fixture_extend(session, ids, 9);
}

static nlm_status generate(nlm_session *session, nlm_sampler *sampler, const nlm_constraint *constraint, uint64_t n,
                           nlm_generate_result *result, nlm_error *error) {
    const nlm_generate_options options = {
        .struct_size = sizeof options, .flags = NLM_GENERATE_IGNORE_END, .max_tokens = n, .constraint = constraint};
    return nlm_session_generate(session, sampler, &options, NULL, NULL, result, error);
}

/* The same tokens as picking from the session's logits gives, and as steps give, each accepted once. */
static void check_ways(const fixture *f, nlm_sampler *sampler) {
    enum { N = 24 };
    nlm_session *session = fixture_session(f);
    rule r = {.modulus = 5, .rest = 2}, by_pick = r, by_step = r;
    const nlm_constraint constraint = constraint_of(&r), pick_constraint = constraint_of(&by_pick),
                         step_constraint = constraint_of(&by_step);
    nlm_sampler *greedy = sampler_for(f, (nlm_sampler_options){0});
    size_t count;
    n_vocab_of_masks = f->n_vocab;
    start(f, session);
    EXPECT_OK(generate(session, sampler, &constraint, N, NULL, error));
    CU_ASSERT(r.n_accepts == N && r.n_allows == N && r.n_masks > 0);
    const int32_t *tokens = nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL_FATAL(count, 9 + N);
    CU_ASSERT_EQUAL(memcmp(tokens + 9, r.accepted, N * sizeof *tokens), 0);
    start(f, session);
    nlm_step_item item = {.struct_size = sizeof item, .session = session, .sampler = sampler};
    item.flags = NLM_STEP_SAMPLE | NLM_STEP_LOGPROB;
    item.constraint = &step_constraint;
    for (int i = 0; i < N; i++) {
        const float *logits;
        int32_t id = -1;
        EXPECT_OK(nlm_session_logits(session, &logits, error));
        tokens = nlm_session_tokens(session, &count);
        EXPECT_OK(pick(sampler ? sampler : greedy, logits, f->n_vocab, tokens, count, &pick_constraint, &id, error));
        CU_ASSERT(id == r.accepted[i] && has(&r, id));
        item.count = 0;
        EXPECT_OK(nlm_step(&item, 1, error));
        CU_ASSERT(item.next == id && by_step.accepted[i] == id && item.logprob < 0);
        EXPECT_OK(nlm_session_extend(session, &id, 1, error));
    }
    CU_ASSERT(by_step.n_accepts == N && by_pick.n_accepts == 0);
    nlm_sampler_destroy(greedy);
    nlm_session_destroy(session);
}

static void generation_picks_and_steps_agree(void) {
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fixture f = fixture_open(fixture_models[i], NULL, 2);
        nlm_sampler *sampler =
            sampler_for(&f, (nlm_sampler_options){.temperature = 0.9f, .top_k = 30, .repeat_penalty = 1.1f});
        check_ways(&f, NULL);
        check_ways(&f, sampler);
        nlm_sampler_destroy(sampler);
        fixture_close(&f);
    }
}

/* ---- errors ---- */

static void token_that_is_not_accepted_is_not_held(void) {
    fixture f = fixture_open("mamba-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    rule whole = {.modulus = 4, .rest = 3}, r = whole;
    const nlm_constraint all = constraint_of(&whole), broken = constraint_of(&r);
    nlm_error err = NLM_ERROR_INIT;
    nlm_generate_result result = {.struct_size = sizeof result};
    size_t count;
    n_vocab_of_masks = f.n_vocab;
    start(&f, session);
    EXPECT_OK(generate(session, NULL, &all, 12, NULL, error));
    start(&f, session);
    r.accept_status = NLM_LIMIT;
    r.fail_at = 5;
    r.is_loud = true;
    CU_ASSERT_EQUAL(generate(session, NULL, &broken, 12, NULL, &err), NLM_LIMIT);
    CU_ASSERT_STRING_EQUAL(err.msg, "the constraint's 'accept': the rule is\\n broken");
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, 9 + 5);
    r.accept_status = NLM_OK;
    EXPECT_OK(generate(session, NULL, &broken, 7, &result, error));
    CU_ASSERT(r.n_accepts == 12 && memcmp(r.accepted, whole.accepted, 12 * sizeof *r.accepted) == 0);
    CU_ASSERT(result.ended_by == NLM_ENDED_BY_TOKENS && result.n_tokens == 7);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static void what_a_constraint_gets_wrong_is_said(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    rule r = {0};
    const nlm_constraint constraint = constraint_of(&r);
    nlm_error err = NLM_ERROR_INIT, item_err = NLM_ERROR_INIT;
    n_vocab_of_masks = f.n_vocab;
    start(&f, session);
    CU_ASSERT_EQUAL(generate(session, NULL, &constraint, 1, NULL, &err), NLM_NOT_FOUND);
    CU_ASSERT(strstr(err.msg, "rules out every token") != NULL);
    nlm_step_item item = {.struct_size = sizeof item, .flags = NLM_STEP_SAMPLE, .session = session};
    item.constraint = &constraint;
    item.error = &item_err;
    item.logprob = 3;
    CU_ASSERT_EQUAL(nlm_step(&item, 1, &err), NLM_NOT_FOUND);
    CU_ASSERT(item.status == NLM_NOT_FOUND && item.next == -1 && item.logprob == 0);
    CU_ASSERT_STRING_EQUAL(item_err.msg, err.msg);
    r = (rule){.modulus = 2, .mask_status = NLM_OUT_OF_MEMORY};
    r.rest = 3; /* allows has none */
    CU_ASSERT_EQUAL(generate(session, NULL, &constraint, 1, NULL, &err), NLM_OUT_OF_MEMORY);
    CU_ASSERT_STRING_EQUAL(err.msg, "the constraint's 'mask': out of memory");
    r.mask_status = 12345;
    CU_ASSERT_NOT_EQUAL(generate(session, NULL, &constraint, 1, NULL, &err), NLM_OK);
    size_t count;
    nlm_session_tokens(session, &count);
    CU_ASSERT_EQUAL(count, 9);
    r = (rule){.modulus = 1, .used = session};
    EXPECT_OK(generate(session, NULL, &constraint, 1, NULL, error));
    CU_ASSERT_EQUAL(r.inner, NLM_INVALID_ARGUMENT);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static void constraint_without_its_functions_is_refused(void) {
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    nlm_sampler *sampler = sampler_for(&f, (nlm_sampler_options){0});
    static float logits[4096];
    rule r = {.modulus = 1};
    int32_t id = -5;
    start(&f, session);
    for (int i = 0; i < 5; i++) {
        nlm_constraint c = constraint_of(&r);
        nlm_error err = NLM_ERROR_INIT;
        if (i == 0) c.allows = NULL;
        if (i == 1) c.mask = NULL;
        if (i == 2) c.accept = NULL;
        if (i == 3) c.struct_size = 0;
        if (i == 4) c.reserved = 1;
        CU_ASSERT_EQUAL(generate(session, NULL, &c, 1, NULL, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT(strlen(err.msg) > 0);
        CU_ASSERT_EQUAL(pick(sampler, logits, f.n_vocab, NULL, 0, &c, &id, &err), NLM_INVALID_ARGUMENT);
        nlm_step_item item = {.struct_size = sizeof item, .flags = NLM_STEP_SAMPLE, .session = session};
        item.constraint = &c;
        CU_ASSERT_EQUAL(nlm_step(&item, 1, &err), NLM_INVALID_ARGUMENT);
        item.flags = 0; /* then it is not looked at */
        EXPECT_OK(nlm_step(&item, 1, error));
    }
    const nlm_pick_options reserved = {.struct_size = sizeof reserved, .reserved = 1};
    CU_ASSERT_EQUAL(nlm_sampler_pick_with(sampler, logits, (size_t)f.n_vocab, NULL, 0, &reserved, &id, NULL),
                    NLM_INVALID_ARGUMENT);
    CU_ASSERT(id == -5 && r.n_allows == 0);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    fixture_close(&f);
}

/* ---- items of a step: logprobs, and the size of the first version ---- */

typedef struct told {
    size_t n;
    float logprob[16];
    nlm_logprob top[16][NLM_LOGPROBS_MAX];
} told;

static int32_t note(void *user, const nlm_generated *token) {
    told *t = user;
    t->logprob[t->n] = token->logprob;
    memcpy(t->top[t->n++], token->top, token->n_top * sizeof *token->top);
    return 0;
}

static void steps_tell_the_logprobs_of_generation(void) {
    static told t;
    fixture f = fixture_open("llama-gqa-f32",
                             &(nlm_model_options){.struct_size = sizeof(nlm_model_options), .parallel = 2}, 1);
    nlm_session *session = fixture_session(&f), *other = fixture_session(&f);
    nlm_sampler *sampler = sampler_for(&f, (nlm_sampler_options){.temperature = 1.2f, .seed = 5});
    const nlm_generate_options options = {.struct_size = sizeof options,
                                          .flags = NLM_GENERATE_IGNORE_END,
                                          .max_tokens = 16,
                                          .on_token = note,
                                          .token_user = &t,
                                          .n_top = 6};
    start(&f, session);
    EXPECT_OK(nlm_session_generate(session, sampler, &options, NULL, NULL, NULL, error));
    start(&f, session);
    start(&f, other);
    nlm_logprob top[6], none[3] = {{7, 7}, {7, 7}, {7, 7}};
    nlm_step_item items[2] = {{.sampler = sampler, .session = session}, {.session = other}};
    items[0].struct_size = items[1].struct_size = sizeof *items;
    items[0].flags = NLM_STEP_SAMPLE | NLM_STEP_LOGPROB;
    items[0].out_top = top;
    items[0].n_top = 6;
    items[1].flags = NLM_STEP_SAMPLE;
    items[1].out_top = none;
    items[1].n_top = 3;
    int32_t next[2];
    for (size_t i = 0; i < 16; i++) {
        items[1].logprob = 9;
        EXPECT_OK(nlm_step(items, 2, error));
        CU_ASSERT(items[0].logprob == t.logprob[i]);
        for (int k = 0; k < 6; k++) {
            CU_ASSERT(top[k].id == t.top[i][k].id && top[k].logprob == t.top[i][k].logprob);
        }
        CU_ASSERT(items[1].logprob == 0 && none[0].id == 7); /* not asked for */
        for (int k = 0; k < 2; k++) {
            next[k] = items[k].next;
            items[k].ids = &next[k];
            items[k].count = 1;
        }
    }
    items[0].n_top = NLM_LOGPROBS_MAX + 1;
    CU_ASSERT_EQUAL(nlm_step(items, 1, NULL), NLM_INVALID_ARGUMENT);
    items[0].n_top = 6;
    items[0].out_top = NULL;
    CU_ASSERT_EQUAL(nlm_step(items, 1, NULL), NLM_INVALID_ARGUMENT);
    nlm_sampler_destroy(sampler);
    nlm_session_destroy(session);
    nlm_session_destroy(other);
    fixture_close(&f);
}

/* An array whose items end where those of the first version did: nothing behind is read or written. */
static void items_of_the_first_version_still_work(void) {
    enum { SIZE = offsetof(nlm_step_item, constraint) };
    fixture f = fixture_open("llama-gqa-f32",
                             &(nlm_model_options){.struct_size = sizeof(nlm_model_options), .parallel = 2}, 1);
    nlm_session *sessions[2] = {fixture_session(&f), fixture_session(&f)};
    char *array = malloc(2 * SIZE); /* not one byte more */
    CU_ASSERT_PTR_NOT_NULL_FATAL(array);
    for (size_t i = 0; i < 2; i++) {
        nlm_step_item item = {.struct_size = SIZE, .flags = NLM_STEP_SAMPLE | NLM_STEP_LOGPROB};
        item.session = sessions[i];
        start(&f, sessions[i]);
        memcpy(array + i * SIZE, &item, SIZE);
    }
    EXPECT_OK(nlm_step((nlm_step_item *)(void *)array, 2, error));
    for (size_t i = 0; i < 2; i++) {
        nlm_step_item item;
        int32_t id;
        memcpy(&item, array + i * SIZE, SIZE);
        EXPECT_OK(nlm_session_sample(sessions[i], NULL, &id, error));
        CU_ASSERT(item.status == NLM_OK && item.next == id);
        nlm_session_destroy(sessions[i]);
    }
    free(array);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(pick_draws_twice_at_most),
    CHECK_CASE(pick_keeps_the_conditional_distribution),
    CHECK_CASE(greedy_takes_the_first_greatest_that_may_come),
    CHECK_CASE(generation_picks_and_steps_agree),
    CHECK_CASE(token_that_is_not_accepted_is_not_held),
    CHECK_CASE(what_a_constraint_gets_wrong_is_said),
    CHECK_CASE(constraint_without_its_functions_is_refused),
    CHECK_CASE(steps_tell_the_logprobs_of_generation),
    CHECK_CASE(items_of_the_first_version_still_work),
};
CHECK_MAIN("constraint", cases)
