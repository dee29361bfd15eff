/* The prompt cache in a file: found again by a later load, and refused where it is damaged or not of this model. */
#include <nlm/nlm.h>
#include <sys/stat.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/little_endian.h"
#include "session_fixture.h"
#include "temporary.h"

#define LENGTH 200

static fixture open_with(const char *name, const nlm_model_options *more) {
    nlm_model_options options = more ? *more : (nlm_model_options){0};
    options.struct_size = sizeof options;
    options.context_length = 512;
    if (options.parallel == 0) options.parallel = 2;
    return fixture_open(name, &options, 1);
}

/* Computes the prompt on a session of its own: what was cached. `check`: with the bits that this one computes. */
static uint64_t extend_with(const fixture *f, const int32_t *ids, size_t n, const fixture *check) {
    nlm_session *session = fixture_session(f);
    fixture_extend(session, ids, n);
    const uint64_t cached = fixture_metrics(session).cached_tokens;
    if (check) {
        nlm_session *cold = fixture_session(check);
        fixture_extend(cold, ids, n);
        CU_ASSERT_EQUAL(fixture_metrics(cold).cached_tokens, 0);
        CU_ASSERT(fixture_same_logits(session, cold, f->n_vocab));
        nlm_session_destroy(cold);
    }
    nlm_session_destroy(session);
    return cached;
}

static nlm_status restore_code(const fixture *f, const char *path, const char *expected) {
    nlm_error err = NLM_ERROR_INIT;
    uint64_t n = 77;
    const nlm_status status = nlm_model_restore_prompts(f->model, path, &n, &err);
    if (status != NLM_OK) CU_ASSERT_EQUAL(n, 0);
    if (expected && !strstr(err.msg, expected)) printf("\n  %s", err.msg);
    CU_ASSERT(!expected || strstr(err.msg, expected));
    return status;
}

/* Two prompts that begin alike, in a file at `path`; the second was used latest. */
static void save_two(const char *name, const char *path, uint64_t max_bytes, int32_t *a, int32_t *b) {
    fixture f = open_with(name, NULL);
    struct stat info;
    uint64_t n = 0;
    fixture_ids(&f, 1, a, LENGTH);
    fixture_ids(&f, 2, b, LENGTH);
    memcpy(b, a, 128 * sizeof *a);
    extend_with(&f, a, LENGTH, NULL);
    CU_ASSERT_EQUAL(extend_with(&f, b, LENGTH, NULL), 128);
    EXPECT_OK(nlm_model_save_prompts(f.model, path, max_bytes, &n, error));
    CU_ASSERT_EQUAL_FATAL(stat(path, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 0777, 0600);
    if (max_bytes) CU_ASSERT((uint64_t)info.st_size <= max_bytes + 4096);
    if (!max_bytes) CU_ASSERT_EQUAL(n, 192 + 64);
    fixture_close(&f);
}

static void prompts_are_found_after_a_restart(void) {
    static int32_t a[LENGTH], b[LENGTH];
    static const char *const names[] = {"llama-gqa-f32", "llama-window-bf16", "mamba-f32"};
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    for (size_t m = 0; m < 3; m++) {
        const nlm_model_options plain = {.flags = NLM_MODEL_NO_PROMPT_CACHE};
        save_two(names[m], temporary_path(&t, "prompts"), 0, a, b);
        CU_ASSERT_EQUAL(temporary_count(&t), 1);
        fixture f = open_with(names[m], NULL), cold = open_with(names[m], &plain);
        uint64_t n = 0;
        EXPECT_OK(nlm_model_restore_prompts(f.model, t.path, &n, error));
        CU_ASSERT_EQUAL(n, 192 + 64);
        EXPECT_OK(nlm_model_restore_prompts(f.model, t.path, &n, error)); /* all is there already */
        CU_ASSERT_EQUAL(n, 0);
        CU_ASSERT_EQUAL(extend_with(&f, a, LENGTH, &cold), 192);
        CU_ASSERT_EQUAL(extend_with(&f, b, LENGTH, &cold), 192);
        CU_ASSERT_EQUAL(restore_code(&cold, t.path, "without one"), NLM_UNSUPPORTED);
        /* and once more, of what was restored */
        EXPECT_OK(nlm_model_save_prompts(f.model, t.path, 0, &n, error));
        CU_ASSERT_EQUAL(n, 192 + 64);
        fixture_close(&f);
        fixture_close(&cold);
    }
    temporary_remove(&t);
}

static void what_was_used_latest_is_kept_where_room_is_short(void) {
    static int32_t a[LENGTH], b[LENGTH];
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "prompts");
    save_two("llama-gqa-f32", path, 0, a, b);
    struct stat whole;
    CU_ASSERT_EQUAL_FATAL(stat(path, &whole), 0);
    save_two("llama-gqa-f32", path, (uint64_t)whole.st_size * 3 / 4 + 64, a, b);
    fixture f = open_with("llama-gqa-f32", NULL);
    CU_ASSERT_EQUAL(restore_code(&f, path, NULL), NLM_OK);
    CU_ASSERT_EQUAL(extend_with(&f, a, LENGTH, NULL), 128);
    fixture_close(&f);
    f = open_with("llama-gqa-f32", NULL);
    CU_ASSERT_EQUAL(restore_code(&f, path, NULL), NLM_OK);
    CU_ASSERT_EQUAL(extend_with(&f, b, LENGTH, NULL), 192);
    fixture_close(&f);
    /* A cache that holds less takes the first part of the file. */
    save_two("llama-gqa-f32", path, 0, a, b);
    const nlm_model_options small = {.prompt_cache_bytes = (uint64_t)whole.st_size * 3 / 4 + 64};
    f = open_with("llama-gqa-f32", &small);
    CU_ASSERT_EQUAL(restore_code(&f, path, NULL), NLM_OK);
    CU_ASSERT_EQUAL(extend_with(&f, b, LENGTH, NULL), 192);
    fixture_close(&f);
    temporary_remove(&t);
}

static void other_models_and_other_users_files_are_refused(void) {
    static int32_t a[LENGTH], b[LENGTH];
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "prompts");
    const nlm_model_options f32 = {.kv_type = "f32"};
    save_two("llama-gqa-f32", path, 0, a, b);
    fixture other = open_with("llama-mha-f32", NULL), wide = open_with("llama-gqa-f32", &f32),
            same = open_with("llama-gqa-f32", NULL);
    CU_ASSERT_EQUAL(restore_code(&other, path, "another model"), NLM_UNSUPPORTED);
    CU_ASSERT_EQUAL(restore_code(&wide, path, "another type of KV cache"), NLM_UNSUPPORTED);
    CU_ASSERT_EQUAL(chmod(path, 0666), 0);
    CU_ASSERT_EQUAL(restore_code(&same, path, "another user's"), NLM_PERMISSION);
    CU_ASSERT_EQUAL(restore_code(&same, temporary_path(&t, "none"), NULL), NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(extend_with(&same, a, LENGTH, NULL), 0);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_model_save_prompts(same.model, temporary_path(&t, "no/where"), 0, NULL, &err), NLM_NOT_FOUND);
    fixture_close(&other);
    fixture_close(&wide);
    fixture_close(&same);
    temporary_remove(&t);
}

/* Another backend may compute other bits: where one is built, it does not take them. */
static void prompts_of_another_backend_are_refused(void) {
    static int32_t a[LENGTH], b[LENGTH];
    temporary t;
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .flags = NLM_ENGINE_UNBOUND,
                                        .backend = "cpu_avx2",
                                        .threads = 1,
                                        .registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    const nlm_model_options plain = {.struct_size = sizeof plain, .context_length = 512, .parallel = 2};
    fixture f = {0};
    if (nlm_engine_create(&options, &f.engine, NULL) != NLM_OK) {
        printf("skipped: no cpu_avx2 here ");
        return;
    }
    CU_ASSERT_FATAL(temporary_make(&t));
    save_two("llama-gqa-f32", temporary_path(&t, "prompts"), 0, a, b);
    EXPECT_OK(nlm_model_load(f.engine, NLM_TEST_DATA "/models/llama-gqa-f32.gguf", &plain, &f.model, error));
    CU_ASSERT_EQUAL(restore_code(&f, t.path, "another backend"), NLM_UNSUPPORTED);
    fixture_close(&f);
    temporary_remove(&t);
}

static void write_changed(const char *path, unsigned char *bytes, size_t size, bool has_checksum) {
    if (has_checksum) nlm_put_le(bytes + size - 8, nlm_checksum_of(bytes, size - 8), 8);
    EXPECT_OK(nlm_file_write(path, bytes, size, error));
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
}

static void damaged_file_is_refused_whole(void) {
    static int32_t a[LENGTH], b[LENGTH];
    temporary t;
    nlm_file_map map;
    CU_ASSERT_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "prompts");
    save_two("llama-gqa-f32", path, 0, a, b);
    fixture f = open_with("llama-gqa-f32", NULL);
    EXPECT_OK(nlm_file_read(path, &map, error));
    unsigned char *bytes = malloc(map.size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    for (size_t at = 0; at < map.size; at += at < 80 ? 1 : map.size / 50) {
        memcpy(bytes, map.data, map.size);
        bytes[at] ^= 0x41;
        write_changed(path, bytes, map.size, false);
        CU_ASSERT_NOT_EQUAL(restore_code(&f, path, NULL), NLM_OK);
        memcpy(bytes, map.data, map.size);
        write_changed(path, bytes, at, false);
        CU_ASSERT_EQUAL(restore_code(&f, path, NULL), at < 8 ? NLM_INVALID_ARGUMENT : NLM_BAD_FORMAT);
    }
    /* Numbers that a file may not have, with a checksum that fits. */
    static const struct {
        size_t at;
        uint32_t value;
    } wrong[] = {{8, 2},  {16, 1}, {24, 1}, {32, 1},  {48, 1000},       {48, 1},       {52, 9},
                 {56, 0}, {56, 7}, {60, 0}, {60, 33}, {60, 0x7fffffe0}, {64, 1u << 30}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(bytes, map.data, map.size);
        nlm_put_le(bytes + wrong[i].at, wrong[i].value, 4);
        write_changed(path, bytes, map.size, true);
        CU_ASSERT_NOT_EQUAL(restore_code(&f, path, NULL), NLM_OK);
    }
    CU_ASSERT_EQUAL(extend_with(&f, a, LENGTH, NULL), 0);
    nlm_file_map_close(&map);
    free(bytes);
    fixture_close(&f);
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(prompts_are_found_after_a_restart),
    CHECK_CASE(what_was_used_latest_is_kept_where_room_is_short),
    CHECK_CASE(other_models_and_other_users_files_are_refused),
    CHECK_CASE(prompts_of_another_backend_are_refused),
    CHECK_CASE(damaged_file_is_refused_whole),
};
CHECK_MAIN("save prompts", cases)
