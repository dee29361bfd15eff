/* Writing GGUF files, against the specified bytes. */
#include "unit/check.h"

#include "format/gguf.h"
#include "tensor/dtype.h"
#include "unit/gguf_bytes.h"
#include "unit/temporary.h"

static const float weights[2][4] = {{1, 2, 3, 4}, {-5, 6, -7, 8}};

static nlm_tensor tensor_2x4(void) {
    nlm_tensor tensor;
    const int64_t shape[] = {2, 4};
    CU_ASSERT_EQUAL_FATAL(nlm_tensor_init(&tensor, NLM_F32, 2, shape, (void *)(uintptr_t)weights, NULL), NLM_OK);
    return tensor;
}

static nlm_status give_weights(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    (void)user;
    (void)err;
    memcpy(out, (const float *)weights + first, (size_t)count * sizeof(float));
    return NLM_OK;
}

/* One tensor that is there, and the same made as it is written. */
static void fill(nlm_gguf_writer *w) {
    const nlm_tensor tensor = tensor_2x4();
    const int32_t numbers[] = {-1, 0, 7};
    const nlm_gguf_string strings[] = {{"a\0b", 3}, {"", 0}};
    nlm_gguf_writer_string(w, "general.architecture", "llama", 5);
    nlm_gguf_writer_u32(w, "n", 7);
    nlm_gguf_writer_f32(w, "f", 0.5f);
    nlm_gguf_writer_bool(w, "b", true);
    nlm_gguf_writer_array(w, "numbers", NLM_GGUF_I32, numbers, 3);
    nlm_gguf_writer_strings(w, "strings", strings, 2);
    nlm_gguf_writer_tensor(w, "first", &tensor);
    nlm_gguf_writer_source(w, "second", NLM_F32, 2, (const int64_t[]){2, 4}, (nlm_tensor_source){give_weights, NULL});
}

/* The bytes that fill() must give, from the specification. */
static void put_expected(bytes *b) {
    put_header(b, 3, 2, 6);
    put_key(b, "general.architecture", 8);
    put_string(b, "llama");
    put_key(b, "n", 4);
    put_u32(b, 7);
    put_key(b, "f", 6);
    put_f32(b, 0.5f);
    put_key(b, "b", 7);
    put_u8(b, 1);
    put_key(b, "numbers", 9);
    put_u32(b, 5);
    put_u64(b, 3);
    put_u32(b, 0xFFFFFFFFu);
    put_u32(b, 0);
    put_u32(b, 7);
    put_key(b, "strings", 9);
    put_u32(b, 8);
    put_u64(b, 2);
    put_u64(b, 3);
    put(b, "a\0b", 3);
    put_u64(b, 0);
    put_tensor(b, "first", 2, (const uint64_t[]){4, 2}, 0, 0);
    put_tensor(b, "second", 2, (const uint64_t[]){4, 2}, 0, 32);
    put_padding(b, 32);
    put(b, weights, sizeof weights);
    put(b, weights, sizeof weights);
}

static void gguf_writer_gives_the_specified_bytes(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_gguf_writer *w = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_create(&w, &err), NLM_OK);
    fill(w);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_finish(w, temporary_path(&t, "m.gguf"), &err), NLM_OK);
    nlm_gguf_writer_destroy(w);
    bytes expected = {.size = 0};
    put_expected(&expected);
    unsigned char written[4096];
    FILE *file = fopen(t.path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    const size_t size = fread(written, 1, sizeof written, file);
    fclose(file);
    CU_ASSERT_EQUAL(size, expected.size);
    CU_ASSERT_EQUAL(memcmp(written, expected.data, expected.size), 0);
    temporary_remove(&t);
}

static void gguf_written_with_an_alignment_reads_back(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const nlm_tensor tensor = tensor_2x4();
    nlm_gguf_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_create(&w, NULL), NLM_OK);
    nlm_gguf_writer_u32(w, "general.alignment", 256);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        nlm_gguf_writer_tensor(w, name, &tensor);
    }
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_finish(w, temporary_path(&t, "m.gguf"), NULL), NLM_OK);
    nlm_gguf_writer_destroy(w);
    nlm_gguf *g = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_open(t.path, &g, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_gguf_alignment(g), 256);
    const nlm_gguf_tensor *last = nlm_gguf_find_tensor(g, "t99");
    CU_ASSERT_PTR_NOT_NULL_FATAL(last);
    CU_ASSERT_EQUAL(last->offset % 256, 0);
    CU_ASSERT_EQUAL(memcmp(last->tensor.data, weights, sizeof weights), 0);
    nlm_gguf_drop_pages(g, last->tensor.data, last->bytes);
    nlm_gguf_drop_pages(g, nlm_gguf_tensor_at(g, 0)->tensor.data, 99 * 256);
    CU_ASSERT_EQUAL(memcmp(nlm_gguf_tensor_at(g, 50)->tensor.data, weights, sizeof weights), 0);
    nlm_gguf_close(g);
    temporary_remove(&t);
}

static void repeat_key(nlm_gguf_writer *w) {
    nlm_gguf_writer_u32(w, "k", 1);
    nlm_gguf_writer_u32(w, "j", 1);
    nlm_gguf_writer_bool(w, "k", false);
}
static void repeat_tensor(nlm_gguf_writer *w) {
    const nlm_tensor tensor = tensor_2x4();
    nlm_gguf_writer_tensor(w, "k", &tensor);
    nlm_gguf_writer_tensor(w, "k", &tensor);
}
static void empty_key(nlm_gguf_writer *w) {
    nlm_gguf_writer_u32(w, "", 1);
    nlm_gguf_writer_u32(w, "more", 1);
}
static void bad_alignment(nlm_gguf_writer *w) {
    nlm_gguf_writer_u32(w, "general.alignment", 48);
}
static void array_of_strings_as_numbers(nlm_gguf_writer *w) {
    nlm_gguf_writer_array(w, "k", NLM_GGUF_STRING, "x", 1);
}
static void strided_tensor(nlm_gguf_writer *w) {
    nlm_tensor tensor = tensor_2x4();
    tensor.stride_bytes[0] = 32;
    nlm_gguf_writer_tensor(w, "k", &tensor);
}

static void empty_source(nlm_gguf_writer *w) {
    nlm_gguf_writer_source(w, "k", NLM_F32, 2, (const int64_t[]){0, 4}, (nlm_tensor_source){give_weights, NULL});
}

static void gguf_writer_refuses_what_no_reader_takes(void) {
    static void (*const bad[])(nlm_gguf_writer *) = {repeat_key,    repeat_tensor,  empty_key,
                                                     bad_alignment, strided_tensor, array_of_strings_as_numbers,
                                                     empty_source};
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nlm_gguf_writer *w = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_create(&w, NULL), NLM_OK);
        bad[i](w);
        CU_ASSERT_EQUAL(nlm_gguf_writer_finish(w, temporary_path(&t, "m.gguf"), &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_NOT_EQUAL(err.msg[0], 0);
        nlm_gguf_writer_destroy(w);
    }
    CU_ASSERT_EQUAL(temporary_count(&t), 0);
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(gguf_writer_gives_the_specified_bytes),
    CHECK_CASE(gguf_written_with_an_alignment_reads_back),
    CHECK_CASE(gguf_writer_refuses_what_no_reader_takes),
};

CHECK_MAIN("gguf_write", cases)
