/* Metadata in place of the file's. */
#include "unit/check.h"
#include "unit/vocab_bytes.h"

static nlm_gguf *open_small(vocab_bytes *v) {
    nlm_gguf *gguf = NULL;
    vocab_number(v, "b.number", 7);
    vocab_string(v, "a.text", "old");
    vocab_strings(v, "c.texts", (const char *const[]){"x", "y"}, 2);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("small", v->bytes.data, v->bytes.length, &gguf, NULL), NLM_OK);
    return gguf;
}

static void expect_text(const nlm_gguf *gguf, const char *key, const char *expected) {
    nlm_gguf_string text = {NULL, 0};
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_get_string(gguf, key, &text, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(text.length, strlen(expected));
    CU_ASSERT_EQUAL(memcmp(text.data, expected, (size_t)text.length), 0);
}

static void values_take_the_place_of_the_files(void) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = open_small(&v);
    uint64_t whole = 0;
    float real = 0;
    bool truth = false;
    CU_ASSERT_EQUAL(nlm_gguf_overrides_sum(gguf), 0);
    static const char *const given[] = {"b.number=int:8",    "a.text=str:new=er", "new.one=float:0.5",
                                        "c.texts=bool:true", "another=int:-3",    "a=str:"};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        CU_ASSERT_EQUAL(nlm_gguf_override(gguf, given[i], NULL), NLM_OK);
    }
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(gguf, "b.number", &whole, NULL), NLM_OK);
    CU_ASSERT_EQUAL(whole, 8);
    CU_ASSERT_EQUAL(nlm_gguf_get_f32(gguf, "new.one", &real, NULL), NLM_OK);
    CU_ASSERT_EQUAL(real, 0.5f);
    CU_ASSERT_EQUAL(nlm_gguf_get_bool(gguf, "c.texts", &truth, NULL), NLM_OK);
    CU_ASSERT_TRUE(truth);
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(gguf, "another", &whole, NULL), NLM_BAD_FORMAT); /* it is below 0 */
    CU_ASSERT_EQUAL(nlm_gguf_entry_count(gguf), 6);
    nlm_gguf_drop_strings(gguf); /* the file's alone */
    expect_text(gguf, "a.text", "new=er");
    expect_text(gguf, "a", "");
    CU_ASSERT_NOT_EQUAL(nlm_gguf_overrides_sum(gguf), 0);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
}

static void what_is_no_override_is_told(void) {
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"", "KEY=TYPE:VALUE"},
        {"key", "KEY=TYPE:VALUE"},
        {"=int:1", "KEY=TYPE:VALUE"},
        {"key=1", "KEY=int:N"},
        {"key=u32:1", "KEY=int:N"},
        {"key=int:", "a whole number"},
        {"key=int:1.5", "a whole number"},
        {"key=int:99999999999999999999", "a whole number"},
        {"key=float:inf", "a number"},
        {"key=float:1x", "a number"},
        {"key=bool:1", "KEY=bool:true"},
    };
    vocab_bytes v = {0};
    nlm_gguf *gguf = open_small(&v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_gguf_override(gguf, cases[i].text, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
    }
    CU_ASSERT_EQUAL(nlm_gguf_entry_count(gguf), 3);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
}

static const check_case cases[] = {
    CHECK_CASE(values_take_the_place_of_the_files),
    CHECK_CASE(what_is_no_override_is_told),
};

CHECK_MAIN("gguf_override", cases)
