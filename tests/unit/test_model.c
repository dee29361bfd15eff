/* Fixtures against the float64 oracle, and against themselves in other batches, chunks and threads. */
#include "unit/model_fixture.h"

static const char *const llamas[] = {FIXTURE_LLAMAS, NLM_DTYPE_LIST(FIXTURE_OF_TYPE)};
static const char *const mambas[] = {FIXTURE_MAMBAS};
enum { N_LLAMAS = sizeof llamas / sizeof *llamas, N_MAMBAS = sizeof mambas / sizeof *mambas };

static float *prefill(rig *r, const int32_t *tokens) {
    const rig_part part = {0, tokens, FIXTURE_TOKENS};
    return rig_run(r, &part, 1, 0);
}

static void check_nmse(const char *name, nlm_dtype kv_dtype, double most) {
    int32_t tokens[FIXTURE_TOKENS];
    fixture_tokens(name, tokens);
    rig r = rig_open(name, kv_dtype, 2);
    float *expected = fixture_logits(name, r.n_vocab);
    float *actual = prefill(&r, tokens);
    const double nmse = fixture_nmse(actual, expected, (size_t)FIXTURE_TOKENS * (size_t)r.n_vocab);
    if (!(nmse <= most)) printf(" [%s: NMSE %g] ", name, nmse);
    CU_ASSERT_TRUE(nmse <= most);
    free(expected);
    free(actual);
    rig_close(&r);
}

static void llama_logits_match_the_oracle_with_an_f32_cache(void) {
    for (int i = 0; i < N_LLAMAS; i++)
        if (llamas[i]) check_nmse(llamas[i], NLM_F32, 1e-9);
}

static void llama_logits_match_the_oracle_with_an_f16_cache(void) {
    for (int i = 0; i < N_LLAMAS; i++)
        if (llamas[i]) check_nmse(llamas[i], NLM_F16, 1e-5);
}

static void llama_logits_are_near_the_oracle_with_a_q8_0_cache(void) {
    check_nmse("llama-q4_0", NLM_Q8_0, 1e-3); /* heads of 32 elements */
}

static void mamba_logits_match_the_oracle(void) {
    for (int i = 0; i < N_MAMBAS; i++) check_nmse(mambas[i], NLM_F32, 1e-9);
}

/* ---- the same bits however the tokens come ------------------------------------------------- */

static void check_same(const char *what, const char *name, const float *a, const float *b, size_t count) {
    const int is_same = memcmp(a, b, count * sizeof *a) == 0;
    if (!is_same) printf(" [%s: %s] ", name, what);
    CU_ASSERT_TRUE(is_same);
}

/* Feeds the tokens in pieces of these sizes, repeated; each graph has `padding` rows too many. */
static void check_pieces(rig *r, const char *name, const int32_t *tokens, const float *whole, const int32_t *sizes,
                         int32_t n_sizes, int32_t padding) {
    rig_reset(r, 0);
    for (int32_t at = 0, i = 0; at < FIXTURE_TOKENS; i++) {
        const int32_t left = FIXTURE_TOKENS - at, size = sizes[i % n_sizes];
        const rig_part part = {0, tokens + at, size < left ? size : left};
        float *logits = rig_run(r, &part, 1, padding);
        const size_t row = (size_t)r->n_vocab;
        check_same(n_sizes == 1 ? "step" : "chunk", name, logits, whole + (size_t)at * row, (size_t)part.count * row);
        free(logits);
        at += part.count;
    }
}

static void check_steps_and_chunks(const char *name) {
    static const int32_t one[] = {1}, chunks[] = {7, 1, 5, 2};
    int32_t tokens[FIXTURE_TOKENS];
    fixture_tokens(name, tokens);
    rig r = rig_open(name, NLM_F16, 2);
    float *whole = prefill(&r, tokens);
    check_pieces(&r, name, tokens, whole, one, 1, 0);
    check_pieces(&r, name, tokens, whole, chunks, 4, 0);
    check_pieces(&r, name, tokens, whole, chunks, 4, 3);
    free(whole);
    rig_close(&r);
}

static void steps_and_chunks_give_the_bits_of_a_prefill(void) {
    for (int i = 0; i < N_LLAMAS; i++)
        if (llamas[i]) check_steps_and_chunks(llamas[i]);
    for (int i = 0; i < N_MAMBAS; i++) check_steps_and_chunks(mambas[i]);
}

static void check_threads(const char *name) {
    int32_t tokens[FIXTURE_TOKENS];
    fixture_tokens(name, tokens);
    float *first = NULL;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        rig r = rig_open(name, NLM_F16, threads);
        float *logits = prefill(&r, tokens);
        if (first) check_same("threads", name, logits, first, (size_t)FIXTURE_TOKENS * (size_t)r.n_vocab);
        if (first) free(logits);
        if (!first) first = logits;
        rig_close(&r);
    }
    free(first);
}

static void thread_counts_give_the_same_bits(void) {
    for (int i = 0; i < N_LLAMAS; i++)
        if (llamas[i]) check_threads(llamas[i]);
    for (int i = 0; i < N_MAMBAS; i++) check_threads(mambas[i]);
}

/* Sequence s: the fixture's tokens from s on, 3 to 18 of them, then two more steps. */
enum { STEPS = 2 };

static rig_part part_of(const int32_t *tokens, int32_t s, int32_t step) {
    const int32_t prompt = 3 + s;
    const rig_part first = {s, tokens + s % 4, prompt};
    const rig_part next = {s, tokens + s % 4 + prompt + step - 1, 1};
    return step == 0 ? first : next;
}

static void check_batch(const char *name) {
    int32_t tokens[FIXTURE_TOKENS + STEPS];
    fixture_tokens(name, tokens);
    memcpy(tokens + FIXTURE_TOKENS, tokens, STEPS * sizeof *tokens);
    rig together = rig_open(name, NLM_F16, 2), alone = rig_open(name, NLM_F16, 2);
    for (int32_t step = 0; step <= STEPS; step++) {
        rig_part parts[RIG_SLOTS];
        for (int32_t s = 0; s < RIG_SLOTS; s++) parts[s] = part_of(tokens, s, step);
        float *batch = rig_run(&together, parts, RIG_SLOTS, 0);
        size_t at = 0;
        for (int32_t s = 0; s < RIG_SLOTS; s++) {
            const size_t count = (size_t)parts[s].count * (size_t)alone.n_vocab;
            float *single = rig_run(&alone, &parts[s], 1, 0);
            check_same("batch", name, batch + at, single, count);
            free(single);
            at += count;
        }
        free(batch);
    }
    rig_close(&together);
    rig_close(&alone);
}

static void sixteen_sequences_give_the_bits_each_gives_alone(void) {
    check_batch("llama-gqa-f32");
    check_batch("llama-window-bf16");
    check_batch("llama-q4_0");
    check_batch("llama-mixed");
    check_batch("qwen2-f32");
    check_batch("llama-layers-f32");
    check_batch("qwen3-f32");
    check_batch("smollm3-f32");
    check_batch("granite-f32");
    check_batch("mamba-odd-f32");
    check_batch("mamba-normed-f32");
    check_batch("mamba-mixed");
}

/* Two sequences share eleven tokens, a page and a part of one, then go different ways. */
static void forked_sequences_share_pages_and_do_not_disturb_each_other(void) {
    int32_t tokens[FIXTURE_TOKENS];
    fixture_tokens("llama-gqa-f32", tokens);
    rig shared = rig_open("llama-gqa-f32", NLM_F32, 1), apart = rig_open("llama-gqa-f32", NLM_F32, 1);
    const rig_part prompt = {0, tokens, 11}, ways[2] = {{0, tokens + 11, 6}, {1, tokens + 15, 8}};
    free(rig_run(&shared, &prompt, 1, 0));
    nlm_kv_pages_fork(shared.pages, 0, 1, 11);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(shared.pages), RIG_PAGES - 2);
    float *both = rig_run(&shared, ways, 2, 0);
    for (int32_t s = 0, at = 0; s < 2; s++) {
        const rig_part start = {s, tokens, 11};
        free(rig_run(&apart, &start, 1, 0));
        float *single = rig_run(&apart, &ways[s], 1, 0);
        check_same("fork", "llama-gqa-f32", both + at * shared.n_vocab, single,
                   (size_t)ways[s].count * (size_t)shared.n_vocab);
        free(single);
        at += ways[s].count;
    }
    free(both);
    rig_close(&shared);
    rig_close(&apart);
}

static const check_case cases[] = {
    CHECK_CASE(llama_logits_match_the_oracle_with_an_f32_cache),
    CHECK_CASE(llama_logits_match_the_oracle_with_an_f16_cache),
    CHECK_CASE(llama_logits_are_near_the_oracle_with_a_q8_0_cache),
    CHECK_CASE(mamba_logits_match_the_oracle),
    CHECK_CASE(steps_and_chunks_give_the_bits_of_a_prefill),
    CHECK_CASE(thread_counts_give_the_same_bits),
    CHECK_CASE(sixteen_sequences_give_the_bits_each_gives_alone),
    CHECK_CASE(forked_sequences_share_pages_and_do_not_disturb_each_other),
};

CHECK_MAIN("model", cases)
