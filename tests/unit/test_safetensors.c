/* Safetensors: what the Python package wrote is read, what is written has the package's bytes, and shards are one. */
#include "unit/check.h"

#include "format/safetensors.h"
#include "tensor/dtype.h"
#include "unit/temporary.h"

#define FIXTURES NLM_TEST_DATA "/safetensors/"

static nlm_safetensors *open_or_fail(const char *path) {
    nlm_safetensors *st = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_safetensors_open(path, &st, &err) != NLM_OK) printf(" [%s] ", err.msg);
    CU_ASSERT_PTR_NOT_NULL_FATAL(st);
    return st;
}

static void check_tensor(const nlm_safetensors *st, const char *name, const char *type, int rank,
                         const int64_t *shape, const void *data, size_t bytes) {
    const nlm_safetensors_tensor *tensor = nlm_safetensors_find(st, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    CU_ASSERT_STRING_EQUAL(tensor->name, name);
    CU_ASSERT_STRING_EQUAL(tensor->type, type);
    CU_ASSERT_EQUAL_FATAL(tensor->rank, rank);
    for (int d = 0; d < rank; d++) CU_ASSERT_EQUAL(tensor->shape[d], shape[d]);
    CU_ASSERT_EQUAL_FATAL(tensor->bytes, bytes);
    CU_ASSERT_EQUAL(memcmp(tensor->data, data, bytes), 0);
}

static void what_the_python_package_wrote_is_read(void) {
    static const float f32[] = {0, 0.25f, 0.5f, 0.75f, 1, 1.25f}, scalar = 1.5f, seven = 7;
    static const uint16_t f16[] = {0x3800, 0xC000, 0x7BFF};
    static const int32_t i32[] = {1, -2};
    static const int64_t i64 = INT64_C(1) << 40;
    nlm_safetensors *st = open_or_fail(FIXTURES "types.safetensors");
    CU_ASSERT_EQUAL(nlm_safetensors_count(st), 8);
    check_tensor(st, "f32", "F32", 2, (const int64_t[]){2, 3}, f32, sizeof f32);
    check_tensor(st, "f16", "F16", 1, (const int64_t[]){3}, f16, sizeof f16);
    check_tensor(st, "i32", "I32", 3, (const int64_t[]){1, 1, 2}, i32, sizeof i32);
    check_tensor(st, "i64", "I64", 1, (const int64_t[]){1}, &i64, sizeof i64);
    check_tensor(st, "u8", "U8", 1, (const int64_t[]){3}, "\0\1\2", 3);
    check_tensor(st, "scalar", "F32", 0, NULL, &scalar, sizeof scalar);
    check_tensor(st, "empty", "F32", 2, (const int64_t[]){0, 4}, "", 0);
    check_tensor(st, "\xC3\xA9 \"quoted\"", "F32", 1, (const int64_t[]){1}, &seven, sizeof seven);
    CU_ASSERT_STRING_EQUAL(nlm_safetensors_metadata(st, "note"), "two\nlines, \"quoted\", \xC3\xA9");
    CU_ASSERT_PTR_NULL(nlm_safetensors_metadata(st, "nothing"));
    CU_ASSERT_PTR_NULL(nlm_safetensors_find(st, "nothing"));
    CU_ASSERT_PTR_NULL(nlm_safetensors_at(st, 8));
    CU_ASSERT_EQUAL(nlm_safetensors_check(st, NULL), NLM_OK);
    const nlm_safetensors_tensor *tensor = nlm_safetensors_find(st, "f32");
    CU_ASSERT_TRUE(tensor->is_supported);
    CU_ASSERT_EQUAL(tensor->tensor.dtype, NLM_F32);
    CU_ASSERT_EQUAL(tensor->tensor.stride_bytes[0], 12);
    CU_ASSERT_TRUE(nlm_safetensors_find(st, "scalar")->is_supported);
    CU_ASSERT_EQUAL(nlm_safetensors_find(st, "scalar")->tensor.rank, 1);
    CU_ASSERT_FALSE(nlm_safetensors_find(st, "i64")->is_supported);
    CU_ASSERT_FALSE(nlm_safetensors_find(st, "empty")->is_supported);
    nlm_safetensors_close(st);
}

static const float floats[6] = {0, 0.25f, 0.5f, 0.75f, 1, 1.25f};
static const uint16_t halves[3] = {0x3800, 0xC000, 0x7BFF};
static const int32_t integers[2] = {1, -2};

/* The tensors and the metadata of writer.safetensors, in another order than the package's but for their types. */
static nlm_safetensors_writer *fixture_writer(void) {
    nlm_safetensors_writer *w = NULL;
    nlm_tensor f16, f32, i32;
    CU_ASSERT_EQUAL_FATAL(nlm_safetensors_writer_create(&w, NULL), NLM_OK);
    nlm_tensor_init(&f16, NLM_F16, 1, (const int64_t[]){3}, (void *)(uintptr_t)halves, NULL);
    nlm_tensor_init(&f32, NLM_F32, 2, (const int64_t[]){2, 3}, (void *)(uintptr_t)floats, NULL);
    nlm_tensor_init(&i32, NLM_I32, 3, (const int64_t[]){1, 1, 2}, (void *)(uintptr_t)integers, NULL);
    nlm_safetensors_writer_metadata(w, "a", "b\n");
    nlm_safetensors_writer_tensor(w, "f16", &f16);
    nlm_safetensors_writer_tensor(w, "f32", &f32);
    nlm_safetensors_writer_tensor(w, "i32", &i32);
    return w;
}

static size_t read_file(const char *path, void *out, size_t size) {
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    const size_t got = fread(out, 1, size, file);
    fclose(file);
    return got;
}

static void what_is_written_has_the_bytes_of_the_python_package(void) {
    temporary t;
    unsigned char expected[1024], written[1024];
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors_writer *w = fixture_writer();
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish(w, temporary_path(&t, "a.safetensors"), NULL), NLM_OK);
    nlm_safetensors_writer_destroy(w);
    const size_t size = read_file(FIXTURES "writer.safetensors", expected, sizeof expected);
    CU_ASSERT_EQUAL_FATAL(read_file(t.path, written, sizeof written), size);
    CU_ASSERT_EQUAL(memcmp(written, expected, size), 0);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    temporary_remove(&t);
}

/* Element i is i, as f32; `user` is where to fail, or NULL. */
static nlm_status count_up(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const int64_t *limit = user;
    (void)err;
    if (limit && first + count > *limit) return NLM_NUMERIC;
    for (int64_t i = 0; i < count; i++) ((float *)out)[i] = (float)(first + i);
    return NLM_OK;
}

enum { STREAMED = 3 * NLM_SOURCE_ELEMENTS / 2 };

static void elements_are_made_as_they_are_written(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_safetensors_writer_create(&w, NULL), NLM_OK);
    const int64_t shape[] = {3, NLM_SOURCE_ELEMENTS / 2};
    nlm_safetensors_writer_source(w, "x", NLM_F32, 2, shape, (nlm_tensor_source){count_up, NULL});
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish(w, temporary_path(&t, "a.safetensors"), NULL), NLM_OK);
    nlm_safetensors_writer_destroy(w);
    nlm_safetensors *st = open_or_fail(t.path);
    const nlm_safetensors_tensor *x = nlm_safetensors_find(st, "x");
    CU_ASSERT_EQUAL_FATAL(x->bytes, STREAMED * sizeof(float));
    CU_ASSERT_EQUAL((uintptr_t)x->data % sizeof(float), 0);
    size_t wrong = 0;
    for (int i = 0; i < STREAMED; i++) wrong += ((const float *)x->data)[i] != (float)i;
    CU_ASSERT_EQUAL(wrong, 0);
    nlm_safetensors_drop_pages(st, x);
    CU_ASSERT_EQUAL(((const float *)x->data)[STREAMED - 1], (float)(STREAMED - 1));
    nlm_safetensors_close(st);
    temporary_remove(&t);
}

/* A checkpoint that cannot be finished leaves the one before it. */
static void what_fails_leaves_the_file_as_it_was(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors_writer *w = fixture_writer();
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish(w, temporary_path(&t, "a.safetensors"), NULL), NLM_OK);
    int64_t limit = NLM_SOURCE_ELEMENTS;
    nlm_safetensors_writer_source(w, "x", NLM_F32, 1, (const int64_t[]){STREAMED},
                                  (nlm_tensor_source){count_up, &limit});
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish(w, t.path, NULL), NLM_NUMERIC);
    nlm_safetensors_writer_destroy(w);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    nlm_safetensors *st = open_or_fail(t.path);
    CU_ASSERT_EQUAL(nlm_safetensors_count(st), 3);
    nlm_safetensors_close(st);
    temporary_remove(&t);
}

static nlm_status finish_wrong(const char *name, nlm_dtype dtype, const char *key, nlm_error *err) {
    nlm_safetensors_writer *w = fixture_writer();
    nlm_tensor tensor;
    nlm_tensor_init(&tensor, dtype, 1, (const int64_t[]){32}, (void *)(uintptr_t)floats, NULL);
    if (name) nlm_safetensors_writer_tensor(w, name, &tensor);
    if (key) nlm_safetensors_writer_metadata(w, key, "x");
    const nlm_status status = nlm_safetensors_writer_finish(w, "/nowhere/a.safetensors", err);
    nlm_safetensors_writer_destroy(w);
    return status;
}

static void what_the_format_has_not_is_refused_before_anything_is_written(void) {
    static const struct {
        const char *name;
        nlm_dtype dtype;
        const char *key, *says;
    } cases[] = {
        {"f32", NLM_F32, NULL, "the tensor 'f32' was given twice"},
        {NULL, NLM_F32, "a", "the key 'a' was given twice"},
        {"", NLM_F32, NULL, "'' is no name"},
        {"__metadata__", NLM_F32, NULL, "'__metadata__' is no name"},
        {"q", NLM_Q8_0, NULL, "tensor 'q' is of type q8_0"},
        {"\xFF", NLM_F32, NULL, "no UTF-8"},
        {NULL, NLM_F32, "\xC0\x80", "no UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(finish_wrong(cases[i].name, cases[i].dtype, cases[i].key, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].says));
    }
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(finish_wrong(NULL, NLM_F32, NULL, &err), NLM_NOT_FOUND);
}

/* 24 bytes of f32, 8 of i32 and 6 of f16, in files of 24 bytes. */
static void a_folder_of_shards_reads_as_one(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors_writer *w = fixture_writer();
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish_folder(w, t.folder, 24, NULL), NLM_OK);
    nlm_safetensors_writer_destroy(w);
    CU_ASSERT_EQUAL(temporary_count(&t), 3);
    CU_ASSERT_EQUAL(access(temporary_path(&t, "model-00001-of-00002.safetensors"), R_OK), 0);
    CU_ASSERT_EQUAL(access(temporary_path(&t, "model-00002-of-00002.safetensors"), R_OK), 0);
    nlm_safetensors *st = open_or_fail(t.folder);
    CU_ASSERT_EQUAL(nlm_safetensors_count(st), 3);
    check_tensor(st, "f32", "F32", 2, (const int64_t[]){2, 3}, floats, sizeof floats);
    check_tensor(st, "f16", "F16", 1, (const int64_t[]){3}, halves, sizeof halves);
    check_tensor(st, "i32", "I32", 3, (const int64_t[]){1, 1, 2}, integers, sizeof integers);
    CU_ASSERT_STRING_EQUAL(nlm_safetensors_metadata(st, "a"), "b\n");
    nlm_safetensors_close(st);
    temporary_remove(&t);
}

static void a_folder_of_one_file_has_no_index(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_safetensors_writer *w = fixture_writer();
    CU_ASSERT_EQUAL(nlm_safetensors_writer_finish_folder(w, t.folder, 38, NULL), NLM_OK);
    nlm_safetensors_writer_destroy(w);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    nlm_safetensors *st = open_or_fail(t.folder);
    CU_ASSERT_EQUAL(nlm_safetensors_count(st), 3);
    nlm_safetensors_close(st);
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(what_the_python_package_wrote_is_read),
    CHECK_CASE(what_is_written_has_the_bytes_of_the_python_package),
    CHECK_CASE(elements_are_made_as_they_are_written),
    CHECK_CASE(what_fails_leaves_the_file_as_it_was),
    CHECK_CASE(what_the_format_has_not_is_refused_before_anything_is_written),
    CHECK_CASE(a_folder_of_shards_reads_as_one),
    CHECK_CASE(a_folder_of_one_file_has_no_index),
};
CHECK_MAIN("safetensors", cases)
