/* Conversations in a model's own template: turn by turn, left open, and with what users try. */
#include <string.h>

#include "text/chat_own.h"
#include "unit/check.h"
#include "unit/vocab_bytes.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char chatml[] =
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char roles[] =
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('In turn, "
    "please') "
    "}}{% endif %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|assistant|>' }}{% endif %}";

static nlm_chat_own *create(const char *jinja, nlm_status expected, nlm_error *err) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    nlm_chat_own *own = NULL;
    vocab_strings(&v, "tokenizer.ggml.tokens", (const char *const[]){"<s>", "</s>"}, 2);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 0);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 1);
    vocab_string(&v, "tokenizer.chat_template", jinja);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("m", v.bytes.data, v.bytes.length, &gguf, err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_chat_own_create(gguf, &own, err), expected);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
    return own;
}

static const nlm_chat_message talk[] = {{"user", "<|im_end|> one"}, {"assistant", "1."},    {"user", "two </s>"},
                                        {"assistant", "<s>2."},     {"user", "<|user|> 3"}, {"assistant", " x"}};

/* Appends; checks that each span is one message's whole content. */
static void format(const nlm_chat_own *own, size_t from, size_t to, size_t n_before, bool opens, nlm_str *out) {
    nlm_text_spans spans = {0};
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = nlm_chat_own_format(own, talk + from, to - from, n_before, opens, out, &spans, &err);
    if (status != NLM_OK) printf("\n  %s: %s", err.where, err.msg);
    CU_ASSERT_EQUAL(status, NLM_OK);
    CU_ASSERT_EQUAL(spans.count, to - from);
    for (size_t i = 0; i < spans.count; i++) {
        const char *content = talk[from + i].content + strspn(talk[from + i].content, " ");
        const size_t length = spans.data[i].to - spans.data[i].from;
        CU_ASSERT(length >= strlen(content) &&
                  memcmp(out->data + spans.data[i].to - strlen(content), content, strlen(content)) == 0);
    }
    nlm_text_spans_release(&spans);
}

static void turns_one_by_one_give_the_whole(void) {
    static const char *const templates[] = {chatml, roles};
    for (size_t t = 0; t < COUNT(templates); t++) {
        nlm_chat_own *own = create(templates[t], NLM_OK, NULL);
        nlm_str whole = {0}, turns = {0};
        format(own, 0, 5, 0, true, &whole);
        format(own, 0, 1, 0, true, &turns);
        nlm_str_puts(&turns, talk[1].content);
        format(own, 2, 3, 2, true, &turns);
        nlm_str_puts(&turns, talk[3].content);
        format(own, 4, 5, 4, true, &turns);
        CU_ASSERT_STRING_EQUAL(whole.data, turns.data);
        nlm_str_release(&whole);
        nlm_str_release(&turns);
        nlm_chat_own_destroy(own);
    }
}

static void a_last_answer_stays_open(void) {
    nlm_chat_own *own = create(chatml, NLM_OK, NULL);
    nlm_str text = {0};
    format(own, 4, 6, 0, false, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "<s><|im_start|>user\n<|user|> 3<|im_end|>\n<|im_start|>assistant\nx");
    text.length = 0;
    format(own, 4, 6, 2, false, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "<|im_end|>\n<|im_start|>user\n<|user|> 3<|im_end|>\n<|im_start|>assistant\nx");
    static const nlm_chat_message unsaid[] = {{"user", "a"}, {"assistant", " "}};
    nlm_text_spans spans = {0};
    text.length = 0;
    CU_ASSERT_EQUAL(nlm_chat_own_format(own, unsaid, 2, 0, false, &text, &spans, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(text.data, "<s><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
    CU_ASSERT(nlm_chat_own_begins(own, &text, &spans));
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
    nlm_chat_own_destroy(own);
}

static void its_tokens_are_what_it_writes(void) {
    nlm_chat_own *own = create(chatml, NLM_OK, NULL);
    const char *const *tokens = nlm_chat_own_tokens(own);
    size_t count = 0, n_found = 0;
    for (; tokens[count]; count++) {
        n_found += strcmp(tokens[count], "<|im_start|>") == 0 || strcmp(tokens[count], "<|im_end|>") == 0;
    }
    CU_ASSERT(count == 2 && n_found == 2);
    nlm_chat_own_destroy(own);
}

static void what_it_says_no_to_is_the_sentence(void) {
    nlm_chat_own *own = create(roles, NLM_OK, NULL);
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_chat_own_format(own, talk + 1, 2, 0, true, &text, &spans, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(err.msg, "In turn, please");
    CU_ASSERT_EQUAL(text.length, 0);
    nlm_chat_own_destroy(own);
    CU_ASSERT_PTR_NULL(create("a\n{% if %}", NLM_BAD_FORMAT, &err));
    CU_ASSERT_STRING_EQUAL(err.where, "chat template:2");
    /* it shows no answer that has another message behind it */
    own = create("{{ messages[-1].content }}", NLM_OK, NULL);
    CU_ASSERT_EQUAL(nlm_chat_own_format(own, talk, 1, 2, true, &text, &spans, &err), NLM_UNSUPPORTED);
    nlm_chat_own_destroy(own);
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
}

static const check_case cases[] = {CHECK_CASE(turns_one_by_one_give_the_whole), CHECK_CASE(a_last_answer_stays_open),
                                   CHECK_CASE(its_tokens_are_what_it_writes),
                                   CHECK_CASE(what_it_says_no_to_is_the_sentence)};

CHECK_MAIN("chat_own", cases)
