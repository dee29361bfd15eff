/* The prompt cache at work: fewer tokens computed, the same bits. */
#include "session_fixture.h"

static const nlm_model_options with_cache = {.struct_size = sizeof(nlm_model_options), .parallel = 3};
static const nlm_model_options without_cache = {
    .struct_size = sizeof(nlm_model_options), .flags = NLM_MODEL_NO_PROMPT_CACHE, .parallel = 3};

/* Extends a new session with ids[0..n) and compares its logits, and those of some steps after it, with
 * `plain`'s, a session of a model without a prompt cache. Returns the tokens taken from the cache. */
static uint64_t compare_with(const fixture *f, nlm_session *plain, const int32_t *ids, size_t n) {
    nlm_session *session = fixture_session(f);
    EXPECT_OK(nlm_session_reset(plain, error));
    fixture_extend(session, ids, n);
    fixture_extend(plain, ids, n);
    CU_ASSERT(fixture_same_logits(session, plain, f->n_vocab));
    for (int32_t step = 0; step < 40; step++) {
        EXPECT_OK(nlm_sessions_decode(&session, &step, 1, error));
        EXPECT_OK(nlm_sessions_decode(&plain, &step, 1, error));
    }
    CU_ASSERT(fixture_same_logits(session, plain, f->n_vocab));
    const nlm_metrics m = fixture_metrics(session);
    CU_ASSERT_EQUAL(m.prompt_tokens + m.cached_tokens, n);
    nlm_session_destroy(session);
    return m.cached_tokens;
}

static void cache_hits(const char *name, const size_t expected[6]) {
    fixture f = fixture_open(name, &with_cache, 2), g = fixture_open(name, &without_cache, 2);
    nlm_session *plain = fixture_session(&g);
    int32_t ids[200], other[200];
    fixture_ids(&f, 1, ids, 200);
    memcpy(other, ids, sizeof ids);
    fixture_ids(&f, 2, other + 150, 50);
    CU_ASSERT_EQUAL(compare_with(&f, plain, ids, 180), expected[0]);   /* nothing yet */
    CU_ASSERT_EQUAL(compare_with(&f, plain, ids, 180), expected[1]);   /* the same again */
    CU_ASSERT_EQUAL(compare_with(&f, plain, ids, 200), expected[2]);   /* one that goes on */
    CU_ASSERT_EQUAL(compare_with(&f, plain, other, 200), expected[3]); /* one that leaves it at 150 */
    CU_ASSERT_EQUAL(compare_with(&f, plain, ids, 128), expected[4]);   /* its beginning */
    CU_ASSERT_EQUAL(compare_with(&f, plain, ids + 1, 180), expected[5]);
    nlm_session_destroy(plain);
    fixture_close(&f);
    fixture_close(&g);
}

static void prompts_share_pages_of_32_tokens(void) {
    cache_hits("llama-gqa-f32", (const size_t[]){0, 160, 160, 128, 96, 0});
}

/* Snapshots stand at multiples of 128 and where a prompt's last multiple of 32 before its end was. */
static void prompts_share_snapshots_of_states(void) {
    cache_hits("mamba-f32", (const size_t[]){0, 160, 160, 128, 0, 0});
}

static void pages_of_prompts_make_room_for_sessions(void) {
    const nlm_model_options options = {
        .struct_size = sizeof options, .parallel = 2, .prompt_cache_bytes = 1ull << 30};
    fixture f = fixture_open("llama-gqa-f32", &options, 1), g = fixture_open("llama-gqa-f32", &without_cache, 1);
    nlm_session *plain = fixture_session(&g);
    int32_t ids[256];
    for (uint32_t seed = 0; seed < 12; seed++) { /* each fills half of all pages */
        nlm_session *one = fixture_session(&f), *two = fixture_session(&f);
        fixture_ids(&f, seed, ids, 256);
        fixture_extend(one, ids, 256);
        fixture_extend(two, ids + 1, 255);
        EXPECT_OK(nlm_session_reset(plain, error));
        fixture_extend(plain, ids, 256);
        CU_ASSERT(fixture_same_logits(one, plain, f.n_vocab));
        nlm_session_destroy(one);
        nlm_session_destroy(two);
    }
    nlm_session_destroy(plain);
    fixture_close(&f);
    fixture_close(&g);
}

static void cache_is_bounded_in_bytes(void) {
    /* a page of llama-gqa-f32: 2 layers, keys and values, 2 heads of 6, 32 tokens, f16 */
    const uint64_t page_bytes = 2 * 2 * 2 * 6 * 32 * 2;
    const nlm_model_options options = {
        .struct_size = sizeof options, .parallel = 1, .prompt_cache_bytes = 2 * page_bytes};
    fixture f = fixture_open("llama-gqa-f32", &options, 1);
    int32_t ids[200];
    fixture_ids(&f, 1, ids, 200);
    nlm_session *session = fixture_session(&f);
    fixture_extend(session, ids, 200);
    CU_ASSERT_EQUAL(fixture_metrics(session).cache_bytes, 7 * page_bytes);
    EXPECT_OK(nlm_session_reset(session, error));
    CU_ASSERT_EQUAL(fixture_metrics(session).cache_bytes, 2 * page_bytes);
    nlm_session_destroy(session);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(prompts_share_pages_of_32_tokens),
    CHECK_CASE(prompts_share_snapshots_of_states),
    CHECK_CASE(pages_of_prompts_make_room_for_sessions),
    CHECK_CASE(cache_is_bounded_in_bytes),
};
CHECK_MAIN("prompts", cases)
