/* Which template a model's metadata is taken for, and whether to the letter. */
#include "base/printable.h"
#include "text/chat_template.h"
#include "unit/check.h"
#include "unit/vocab_bytes.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

static nlm_status detect(const char *metadata, const char *eos, const nlm_chat_template **out, bool *out_is_exact,
                         nlm_error *err) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    vocab_strings(&v, "tokenizer.ggml.tokens", (const char *const[]){"a", eos}, 2);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 1);
    if (metadata) vocab_string(&v, "tokenizer.chat_template", metadata);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("m", v.bytes.data, v.bytes.length, &gguf, err), NLM_OK);
    const nlm_status status = nlm_chat_template_detect(gguf, out, out_is_exact, err);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
    return status;
}

#define SMOLLM2_JINJA                                                                                      \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>" \
    "system\n" SMOLLM2_SYSTEM                                                                              \
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "                              \
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
#define ZEPHYR_JINJA                                                                                             \
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + " \
    "eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + message['content'] + "      \
    "eos_token }}\n{% endif %}\n{% endfor %}"
#define INST_JINJA                                                                                  \
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + " \
    "message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}"

#define PROMPT_JINJA "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define CHATML_JINJA                                                                                 \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + " \
    "'<|im_end|>' + '\n'}}{% endfor %}" PROMPT_JINJA
#define LLAMA3_JINJA                                                                                          \
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "                   \
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "         \
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}" \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
#define ZEPHYR_7B_JINJA                                                                                             \
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "    \
    "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n" \
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"        \
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"

static void templates_are_known_by_what_marks_them(void) {
    static const struct {
        const char *metadata, *eos, *name;
    } cases[] = {
        {"{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'}}", "</s>", "chatml"},
        {SMOLLM2_JINJA, "<|im_end|>", "smollm2"},
        {"{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' %}", "x", "llama-3"},
        {"{% set content = '<<SYS>>\n' + system_message %}" INST_JINJA, "</s>", "llama-2"},
        {INST_JINJA, "</s>", "mistral"},
        {"{{ '[AVAILABLE_TOOLS]' }}" INST_JINJA, "</s>", "mistral-v3"},
        {ZEPHYR_JINJA, "</s>", "zephyr"},
        {ZEPHYR_JINJA, "<|endoftext|>", "stablelm-zephyr"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const nlm_chat_template *chat = NULL;
        nlm_error err = NLM_ERROR_INIT;
        bool is_exact;
        CU_ASSERT_EQUAL_FATAL(detect(cases[i].metadata, cases[i].eos, &chat, &is_exact, &err), NLM_OK);
        CU_ASSERT_STRING_EQUAL(nlm_chat_template_name(chat), cases[i].name);
    }
}

/* Texts of models as they are published, of which those that differ in anything are not known. */
static void known_texts_are_told_from_alike_ones(void) {
    static const struct {
        const char *text, *eos, *name;
        bool is_exact;
    } cases[] = {
        {CHATML_JINJA, "x", "chatml", true},
        {CHATML_JINJA "\n", "x", "chatml", true}, /* which Jinja drops */
        {CHATML_JINJA " ", "x", "chatml", false},
        {"{{ bos_token }} " CHATML_JINJA, "x", "chatml", false},
        {SMOLLM2_JINJA PROMPT_JINJA, "x", "smollm2", true},
        {SMOLLM2_JINJA, "x", "smollm2", false},
        {LLAMA3_JINJA, "x", "llama-3", true},
        {"{% set tools = '' %}" LLAMA3_JINJA, "x", "llama-3", false}, /* functionary and others */
        {"{{ strftime_now('%d') }}Cutting Knowledge Date: December 2023" LLAMA3_JINJA, "x", "llama-3.2", false},
        {ZEPHYR_7B_JINJA, "</s>", "zephyr", true},
        {ZEPHYR_7B_JINJA, "<|endoftext|>", "stablelm-zephyr", true},
        {"{{ '<|im_start|>system\n' }}You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", "x",
         "qwen2.5", false},
        {"{{ '<|im_start|>user' }}{{- '<|im_start|>assistant\\n<think>\\n' }}", "x", "qwq", false},
        {"{{- \"[INST]\" + x }}[AVAILABLE_TOOLS]", "</s>", "mistral-nemo", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const nlm_chat_template *chat = NULL;
        nlm_error err = NLM_ERROR_INIT;
        bool is_exact = !cases[i].is_exact;
        CU_ASSERT_EQUAL_FATAL(detect(cases[i].text, cases[i].eos, &chat, &is_exact, &err), NLM_OK);
        CU_ASSERT_STRING_EQUAL(nlm_chat_template_name(chat), cases[i].name);
        if (is_exact != cases[i].is_exact) printf(" [%zu] ", i);
        CU_ASSERT_EQUAL(is_exact, cases[i].is_exact);
    }
}

static void other_templates_are_shown_with_the_way_out(void) {
    static const char *const others[] = {
        "{{ '<start_of_turn>' + role }}",
        "{{ '<|im_start|>' + role + '<|im_sep|>' }}",
        "{{ '<|user|>' + content + '<|end|><|assistant|>' }}",
        "{{ '[SYSTEM_PROMPT]' + system + '[INST]' }}",
        "",
    };
    const nlm_chat_template *chat = NULL;
    bool is_exact;
    for (size_t i = 0; i < COUNT(others); i++) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(detect(others[i], "</s>", &chat, &is_exact, &err), NLM_UNSUPPORTED);
        char shown[200];
        snprintf(shown, sizeof shown, "%s", others[i]);
        nlm_make_printable(shown, sizeof shown);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, shown));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "--chat-template NAME or chat.template: chatml, llama-2, llama-3"));
    }
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(detect(NULL, "</s>", &chat, &is_exact, &err), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "--chat-template NAME"));
    CU_ASSERT_PTR_NULL(chat);
}

static const check_case cases[] = {
    CHECK_CASE(templates_are_known_by_what_marks_them),
    CHECK_CASE(known_texts_are_told_from_alike_ones),
    CHECK_CASE(other_templates_are_shown_with_the_way_out),
};

CHECK_MAIN("chat_detect", cases)
