/* Conversations in a model's own template as documents: what of them counts for the loss. */
#include "unit/dataset_fixture.h"

#include "text/chat_own.h"

#define START(role) "{{ '<|im_start|>" role "\n' }}"
#define OPENS       "{% if add_generation_prompt %}" START("assistant") "{% endif %}"

static const char plain[] =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim }}<|im_end|>\n"
    "{% endfor %}" OPENS;
static const char begun[] =
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "<|im_end|>\n{% endfor %}" OPENS;
/* The answer, what closes it and the line break; of other messages nothing. */
static const char tagged[] =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ '=' + m.content + '<|im_end|>\n' }}{% endgeneration %}{% else %}"
    "{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}" OPENS;
/* Earlier answers lose their thoughts; a prompt opens those of the answer to come. */
static const char thinks[] =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}" START("assistant") "<think>{% endif %}";
/* No first message but a user's. */
static const char strict[] =
    "{% if messages[0].role != 'user' %}{{ raise_exception('Users first') }}{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";
static const char calls[] =
    "{% if tools %}T{% for t in tools %}{{ t.function.name }}{% endfor %};{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content %}{{ m.content }}{% endif %}"
    "{% for c in m.tool_calls %}<call>{{ c.function.name }}{{ c.function.arguments | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}" OPENS;

#define USER(text)   "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ANSWER(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

static nlm_chat_own *own_of(const char *jinja) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    nlm_chat_own *own = NULL;
    nlm_error err = NLM_ERROR_INIT;
    vocab_strings(&v, "tokenizer.ggml.tokens", (const char *const[]){"<s>", "</s>"}, 2);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 0);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 1);
    vocab_string(&v, "tokenizer.chat_template", jinja);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("m", v.bytes.data, v.bytes.length, &gguf, &err), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_chat_own_create(gguf, &own, &err), NLM_OK);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
    return own;
}

/* A rig with one line in "a.jsonl": "messages", and "tools" if they are not NULL. */
static nlm_chat_own *rig_with(dataset_rig *rig, const char *jinja, bool adds_bos, const char *messages,
                              const char *tools) {
    nlm_str line = {0};
    nlm_chat_own *own = own_of(jinja);
    rig_make(rig, byte_tokenizer(adds_bos, true));
    rig->options.own_chat = own;
    nlm_str_printf(&line, "\n{\"messages\": [%s]", messages);
    if (tools) nlm_str_printf(&line, ", \"tools\": [%s]", tools);
    nlm_str_puts(&line, "}");
    rig_puts(rig, "a.jsonl", line.data);
    nlm_str_release(&line);
    return own;
}

static const char call_of_f[] =
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"type\": \"function\", \"function\": "
    "{\"name\": \"f\", \"arguments\": {\"a\": 1}}}]}";

static void loss_is_on_what_the_model_is_to_write(void) {
    static const struct {
        const char *jinja;
        bool adds_bos;
        const char *messages, *tools, *tokens;
    } cases[] = {
        {plain, false, USER("Hi") ", " ANSWER("Yo"), NULL, "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
        {plain, true, USER("Hi") ", " ANSWER("Yo") ", " USER("A") ", " ANSWER("B"), NULL,
         "{s}{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n{start}user\nA{end}\n{start}assistant\n~B{end}~\n"},
        {plain, false, ANSWER(""), NULL, "{start}assistant\n~{end}~\n"},
        {plain, false, ANSWER("Yo") ", " ANSWER(" Zo ") ", " USER("Bye"), NULL,
         "{start}assistant\n~Yo{end}~\n{start}assistant\n~Zo{end}~\n{start}user\nBye{end}\n"},
        {plain, false, USER("<|im_end|>") ", " ANSWER("<|im_end|>"), NULL,
         "{start}user\n<|im_end|>{end}\n{start}assistant\n~<|im_end|>{end}~\n"},
        /* the template's own BOS is the only one */
        {begun, true, USER("Hi") ", " ANSWER("Yo"), NULL, "{s}{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
        {begun, false, USER("Hi") ", " ANSWER("Yo"), NULL, "{s}{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
        {tagged, false, USER("Hi") ", " ANSWER("Yo") ", " USER("A") ", " ANSWER("B"), NULL,
         "{start}user\nHi{end}\n{start}assistant\n~=Yo{end}\n~{start}user\nA{end}\n{start}assistant\n~=B{end}\n~"},
        /* what the prompt has of the thoughts is not the model's to write */
        {thinks, false, USER("Hi") ", " ANSWER("<think>a</think>Yo") ", " USER("A") ", " ANSWER("<think>b</think>B"),
         NULL,
         "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n{start}user\nA{end}\n{start}assistant\n<think>"
         "~b</think>B{end}~\n"},
        {thinks, false, USER("Hi") ", " ANSWER("<b>Yo"), NULL,
         "{start}user\nHi{end}\n{start}assistant\n~<b>Yo{end}~\n"},
        {strict, false, USER("Hi") ", " ANSWER("Yo"), NULL, "[user]Hi{/s}[assistant]~Yo{/s}~"},
        {calls, false, USER("Hi") ", " ANSWER("Yo"), "{\"type\": \"function\", \"function\": {\"name\": \"f\"}}",
         "Tf;{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        nlm_chat_own *own = rig_with(&rig, cases[i].jinja, cases[i].adds_bos, cases[i].messages, cases[i].tools);
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str tokens = mark_counted(dataset);
        CU_ASSERT_STRING_EQUAL(tokens.data, cases[i].tokens);
        if (strcmp(tokens.data, cases[i].tokens) != 0) printf(" [%zu: %s] ", i, tokens.data);
        nlm_str_release(&tokens);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
        nlm_chat_own_destroy(own);
    }
}

static void calls_of_tools_count(void) {
    char messages[512];
    dataset_rig rig;
    snprintf(messages, sizeof messages, "%s, %s, {\"role\": \"tool\", \"content\": \"7\"}, %s", USER("Hi"), call_of_f,
             ANSWER("So 7"));
    nlm_chat_own *own = rig_with(&rig, calls, false, messages, NULL);
    nlm_dataset *dataset = rig_open(&rig);
    nlm_str tokens = mark_counted(dataset);
    CU_ASSERT_STRING_EQUAL(tokens.data,
                           "{start}user\nHi{end}\n{start}assistant\n~<call>f{\"a\": 1}</call>{end}~\n"
                           "{start}tool\n7{end}\n{start}assistant\n~So 7{end}~\n");
    nlm_str_release(&tokens);
    nlm_dataset_close(dataset);
    rig_remove(&rig);
    nlm_chat_own_destroy(own);
}

static void lines_that_do_not_fit_are_refused(void) {
    static const char f[] = "{\"type\": \"function\", \"function\": {\"name\": \"f\"}}";
    static const struct {
        const char *jinja, *messages, *tools;
        nlm_status status;
        const char *msg;
    } cases[] = {
        {plain, USER("Hi"), NULL, NLM_BAD_FORMAT, "none of the 1 messages is the assistant's"},
        {plain, "5", NULL, NLM_BAD_FORMAT, "message 0: it is no object"},
        {strict, ANSWER("Yo"), NULL, NLM_BAD_FORMAT, "Users first"},
        {plain, USER("Hi") ", " ANSWER("Yo"), f, NLM_UNSUPPORTED, "leaves out the tools"},
        {"{% for m in messages %}{{ m.role }};{% endfor %}{{ messages | length }}", USER("Hi") ", " ANSWER("Yo"),
         NULL, NLM_UNSUPPORTED, "does not write the content of message 2"},
        {"{{ '' }}", ANSWER("Yo"), NULL, NLM_BAD_FORMAT, "makes nothing of the messages"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        nlm_dataset *dataset = NULL;
        nlm_chat_own *own = rig_with(&rig, cases[i].jinja, false, cases[i].messages, cases[i].tools);
        CU_ASSERT_EQUAL(rig_try(&rig, &dataset), cases[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.where, "a.jsonl:2"));
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, cases[i].msg));
        if (!strstr(rig.err.msg, cases[i].msg)) printf(" [%zu: %s] ", i, rig.err.msg);
        CU_ASSERT_EQUAL(temporary_count(&rig.cache), 0);
        rig_remove(&rig);
        nlm_chat_own_destroy(own);
    }
}

/* Another template, other tokens: they are not taken from the cache. */
static void templates_have_token_files_of_their_own(void) {
    dataset_rig rig;
    nlm_chat_own *own = rig_with(&rig, plain, false, USER("Hi") ", " ANSWER("Yo"), NULL), *other = own_of(tagged);
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 1);
    rig.options.own_chat = other;
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 2);
    rig_remove(&rig);
    nlm_chat_own_destroy(other);
    nlm_chat_own_destroy(own);
}

static const check_case cases[] = {
    CHECK_CASE(loss_is_on_what_the_model_is_to_write),
    CHECK_CASE(calls_of_tools_count),
    CHECK_CASE(lines_that_do_not_fit_are_refused),
    CHECK_CASE(templates_have_token_files_of_their_own),
};
CHECK_MAIN("own documents", cases)
