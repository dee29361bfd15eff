/* Any bytes as a conversation of JSON: messages, tools and arguments, with a NUL between them; the first byte says
 * how the text ends. What comes out is rendered, or plain messages for a known template. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_own.h"
#include "unit/vocab_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char jinja[] =
    "{{ bos_token }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{{ style }}{% for m in messages %}<|{{ "
    "m.role }}|>"
    "{{ m.content if m.content is not none }}{% for c in m.tool_calls or [] %}{% set f = c.function or c %}[{{ "
    "f.name }} "
    "{{ f.arguments | tojson(indent=1) }}]{% endfor %}{{ m }}{{ eos_token }}{% endfor %}";

static nlm_chat_own *open_own(void) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    nlm_chat_own *own = NULL;
    vocab_strings(&v, "tokenizer.ggml.tokens", (const char *const[]){"<s>", "</s>"}, 2);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 0);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 1);
    vocab_string(&v, "tokenizer.chat_template", jinja);
    if (nlm_gguf_parse("m", v.bytes.data, v.bytes.length, &gguf, NULL) != NLM_OK) abort();
    if (nlm_chat_own_create(gguf, &own, NULL) != NLM_OK) abort();
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
    return own;
}

/* Spans ascend, apart, within the text. */
static void check(const nlm_str *text, const nlm_text_spans *spans) {
    size_t end = 0;
    for (size_t i = 0; i < spans->count; i++) {
        if (spans->data[i].from < end || spans->data[i].to <= spans->data[i].from) abort();
        end = spans->data[i].to;
    }
    if (end > text->length) abort();
}

static void look_for(const nlm_chat_own *own, const char *const texts[3], nlm_chat_end end) {
    nlm_chat_json chat;
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_chat_json_read(texts[0], texts[1][0] ? texts[1] : NULL, texts[2][0] ? texts[2] : NULL, &chat, &err) !=
        NLM_OK) {
        if (!err.msg[0] || chat.messages || chat.tools || chat.arguments) abort();
        return;
    }
    if (nlm_chat_json_shape(&chat, (nlm_chat_form){end == NLM_CHAT_END_OPEN, end == NLM_CHAT_END_CLOSED}, &err) !=
        NLM_OK)
        abort();
    if (nlm_chat_own_format_json(own, &chat, end, &text, &spans, &err) == NLM_OK) check(&text, &spans);
    nlm_chat_message *messages = NULL;
    size_t count;
    if (nlm_chat_json_plain(&chat, "x", &messages, &count, &err) == NLM_OK) {
        for (size_t i = 0; i < count; i++) {
            if (!messages[i].role || !messages[i].content) abort();
        }
    }
    free(messages);
    nlm_chat_json_release(&chat);
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static nlm_chat_own *own;
    if (!own) own = open_own();
    if (size < 1) return 0;
    char *copy = calloc(size + 3, 1); /* NULs behind the last */
    if (!copy) return 0;
    memcpy(copy, data + 1, size - 1);
    const char *const tools = copy + strlen(copy) + 1, *const arguments = tools + strlen(tools) + 1;
    look_for(own, (const char *const[]){copy, tools, arguments}, (nlm_chat_end)(data[0] % 3));
    free(copy);
    return 0;
}
