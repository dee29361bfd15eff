/* Sessions: the same tokens give the same bits, however they came to be there. */
#include "base/file.h"
#include "session_fixture.h"
#include "temporary.h"

#define N_IDS 200

static void each_model(void (*run)(const fixture *f), const nlm_model_options *options) {
    for (size_t i = 0; i < N_FIXTURE_MODELS; i++) {
        fixture f = fixture_open(fixture_models[i], options, 2);
        run(&f);
        fixture_close(&f);
    }
}

static const nlm_model_options four_sessions = {
    .struct_size = sizeof(nlm_model_options), .flags = NLM_MODEL_NO_PROMPT_CACHE, .parallel = 4};

/* ---- one sequence ---- */

static void steps_and_chunks(const fixture *f) {
    static const size_t cuts[] = {1, 1, 7, 23, 64, 5, 99};
    int32_t ids[N_IDS];
    fixture_ids(f, 1, ids, N_IDS);
    nlm_session *whole = fixture_session(f), *chunks = fixture_session(f), *steps = fixture_session(f);
    fixture_extend(whole, ids, N_IDS);
    for (size_t i = 0, at = 0; i < sizeof cuts / sizeof *cuts; at += cuts[i++])
        fixture_extend(chunks, ids + at, cuts[i]);
    for (size_t i = 0; i < N_IDS; i++) EXPECT_OK(nlm_sessions_decode(&steps, ids + i, 1, error));
    CU_ASSERT(fixture_same_logits(whole, chunks, f->n_vocab));
    CU_ASSERT(fixture_same_logits(whole, steps, f->n_vocab));
    const nlm_metrics m = fixture_metrics(chunks);
    CU_ASSERT(m.prompt_tokens == N_IDS && m.cached_tokens == 0); /* nothing was computed twice */
    CU_ASSERT_EQUAL(fixture_metrics(steps).decode_tokens, N_IDS);
    nlm_session_destroy(whole);
    nlm_session_destroy(chunks);
    nlm_session_destroy(steps);
}

static void session_in_steps_and_chunks_gives_the_bits_of_one_prefill(void) {
    each_model(steps_and_chunks, &four_sessions);
}

static void logits_of_all(const fixture *f) {
    int32_t ids[40];
    fixture_ids(f, 2, ids, 40);
    nlm_session *all = fixture_session(f), *steps = fixture_session(f);
    float *rows = malloc(40 * (size_t)f->n_vocab * sizeof *rows);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rows);
    EXPECT_OK(nlm_session_extend_logits(all, ids, 40, rows, error));
    for (size_t i = 0; i < 40; i++) {
        const float *logits = NULL;
        fixture_extend(steps, ids + i, 1);
        EXPECT_OK(nlm_session_logits(steps, &logits, error));
        CU_ASSERT_EQUAL(memcmp(rows + i * (size_t)f->n_vocab, logits, (size_t)f->n_vocab * sizeof *logits), 0);
    }
    CU_ASSERT(fixture_same_logits(all, steps, f->n_vocab));
    free(rows);
    nlm_session_destroy(all);
    nlm_session_destroy(steps);
}

static void session_gives_the_logits_of_every_token(void) {
    each_model(logits_of_all, &four_sessions);
}

static void reset(const fixture *f) {
    int32_t ids[50];
    nlm_session *used = fixture_session(f), *fresh = fixture_session(f);
    fixture_ids(f, 3, ids, 50);
    fixture_extend(used, ids, 50);
    EXPECT_OK(nlm_session_reset(used, error));
    fixture_ids(f, 4, ids, 50);
    fixture_extend(used, ids, 50);
    fixture_extend(fresh, ids, 50);
    CU_ASSERT(fixture_same_logits(used, fresh, f->n_vocab));
    /* and a slot that another session used */
    nlm_session_destroy(used);
    used = fixture_session(f);
    fixture_extend(used, ids, 50);
    CU_ASSERT(fixture_same_logits(used, fresh, f->n_vocab));
    nlm_session_destroy(used);
    nlm_session_destroy(fresh);
}

static void session_forgets_everything_at_reset(void) {
    each_model(reset, &four_sessions);
}

/* ---- forks ---- */

static void fork_and_diverge(const fixture *f) {
    static const size_t lengths[] = {1, 31, 32, 33, 77}; /* around the ends of pages */
    int32_t ids[80], other[20];
    fixture_ids(f, 5, ids, 80);
    fixture_ids(f, 6, other, 20);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const size_t n = lengths[i];
        nlm_session *trunk = fixture_session(f), *branch = NULL, *alone = fixture_session(f);
        fixture_extend(trunk, ids, n);
        EXPECT_OK(nlm_session_fork(trunk, &branch, error));
        CU_ASSERT(fixture_same_logits(trunk, branch, f->n_vocab));
        fixture_extend(branch, other, 20);
        fixture_extend(trunk, ids + n, 3);
        fixture_extend(alone, ids, n);
        fixture_extend(alone, other, 20);
        CU_ASSERT(fixture_same_logits(branch, alone, f->n_vocab));
        EXPECT_OK(nlm_session_reset(alone, error));
        fixture_extend(alone, ids, n + 3);
        CU_ASSERT(fixture_same_logits(trunk, alone, f->n_vocab));
        nlm_session_destroy(trunk);
        nlm_session_destroy(alone);
        nlm_session_destroy(branch);
    }
}

static void fork_leaves_both_sides_as_if_alone(void) {
    each_model(fork_and_diverge, &four_sessions);
}

/* ---- batches ---- */

#define N_BATCH 16

/* Sixteen sequences of different lengths decode together; each is compared with the same one alone. */
static void batch_of_sixteen(const fixture *f) {
    nlm_session *sessions[N_BATCH], *alone = fixture_session(f);
    int32_t ids[N_BATCH][60], column[N_BATCH];
    size_t lengths[N_BATCH];
    for (uint32_t s = 0; s < N_BATCH; s++) {
        lengths[s] = 1 + s * 7 % 29;
        fixture_ids(f, 100 + s, ids[s], 60);
        sessions[s] = fixture_session(f);
        fixture_extend(sessions[s], ids[s], lengths[s]);
    }
    for (size_t step = 0; step < 20; step++) {
        for (size_t s = 0; s < N_BATCH; s++) column[s] = ids[s][lengths[s] + step];
        EXPECT_OK(nlm_sessions_decode(sessions, column, N_BATCH, error));
    }
    for (size_t s = 0; s < N_BATCH; s++) {
        EXPECT_OK(nlm_session_reset(alone, error));
        fixture_extend(alone, ids[s], lengths[s]);
        for (size_t step = 0; step < 20; step++) {
            EXPECT_OK(nlm_sessions_decode(&alone, &ids[s][lengths[s] + step], 1, error));
        }
        CU_ASSERT(fixture_same_logits(sessions[s], alone, f->n_vocab));
    }
    for (size_t s = 0; s < N_BATCH; s++) nlm_session_destroy(sessions[s]);
    nlm_session_destroy(alone);
}

static void sixteen_sequences_in_a_batch_give_the_bits_each_gives_alone(void) {
    const nlm_model_options options = {
        .struct_size = sizeof options, .flags = NLM_MODEL_NO_PROMPT_CACHE, .parallel = N_BATCH + 1};
    each_model(batch_of_sixteen, &options);
}

static void batch_refuses_what_it_cannot_run(void) {
    fixture f = fixture_open("llama-gqa-f32", &four_sessions, 1), other = fixture_open("mamba-f32", NULL, 1);
    nlm_session *a = fixture_session(&f), *b = fixture_session(&f), *c = fixture_session(&other);
    const int32_t ids[2] = {1, 2}, wrong[2] = {1, 1 << 20};
    nlm_session *twice[] = {a, a}, *mixed[] = {a, c}, *fine[] = {a, b};
    CU_ASSERT_EQUAL(nlm_sessions_decode(twice, ids, 2, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_sessions_decode(mixed, ids, 2, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_sessions_decode(fine, wrong, 2, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_sessions_decode(fine, ids, 0, NULL), NLM_INVALID_ARGUMENT);
    size_t count = 1;
    nlm_session_tokens(a, &count);
    CU_ASSERT_EQUAL(count, 0);
    EXPECT_OK(nlm_sessions_decode(fine, ids, 2, error));
    nlm_session_destroy(a);
    nlm_session_destroy(b);
    nlm_session_destroy(c);
    fixture_close(&f);
    fixture_close(&other);
}

/* ---- files ---- */

static void save_and_restore(const fixture *f) {
    temporary t;
    int32_t ids[90];
    CU_ASSERT_FATAL(temporary_make(&t));
    fixture_ids(f, 7, ids, 90);
    nlm_session *first = fixture_session(f), *second = fixture_session(f);
    fixture_extend(first, ids, 70);
    EXPECT_OK(nlm_session_save(first, temporary_path(&t, "s"), error));
    fixture_extend(second, ids + 3, 40); /* what it holds is replaced */
    EXPECT_OK(nlm_session_restore(second, temporary_path(&t, "s"), error));
    CU_ASSERT(fixture_same_logits(first, second, f->n_vocab));
    size_t count = 0;
    CU_ASSERT_EQUAL(memcmp(nlm_session_tokens(second, &count), ids, 70 * sizeof *ids), 0);
    CU_ASSERT_EQUAL(count, 70);
    fixture_extend(first, ids + 70, 20);
    fixture_extend(second, ids + 70, 20);
    CU_ASSERT(fixture_same_logits(first, second, f->n_vocab));
    /* an empty one, too */
    EXPECT_OK(nlm_session_reset(first, error));
    EXPECT_OK(nlm_session_save(first, temporary_path(&t, "s"), error));
    EXPECT_OK(nlm_session_restore(second, temporary_path(&t, "s"), error));
    nlm_session_tokens(second, &count);
    CU_ASSERT_EQUAL(count, 0);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    nlm_session_destroy(first);
    nlm_session_destroy(second);
    temporary_remove(&t);
}

static void restored_session_continues_as_the_saved_one(void) {
    each_model(save_and_restore, &four_sessions);
}

static void flip(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, at, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 0x10, file);
    fclose(file);
}

/* Every 13th byte, as each is a whole read; session_file's own test goes through every one. */
static void changed_session_file_is_an_error_and_changes_nothing(void) {
    temporary t;
    int32_t ids[20];
    CU_ASSERT_FATAL(temporary_make(&t));
    fixture f = fixture_open("llama-window-bf16", &four_sessions, 1);
    nlm_session *saved = fixture_session(&f), *other = fixture_session(&f), *same = fixture_session(&f);
    fixture_ids(&f, 8, ids, 20);
    fixture_extend(saved, ids, 20);
    fixture_extend(other, ids, 5);
    fixture_extend(same, ids, 5);
    EXPECT_OK(nlm_session_save(saved, temporary_path(&t, "s"), error));
    FILE *file = fopen(temporary_path(&t, "s"), "rb");
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    fclose(file);
    for (long at = 0; at < size; at += 13) {
        nlm_error err = NLM_ERROR_INIT;
        flip(temporary_path(&t, "s"), at);
        CU_ASSERT_NOT_EQUAL(nlm_session_restore(other, temporary_path(&t, "s"), &err), NLM_OK);
        CU_ASSERT(err.msg[0] != '\0');
        flip(temporary_path(&t, "s"), at);
    }
    CU_ASSERT(fixture_same_logits(other, same, f.n_vocab));
    EXPECT_OK(nlm_session_restore(other, temporary_path(&t, "s"), error));
    CU_ASSERT_EQUAL(nlm_session_restore(other, temporary_path(&t, "none"), NULL), NLM_NOT_FOUND);
    nlm_session_destroy(saved);
    nlm_session_destroy(other);
    nlm_session_destroy(same);
    fixture_close(&f);
    temporary_remove(&t);
}

static unsigned char *save_in_memory(nlm_session *session, size_t *out_size) {
    EXPECT_OK(nlm_session_save_memory(session, NULL, 0, out_size, error));
    unsigned char *data = malloc(*out_size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    EXPECT_OK(nlm_session_save_memory(session, data, *out_size, out_size, error));
    return data;
}

/* The bytes are the file's, and stand for the session as the file does. */
static void memory_and_back(const fixture *f) {
    temporary t;
    nlm_file_map map = {0};
    int32_t ids[50];
    size_t size, again = 0;
    CU_ASSERT_FATAL(temporary_make(&t));
    nlm_session *saved = fixture_session(f), *other = fixture_session(f);
    fixture_ids(f, 8, ids, 50);
    fixture_extend(saved, ids, 45);
    fixture_extend(other, ids, 5);
    unsigned char *data = save_in_memory(saved, &size);
    EXPECT_OK(nlm_session_save(saved, temporary_path(&t, "s"), error));
    EXPECT_OK(nlm_file_map_open(temporary_path(&t, "s"), &map, error));
    CU_ASSERT(map.size == size && memcmp(map.data, data, size) == 0);
    nlm_file_map_close(&map);
    CU_ASSERT_EQUAL(nlm_session_save_memory(saved, data, size - 1, &again, NULL), NLM_LIMIT);
    CU_ASSERT_EQUAL(again, size);
    data[size / 2] ^= 1;
    CU_ASSERT_EQUAL(nlm_session_restore_memory(other, data, size, NULL), NLM_BAD_FORMAT);
    nlm_session_tokens(other, &again);
    CU_ASSERT_EQUAL(again, 5);
    data[size / 2] ^= 1;
    CU_ASSERT_EQUAL(nlm_session_restore_memory(other, data, size - 1, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_session_restore_memory(other, data, 0, NULL), NLM_BAD_FORMAT);
    EXPECT_OK(nlm_session_restore_memory(other, data, size, error));
    free(data);
    CU_ASSERT(fixture_same_logits(saved, other, f->n_vocab));
    fixture_extend(saved, ids + 45, 5);
    fixture_extend(other, ids + 45, 5);
    CU_ASSERT(fixture_same_logits(saved, other, f->n_vocab));
    nlm_session_destroy(saved);
    nlm_session_destroy(other);
    temporary_remove(&t);
}

static void session_in_memory_is_the_file(void) {
    each_model(memory_and_back, &four_sessions);
}

static void session_file_of_another_model_or_cache_is_refused(void) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    fixture f = fixture_open("llama-gqa-f32", NULL, 1);
    nlm_session *session = fixture_session(&f);
    int32_t ids[100];
    fixture_ids(&f, 9, ids, 100);
    fixture_extend(session, ids, 100);
    EXPECT_OK(nlm_session_save(session, temporary_path(&t, "s"), error));
    nlm_session_destroy(session);
    fixture_close(&f);
    static const struct {
        const char *model, *kv_type;
        uint32_t context;
        nlm_status status;
        const char *told;
    } cases[] = {
        {"llama-mha-f32", NULL, 0, NLM_UNSUPPORTED, "another model"},
        {"mamba-f32", NULL, 0, NLM_UNSUPPORTED, "another model"},
        {"llama-gqa-f32", "f32", 0, NLM_UNSUPPORTED, "another type of KV cache"},
        {"llama-gqa-f32", NULL, 99, NLM_LIMIT, "100 tokens"},
        {"llama-gqa-f32", NULL, 100, NLM_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nlm_model_options options = {
            .struct_size = sizeof options, .kv_type = cases[i].kv_type, .context_length = cases[i].context};
        nlm_error err = NLM_ERROR_INIT;
        f = fixture_open(cases[i].model, &options, 1);
        session = fixture_session(&f);
        CU_ASSERT_EQUAL(nlm_session_restore(session, temporary_path(&t, "s"), &err), cases[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
        nlm_session_destroy(session);
        fixture_close(&f);
    }
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(session_in_steps_and_chunks_gives_the_bits_of_one_prefill),
    CHECK_CASE(session_gives_the_logits_of_every_token),
    CHECK_CASE(session_forgets_everything_at_reset),
    CHECK_CASE(fork_leaves_both_sides_as_if_alone),
    CHECK_CASE(sixteen_sequences_in_a_batch_give_the_bits_each_gives_alone),
    CHECK_CASE(batch_refuses_what_it_cannot_run),
    CHECK_CASE(restored_session_continues_as_the_saved_one),
    CHECK_CASE(changed_session_file_is_an_error_and_changes_nothing),
    CHECK_CASE(session_in_memory_is_the_file),
    CHECK_CASE(session_file_of_another_model_or_cache_is_refused),
};
CHECK_MAIN("session", cases)
