/* Reading GGUF files built byte by byte. */
#include "unit/check.h"

#include "format/gguf.h"
#include "tensor/dtype.h"
#include "unit/gguf_bytes.h"
#include "unit/temporary.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static nlm_status parse(const bytes *b, nlm_gguf **out, nlm_error *err) {
    return nlm_gguf_parse("memory", b->data, b->size, out, err);
}

static void gguf_reads_both_versions(void) {
    for (uint32_t version = 2; version <= 3; version++) {
        bytes b = {.size = 0};
        put_complete_file(&b, version);
        nlm_gguf *g = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL_FATAL(parse(&b, &g, &err), NLM_OK);
        CU_ASSERT_EQUAL(nlm_gguf_version(g), version);
        CU_ASSERT_EQUAL(nlm_gguf_alignment(g), 32);
        CU_ASSERT_EQUAL(nlm_gguf_file_bytes(g), b.size);
        CU_ASSERT_EQUAL(nlm_gguf_entry_count(g), 7);
        CU_ASSERT_EQUAL(nlm_gguf_tensor_count(g), 3);
        CU_ASSERT_STRING_EQUAL(nlm_gguf_path(g), "memory");
        CU_ASSERT_PTR_NULL(nlm_gguf_entry_at(g, 7));
        CU_ASSERT_PTR_NULL(nlm_gguf_tensor_at(g, 3));
        nlm_gguf_close(g);
    }
}

static void gguf_describes_tensors_outermost_first(void) {
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    nlm_gguf *g = NULL;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    const nlm_gguf_tensor *t = nlm_gguf_find_tensor(g, "w.f32");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_TRUE(t->is_supported);
    CU_ASSERT_EQUAL(t->tensor.rank, 2);
    CU_ASSERT_EQUAL(t->tensor.shape[0], 2);
    CU_ASSERT_EQUAL(t->tensor.shape[1], 4);
    CU_ASSERT_EQUAL(t->bytes, 32);
    float last;
    memcpy(&last, (const char *)t->tensor.data + 28, sizeof last);
    CU_ASSERT_EQUAL(last, 1.5f);
    t = nlm_gguf_find_tensor(g, "w.q4_0");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_EQUAL(t->bytes, 108);
    CU_ASSERT_EQUAL(t->tensor.stride_bytes[0], 36);
    t = nlm_gguf_find_tensor(g, "w.future");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_FALSE(t->is_supported);
    CU_ASSERT_EQUAL(t->type, 4711);
    CU_ASSERT_EQUAL(t->bytes, 0);
    CU_ASSERT_PTR_NULL(nlm_gguf_find_tensor(g, "w.f3"));
    nlm_gguf_close(g);
}

static void gguf_getters_convert_and_refuse(void) {
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    nlm_gguf *g = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    uint64_t u = 99;
    float f = 99;
    bool flag = false;
    nlm_gguf_string text;
    CU_ASSERT_TRUE(nlm_gguf_get_u64(g, "a.u8", &u, NULL) == NLM_OK && u == 200);
    CU_ASSERT_TRUE(nlm_gguf_get_u64(g, "a.bool", &u, NULL) == NLM_OK && u == 1);
    CU_ASSERT_TRUE(nlm_gguf_get_f32(g, "a.f32", &f, NULL) == NLM_OK && f == 0.25f);
    CU_ASSERT_TRUE(nlm_gguf_get_bool(g, "a.bool", &flag, NULL) == NLM_OK && flag);
    CU_ASSERT_EQUAL(nlm_gguf_get_string(g, "general.architecture", &text, NULL), NLM_OK);
    CU_ASSERT_TRUE(text.length == 5 && memcmp(text.data, "llama", 5) == 0);
    u = 99;
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "absent", &u, &err), NLM_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(err.msg, "the key 'absent' is missing");
    CU_ASSERT_EQUAL(u, 99);
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "a.i32", &u, &err), NLM_BAD_FORMAT);
    CU_ASSERT_STRING_EQUAL(err.msg, "the key 'a.i32' is -3, expected 0 or more");
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "a.f32", &u, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "a.numbers", &u, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_gguf_get_f32(g, "a.u8", &f, &err), NLM_BAD_FORMAT);
    CU_ASSERT_STRING_EQUAL(err.msg, "the key 'a.u8' is of type u8, expected f32");
    CU_ASSERT_EQUAL(nlm_gguf_get_bool(g, "a.u8", &flag, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_gguf_get_string(g, "a.strings", &text, NULL), NLM_BAD_FORMAT);
    nlm_gguf_close(g);
}

static void gguf_arrays_give_their_elements(void) {
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    nlm_gguf *g = NULL;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    const nlm_gguf_entry *numbers = nlm_gguf_find(g, "a.numbers");
    CU_ASSERT_PTR_NOT_NULL_FATAL(numbers);
    CU_ASSERT_EQUAL(numbers->type, NLM_GGUF_ARRAY);
    CU_ASSERT_EQUAL(numbers->element_type, NLM_GGUF_I32);
    CU_ASSERT_EQUAL(numbers->count, 3);
    CU_ASSERT_EQUAL(numbers->bytes, 12);
    for (uint64_t i = 0; i < 3; i++) CU_ASSERT_EQUAL(nlm_gguf_array_i64(numbers, i), (int64_t)i * 10 - 10);
    CU_ASSERT_EQUAL(nlm_gguf_array_f64(numbers, 0), -10.0);
    CU_ASSERT_EQUAL(nlm_gguf_array_f64(nlm_gguf_find(g, "a.f32"), 0), 0.25);
    const nlm_gguf_entry *strings = nlm_gguf_find(g, "a.strings");
    CU_ASSERT_PTR_NOT_NULL_FATAL(strings);
    CU_ASSERT_EQUAL(strings->count, 2);
    CU_ASSERT_TRUE(strings->strings[0].length == 3 && memcmp(strings->strings[0].data, "one", 3) == 0);
    CU_ASSERT_EQUAL(strings->strings[1].length, 0);
    CU_ASSERT_EQUAL(nlm_gguf_array_i64(strings, 0), 0);
    nlm_gguf_close(g);
}

/* Each number type at its ends, read as int64 and double. */
static void gguf_numbers_of_every_type_keep_their_value(void) {
    static const struct {
        nlm_gguf_type type;
        uint64_t bits;
        size_t size;
        int64_t as_i64;
        double as_f64;
    } numbers[] = {
        {NLM_GGUF_U8, 255, 1, 255, 255},
        {NLM_GGUF_I8, 0x80, 1, -128, -128},
        {NLM_GGUF_U16, 65535, 2, 65535, 65535},
        {NLM_GGUF_I16, 0x8000, 2, -32768, -32768},
        {NLM_GGUF_U32, 0xFFFFFFFF, 4, 4294967295, 4294967295.0},
        {NLM_GGUF_I32, 0x80000000, 4, INT32_MIN, -2147483648.0},
        {NLM_GGUF_F32, 0xC0200000, 4, -2, -2.5},
        {NLM_GGUF_BOOL, 1, 1, 1, 1},
        {NLM_GGUF_U64, UINT64_MAX, 8, INT64_MAX, 18446744073709551615.0},
        {NLM_GGUF_I64, UINT64_C(1) << 63, 8, INT64_MIN, -0x1p63},
        {NLM_GGUF_F64, 0x4415AF1D78B58C40, 8, INT64_MAX, 1e20},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        bytes b = {.size = 0};
        put_header(&b, 3, 0, 1);
        put_key(&b, "k", numbers[i].type);
        put(&b, &numbers[i].bits, numbers[i].size);
        nlm_gguf *g = NULL;
        CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
        const nlm_gguf_entry *entry = nlm_gguf_find(g, "k");
        CU_ASSERT_EQUAL(nlm_gguf_array_i64(entry, 0), numbers[i].as_i64);
        CU_ASSERT_EQUAL(nlm_gguf_array_f64(entry, 0), numbers[i].as_f64);
        nlm_gguf_close(g);
    }
}

static void gguf_get_u64_holds_the_largest(void) {
    bytes b = {.size = 0};
    put_header(&b, 3, 0, 2);
    put_key(&b, "big", NLM_GGUF_U64);
    put_u64(&b, UINT64_MAX);
    put_key(&b, "inf", NLM_GGUF_F32);
    put_f32(&b, INFINITY);
    nlm_gguf *g = NULL;
    uint64_t u = 0;
    float f = 0;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    CU_ASSERT_TRUE(nlm_gguf_get_u64(g, "big", &u, NULL) == NLM_OK && u == UINT64_MAX);
    CU_ASSERT_EQUAL(nlm_gguf_get_f32(g, "inf", &f, NULL), NLM_BAD_FORMAT);
    nlm_gguf_close(g);
}

static void gguf_honours_the_files_alignment(void) {
    bytes b = {.size = 0};
    put_header(&b, 3, 1, 1);
    put_key(&b, "general.alignment", NLM_GGUF_U32);
    put_u32(&b, 128);
    put_tensor(&b, "w", 1, (const uint64_t[]){1}, NLM_F32, 128);
    put_padding(&b, 128);
    for (int i = 0; i < 32; i++) put_u32(&b, 0);
    put_f32(&b, 42);
    nlm_gguf *g = NULL;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_gguf_alignment(g), 128);
    CU_ASSERT_EQUAL(*(const float *)nlm_gguf_find_tensor(g, "w")->tensor.data, 42.0f);
    nlm_gguf_close(g);
}

/* 100,000 tensors whose names differ only at their ends are all found. */
static void gguf_finds_every_tensor_of_a_large_file(void) {
    enum { COUNT = 100000, INFO = 8 + 20 + 4 + 8 + 4 + 8 };
    const size_t head = 24 + (size_t)COUNT * INFO, size = head + (size_t)COUNT * 32 + 32;
    unsigned char *data = calloc(1, size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    bytes b = {.size = 0};
    put_header(&b, 3, COUNT, 0);
    memcpy(data, b.data, b.size);
    for (uint64_t i = 0; i < COUNT; i++) {
        char name[24];
        snprintf(name, sizeof name, "blk.weight.%09u", (unsigned)(COUNT - i));
        b.size = 0;
        put_tensor(&b, name, 1, (const uint64_t[]){8}, NLM_F32, i * 32);
        memcpy(data + 24 + i * INFO, b.data, INFO);
    }
    nlm_gguf *g = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("memory", data, size, &g, NULL), NLM_OK);
    for (size_t i = 0; i < COUNT; i++) {
        char name[24];
        snprintf(name, sizeof name, "blk.weight.%09u", (unsigned)(COUNT - i));
        CU_ASSERT_PTR_EQUAL_FATAL(nlm_gguf_find_tensor(g, name), nlm_gguf_tensor_at(g, i));
    }
    nlm_gguf_close(g);
    free(data);
}

/* A file of one tensor of `count` bytes' worth of numbers; its name and times are as given. */
static nlm_gguf_identity identify(const char *path, const char *name, const unsigned char *data, int64_t count) {
    nlm_gguf_writer *w = NULL;
    nlm_gguf *g = NULL;
    nlm_tensor tensor;
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf_identity identity = {0};
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_create(&w, &err), NLM_OK);
    nlm_tensor_init(&tensor, NLM_F32, 1, (const int64_t[]){count / 4}, (void *)(uintptr_t)data, NULL);
    nlm_gguf_writer_tensor(w, name, &tensor);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_finish(w, path, &err), NLM_OK);
    nlm_gguf_writer_destroy(w);
    const struct timespec times[2] = {{1000, 0}, {1000, 17}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_open(path, &g, &err), NLM_OK);
    CU_ASSERT_TRUE(nlm_gguf_identify(g, &identity));
    CU_ASSERT_EQUAL(memcmp(nlm_gguf_tensor_at(g, 0)->tensor.data, data, (size_t)count), 0); /* still there */
    CU_ASSERT_TRUE(identity.bytes == nlm_gguf_file_bytes(g) && identity.modified_s == 1000 &&
                   identity.modified_ns == 17);
    nlm_gguf_close(g);
    return identity;
}

static void gguf_identity_tells_header_and_samples(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "f.gguf");
    static const int64_t counts[] = {4, 4096, 64 * 4096, 64 * 4096 + 4, 1000000};
    unsigned char *data = calloc(1, 1000000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const int64_t count = counts[i];
        const uint64_t sum = identify(path, "w", data, count).checksum;
        CU_ASSERT_EQUAL(identify(path, "w", data, count).checksum, sum);
        CU_ASSERT_NOT_EQUAL(identify(path, "v", data, count).checksum, sum);
        const int64_t places[] = {0, count - 1, (count - 4096) * 40 / 63};
        for (int k = 0; k < 3; k++) {
            if (places[k] < 0) continue;
            data[places[k]] ^= 1;
            CU_ASSERT_NOT_EQUAL(identify(path, "w", data, count).checksum, sum);
            data[places[k]] ^= 1;
        }
    }
    free(data);
    temporary_remove(&t);
    bytes b = {.size = 0};
    put_complete_file(&b, 3);
    nlm_gguf *g = NULL;
    nlm_gguf_identity identity;
    CU_ASSERT_EQUAL_FATAL(parse(&b, &g, NULL), NLM_OK);
    CU_ASSERT_FALSE(nlm_gguf_identify(g, &identity));
    nlm_gguf_close(g);
}

static const check_case cases[] = {
    CHECK_CASE(gguf_reads_both_versions),
    CHECK_CASE(gguf_describes_tensors_outermost_first),
    CHECK_CASE(gguf_getters_convert_and_refuse),
    CHECK_CASE(gguf_arrays_give_their_elements),
    CHECK_CASE(gguf_numbers_of_every_type_keep_their_value),
    CHECK_CASE(gguf_get_u64_holds_the_largest),
    CHECK_CASE(gguf_honours_the_files_alignment),
    CHECK_CASE(gguf_identity_tells_header_and_samples),
    CHECK_CASE(gguf_finds_every_tensor_of_a_large_file),
};

CHECK_MAIN("gguf_read", cases)
