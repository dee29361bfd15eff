#include "unit/check.h"

#include "format/gguf.h"
#include "unit/gguf_bytes.h"

#include <math.h>
#include <unistd.h>

static nlm_status parse(const bytes *b, nlm_gguf **out, nlm_error *err) {
    return nlm_gguf_parse("memory", b->data, b->size, out, err);
}

/* A file of every metadata type and three tensors, with the first tensor's data 32 bytes of 1.5f. */
static void put_complete_file(bytes *b, uint32_t version) {
    put_header(b, version, 3, 7);
    put_key(b, "general.architecture", NLM_GGUF_STRING);
    put_string(b, "llama");
    put_key(b, "a.u8", NLM_GGUF_U8);
    put_u8(b, 200);
    put_key(b, "a.i32", NLM_GGUF_I32);
    put_u32(b, (uint32_t)-3);
    put_key(b, "a.f32", NLM_GGUF_F32);
    put_f32(b, 0.25f);
    put_key(b, "a.bool", NLM_GGUF_BOOL);
    put_u8(b, 1);
    put_key(b, "a.numbers", NLM_GGUF_ARRAY);
    put_u32(b, NLM_GGUF_I32);
    put_u64(b, 3);
    for (uint32_t i = 0; i < 3; i++) put_u32(b, i * 10 - 10);
    put_key(b, "a.strings", NLM_GGUF_ARRAY);
    put_u32(b, NLM_GGUF_STRING);
    put_u64(b, 2);
    put_string(b, "one");
    put_string(b, "");
    put_tensor(b, "w.f32", 2, (const uint64_t[]){4, 2}, NLM_F32, 0);
    put_tensor(b, "w.q4_0", 2, (const uint64_t[]){64, 3}, NLM_Q4_0, 32);
    put_tensor(b, "w.future", 1, (const uint64_t[]){7}, 4711, 160);
    put_padding(b, 32);
    for (int i = 0; i < 8; i++) put_f32(b, 1.5f);
    for (int i = 0; i < 128 + 32; i++) put_u8(b, 0);
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

static const check_case cases[] = {
    CHECK_CASE(gguf_reads_both_versions),
    CHECK_CASE(gguf_describes_tensors_outermost_first),
};

CHECK_MAIN("gguf_read", cases)
