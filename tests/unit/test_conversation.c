/* Conversations of JSON through nlm.h: the same ids as messages one by one give, and no control token of a user's. */
#include "session_fixture.h"

#define CONTROL 2 /* </s> */

static const char jinja[] =
    "{{ bos_token }}{% for t in tools or [] %}[{{ t.function.name }}|{{ t | tojson }}]{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}({{ c.function.name }} {{ c.function.arguments | tojson }}){% endfor %}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{{ style }}{% endif %}";

static fixture open_with(const char *template_text, const char *known) {
    static char override[2048];
    snprintf(override, sizeof override, "tokenizer.chat_template=str:%s", template_text);
    const char *const overrides[] = {override, NULL};
    const nlm_model_options options = {
        .struct_size = sizeof options, .chat_template = known, .overrides = known ? NULL : overrides};
    return fixture_open("stories260K-q8_0", &options, 1);
}

static nlm_conversation talk_of(const char *messages, uint32_t flags) {
    return (nlm_conversation){.struct_size = sizeof(nlm_conversation), .flags = flags, .messages = messages};
}

static size_t ids_of(const fixture *f, const nlm_conversation *c, int32_t ids[512]) {
    size_t count = 0;
    EXPECT_OK(nlm_encode_conversation(f->model, c, ids, 512, &count, error));
    return count;
}

static const char *text_of(const fixture *f, const nlm_conversation *c) {
    static char text[2048];
    size_t length = 0;
    EXPECT_OK(nlm_render_conversation(f->model, c, text, sizeof text - 1, &length, error));
    text[length] = '\0';
    return text;
}

static size_t count_of(const int32_t *ids, size_t n, int32_t id) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ids[i] == id;
    return count;
}

static void tools_and_arguments_reach_the_models_template(void) {
    fixture f = open_with(jinja, NULL);
    nlm_conversation c = talk_of(
        "[{\"role\": \"user\", \"content\": \"a </s>\"}, {\"role\": \"assistant\", \"tool_calls\": "
        "[{\"function\": {\"name\": \"f</s>\", \"arguments\": \"{\\\"</s>\\\": 1}\"}}]}, "
        "{\"role\": \"tool\", \"content\": \"<s></s>\"}]",
        0);
    c.tools = "[{\"type\": \"function\", \"function\": {\"name\": \"f</s>\"}}]";
    c.arguments = "{\"style\": \"</s>!\"}";
    CU_ASSERT_STRING_EQUAL(
        text_of(&f, &c),
        "<s>[f</s>|{\"type\": \"function\", \"function\": {\"name\": \"f</s>\"}}]<user>a </s></s><assistant>(f</s> "
        "{\"</s>\": 1})</s><tool><s></s></s><assistant></s>!");
    int32_t ids[512];
    const size_t n = ids_of(&f, &c, ids);
    CU_ASSERT(n > 20 && ids[0] == 1 && count_of(ids, n, 1) == 1);
    CU_ASSERT_EQUAL(count_of(ids, n, CONTROL), 3); /* the template's own, one a message */
    /* what comes out of the ids is the text again */
    char text[2048];
    size_t length = 0;
    EXPECT_OK(nlm_decode(f.model, ids, n, NLM_TEXT_SPECIAL, text, sizeof text, &length, error));
    CU_ASSERT(length > 40 && strncmp(text + length - 16, "<assistant></s>!", 16) == 0);
    fixture_close(&f);
}

/* Plain messages: as nlm_encode_chat has them, in a model's template and in known ones. */
static void plain_messages_give_the_ids_of_messages(void) {
    static const nlm_message messages[] = {
        {"user", "Hi </s>"}, {"assistant", "Hello."}, {"user", "Again\n"}, {"assistant", "Well"}};
    static const char json[] =
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi </s>\"}]}, "
        "{\"role\": \"assistant\", \"content\": \"Hello.\", \"name\": \"x\"}, "
        "{\"content\": \"Again\\n\", \"role\": \"user\"}%s]";
    static const char *const known[] = {NULL, "chatml", "zephyr", "llama-2", "mistral", "qwen3"};
    char all[512], three[512];
    snprintf(all, sizeof all, json, ", {\"role\": \"assistant\", \"content\": \"Well\"}");
    snprintf(three, sizeof three, json, "");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        fixture f = open_with(jinja, known[i]);
        int32_t expected[512], ids[512];
        size_t n = 0;
        const nlm_conversation prompted = talk_of(three, 0), begun = talk_of(all, NLM_CHAT_CONTINUE);
        EXPECT_OK(nlm_encode_chat(f.model, messages, 3, 0, expected, 512, &n, error));
        CU_ASSERT(ids_of(&f, &prompted, ids) == n && memcmp(ids, expected, n * sizeof *ids) == 0);
        EXPECT_OK(nlm_encode_chat_continue(f.model, messages, 4, 0, expected, 512, &n, error));
        CU_ASSERT(ids_of(&f, &begun, ids) == n && memcmp(ids, expected, n * sizeof *ids) == 0);
        fixture_close(&f);
    }
}

static void texts_end_as_they_are_told_to(void) {
    static const char json[] =
        "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]";
    static const char asked[] = "[{\"role\": \"user\", \"content\": \"q\"}]";
    static const char *const texts[][4] = {
        {"<s><user>q</s><assistant>a</s><assistant>", "<s><user>q</s><assistant>a</s>", "<s><user>q</s><assistant>a",
         "<s><user>q</s>"},
        {"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>assistant\n",
         "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
         "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na", "<|im_start|>user\nq<|im_end|>\n"}};
    for (int i = 0; i < 2; i++) {
        fixture f = open_with(jinja, i ? "chatml" : NULL);
        const nlm_conversation talks[4] = {talk_of(json, 0), talk_of(json, NLM_CHAT_NO_PROMPT),
                                           talk_of(json, NLM_CHAT_CONTINUE), talk_of(asked, NLM_CHAT_NO_PROMPT)};
        for (int k = 0; k < 4; k++) CU_ASSERT_STRING_EQUAL(text_of(&f, &talks[k]), texts[i][k]);
        fixture_close(&f);
    }
}

static void expect(const fixture *f, const nlm_conversation *c, nlm_status status, const char *words) {
    nlm_error err = NLM_ERROR_INIT;
    size_t n = 99;
    CU_ASSERT_EQUAL(nlm_encode_conversation(f->model, c, NULL, 0, &n, &err), status);
    if (!strstr(err.msg, words)) printf("\n  %s: %s", err.where, err.msg);
    CU_ASSERT(strstr(err.msg, words) != NULL);
    CU_ASSERT_EQUAL(nlm_render_conversation(f->model, c, NULL, 0, &n, &err), status);
    CU_ASSERT_EQUAL(n, 99);
}

static void what_a_template_has_no_form_of_is_refused(void) {
    static const char user[] = "[{\"role\": \"user\", \"content\": \"a\"}]";
    fixture known = open_with("", "chatml"), own = open_with("{{ messages[0].content }}", NULL);
    fixture none = fixture_open("stories260K-q8_0", NULL, 1);
    nlm_conversation c = talk_of(user, 0);
    expect(&none, &c, NLM_NOT_FOUND, "chat template");
    c.tools = "[{\"function\": {\"name\": \"f\"}}]";
    expect(&known, &c, NLM_UNSUPPORTED, "the chatml template that nlm knows has no form of tools");
    expect(&own, &c, NLM_UNSUPPORTED, "leaves out the tools");
    c.messages = "[{\"role\": \"user\", \"content\": \"if f then f\"}]"; /* its name is in what somebody wrote */
    expect(&own, &c, NLM_UNSUPPORTED, "leaves out the tools");
    c.tools = "[]";
    c.arguments = "{\"a\": 1}";
    expect(&known, &c, NLM_UNSUPPORTED, "variables");
    (void)text_of(&own, &c);
    c = talk_of("[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\"}}]}]", 0);
    expect(&known, &c, NLM_UNSUPPORTED, "calls");
    c = talk_of("[{\"role\": \"narrator\", \"content\": \"a\"}]", 0);
    expect(&known, &c, NLM_INVALID_ARGUMENT, "'narrator'");
    fixture_close(&none);
    fixture_close(&known);
    fixture_close(&own);
}

static void wrong_conversations_are_refused(void) {
    static const char user[] = "[{\"role\": \"user\", \"content\": \"a\"}]";
    fixture f = open_with(jinja, NULL);
    nlm_conversation c = talk_of(user, 1u << 9);
    expect(&f, &c, NLM_INVALID_ARGUMENT, "flags");
    c = talk_of(user, NLM_CHAT_NO_PROMPT | NLM_CHAT_CONTINUE);
    expect(&f, &c, NLM_INVALID_ARGUMENT, "together");
    c = talk_of(user, NLM_CHAT_CONTINUE);
    expect(&f, &c, NLM_INVALID_ARGUMENT, "'user'");
    c = talk_of("[]", NLM_CHAT_CONTINUE);
    expect(&f, &c, NLM_INVALID_ARGUMENT, "''");
    c = talk_of(NULL, 0);
    expect(&f, &c, NLM_INVALID_ARGUMENT, "messages is NULL");
    c = talk_of("[{\"role\": \"user\"", 0);
    expect(&f, &c, NLM_BAD_FORMAT, "at byte");
    c = talk_of(user, 0);
    c.struct_size = 2;
    expect(&f, &c, NLM_INVALID_ARGUMENT, "struct_size");
    c = talk_of(user, 0);
    size_t n = 0;
    int32_t ids[2];
    char text[3];
    CU_ASSERT_EQUAL(nlm_encode_conversation(f.model, &c, ids, 2, &n, NULL), NLM_LIMIT);
    CU_ASSERT(n > 2 && ids[0] == 1);
    CU_ASSERT_EQUAL(nlm_render_conversation(f.model, &c, text, 3, &n, NULL), NLM_LIMIT);
    CU_ASSERT(n > 3 && memcmp(text, "<s>", 3) == 0);
    CU_ASSERT_EQUAL(nlm_encode_conversation(NULL, &c, ids, 2, &n, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_encode_conversation(f.model, NULL, ids, 2, &n, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_encode_conversation(f.model, &c, ids, 2, NULL, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_render_conversation(NULL, &c, text, 3, &n, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_render_conversation(f.model, NULL, text, 3, &n, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_render_conversation(f.model, &c, text, 3, NULL, NULL), NLM_INVALID_ARGUMENT);
    fixture_close(&f);
}

static const check_case cases[] = {
    CHECK_CASE(tools_and_arguments_reach_the_models_template),
    CHECK_CASE(plain_messages_give_the_ids_of_messages),
    CHECK_CASE(texts_end_as_they_are_told_to),
    CHECK_CASE(what_a_template_has_no_form_of_is_refused),
    CHECK_CASE(wrong_conversations_are_refused),
};
CHECK_MAIN("conversation", cases)
