/* Conversations as the known families of models were trained on them. */
#include "text/chat_template.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define MARKS_MAX 3

/* A conversation is a system message, then users' and assistants' in turn, each between an opening and
 * a closing text. */
struct nlm_chat_template {
    const char *name;
    /* How to tell it: a metadata template with all of `marks`, with none of `others`, of a model whose
     * EOS is `eos` (NULL: any). */
    const char *marks[MARKS_MAX];
    const char *others[MARKS_MAX];
    const char *eos;
    const char *default_system; /* the system message where there is none; or NULL */
    const char *system_open, *system_close;
    const char *user_open, *user_close;
    const char *assistant_open, *assistant_close;
    const char *prompt;     /* opens the assistant's turn for the model to go on */
    bool system_joins_user; /* the system message stands in the user's turn, in place of user_open */
    bool trims;             /* contents lose the white space around them */
};

#define CHATML_TURNS                                                                                              \
    .system_open = "<|im_start|>system\n", .system_close = "<|im_end|>\n", .user_open = "<|im_start|>user\n",     \
    .user_close = "<|im_end|>\n", .assistant_open = "<|im_start|>assistant\n", .assistant_close = "<|im_end|>\n", \
    .prompt = "<|im_start|>assistant\n"

#define ZEPHYR_TURNS(eos)                                                                                       \
    .system_open = "<|system|>\n", .system_close = eos "\n", .user_open = "<|user|>\n", .user_close = eos "\n", \
    .assistant_open = "<|assistant|>\n", .assistant_close = eos "\n", .prompt = "<|assistant|>\n"

#define SMOLLM2_SYSTEM    "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define LLAMA3_TURN(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

/* The first that fits is taken: the special ones stand before the general. */
static const nlm_chat_template templates[] = {
    {.name = "smollm2", .marks = {"<|im_start|>", SMOLLM2_SYSTEM}, .default_system = SMOLLM2_SYSTEM, CHATML_TURNS},
    {.name = "chatml",
     .marks = {"<|im_start|>"},
     .others = {"<|im_sep|>", "<end_of_utterance>"}, /* Phi-4, SmolVLM */
     CHATML_TURNS},
    {.name = "llama-3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>"},
     .system_open = LLAMA3_TURN("system"),
     .system_close = "<|eot_id|>",
     .user_open = LLAMA3_TURN("user"),
     .user_close = "<|eot_id|>",
     .assistant_open = LLAMA3_TURN("assistant"),
     .assistant_close = "<|eot_id|>",
     .prompt = LLAMA3_TURN("assistant"),
     .trims = true},
    {.name = "llama-2",
     .marks = {"[INST]", "<<SYS>>"},
     .system_open = "[INST] <<SYS>>\n",
     .system_close = "\n<</SYS>>\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]",
     .assistant_open = " ",
     .assistant_close = " </s><s>",
     .prompt = "",
     .system_joins_user = true,
     .trims = true},
    {.name = "mistral-v3",
     .marks = {"[INST]", "[AVAILABLE_TOOLS]"},
     .others = {"[SYSTEM_PROMPT]"}, /* its later versions */
     .system_open = "[INST] ",
     .system_close = "\n\n",
     .user_open = "[INST] ",
     .user_close = "[/INST]",
     .assistant_open = " ",
     .assistant_close = "</s>",
     .prompt = "",
     .system_joins_user = true},
    {.name = "mistral",
     .marks = {"[INST]"},
     .others = {"[SYSTEM_PROMPT]"},
     .system_open = "[INST] ",
     .system_close = "\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]",
     .assistant_open = " ",
     .assistant_close = "</s>",
     .prompt = "",
     .system_joins_user = true},
    {.name = "zephyr",
     .marks = {"<|user|>", "<|assistant|>", "+ eos_token }}"},
     .others = {"<|end|>"}, /* Phi-3 */
     .eos = "</s>",
     ZEPHYR_TURNS("</s>")},
    {.name = "stablelm-zephyr",
     .marks = {"<|user|>", "<|assistant|>", "+ eos_token }}"},
     .others = {"<|end|>"},
     .eos = "<|endoftext|>",
     ZEPHYR_TURNS("<|endoftext|>")},
};
#define TEMPLATE_COUNT (sizeof templates / sizeof *templates)

/* For people: those asked for most come first. */
#define FIRST_NAME "chatml"
#define MORE_NAMES(X) \
    X("llama-2") X("llama-3") X("zephyr") X("mistral") X("mistral-v3") X("smollm2") X("stablelm-zephyr")
#define LISTED(name)  name,
#define WRITTEN(name) ", " name

static const char *const names[] = {FIRST_NAME, MORE_NAMES(LISTED) NULL};
#define NAMES_TEXT FIRST_NAME MORE_NAMES(WRITTEN)

const nlm_chat_template *nlm_chat_template_from_name(const char *name) {
    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        if (strcmp(templates[i].name, name) == 0) return &templates[i];
    }
    return NULL;
}

const char *nlm_chat_template_name(const nlm_chat_template *chat) {
    return chat->name;
}

const char *const *nlm_chat_template_names(void) {
    return names;
}

static bool holds(nlm_gguf_string text, const char *part) {
    return memmem(text.data, (size_t)text.length, part, strlen(part)) != NULL;
}

/* The EOS token's text; empty if the file names none. */
static nlm_gguf_string eos_text(const nlm_gguf *gguf) {
    uint64_t id;
    const nlm_gguf_entry *tokens = nlm_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->strings || nlm_gguf_get_u64(gguf, "tokenizer.ggml.eos_token_id", &id, NULL) != NLM_OK ||
        id >= tokens->count) {
        return (nlm_gguf_string){"", 0};
    }
    return tokens->strings[id];
}

static bool fits(const nlm_chat_template *chat, nlm_gguf_string text, nlm_gguf_string eos) {
    for (size_t i = 0; i < MARKS_MAX; i++) {
        if (chat->marks[i] && !holds(text, chat->marks[i])) return false;
        if (chat->others[i] && holds(text, chat->others[i])) return false;
    }
    return !chat->eos || (eos.length == strlen(chat->eos) && memcmp(eos.data, chat->eos, (size_t)eos.length) == 0);
}

nlm_status nlm_chat_template_detect(const nlm_gguf *gguf, const nlm_chat_template **out, nlm_error *err) {
    nlm_gguf_string text;
    const nlm_status status = nlm_gguf_get_string(gguf, "tokenizer.chat_template", &text, err);
    if (status == NLM_NOT_FOUND) {
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf), "%s",
                        "the model names no chat template (tokenizer.chat_template); give one with "
                        "--chat-template NAME or chat.template: " NAMES_TEXT);
    }
    NLM_TRY(status);
    const nlm_gguf_string eos = eos_text(gguf);
    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        if (!fits(&templates[i], text, eos)) continue;
        *out = &templates[i];
        return NLM_OK;
    }
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf),
                    "the model's chat template is none of those known; give one with --chat-template NAME or "
                    "chat.template: " NAMES_TEXT ". The model's: %.*s",
                    (int)(text.length < 4096 ? text.length : 4096), text.data);
}

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the conversation");
}

static nlm_status add_span(nlm_text_spans *spans, size_t from, size_t to, nlm_error *err) {
    if (from == to) return NLM_OK;
    if (spans->count == spans->capacity) {
        const size_t capacity = spans->capacity ? spans->capacity * 2 : 16;
        nlm_text_span *data = realloc(spans->data, capacity * sizeof *data);
        if (!data) return out_of_memory(err);
        spans->data = data;
        spans->capacity = capacity;
    }
    spans->data[spans->count++] = (nlm_text_span){from, to};
    return NLM_OK;
}

/* The white space that Python's str.strip and Jinja's trim take off ASCII text. */
static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static nlm_status add_content(const nlm_chat_template *chat, const char *content, nlm_str *out, nlm_text_spans *spans,
                              nlm_error *err) {
    size_t length = strlen(content);
    while (chat->trims && length > 0 && is_blank(content[length - 1])) length--;
    while (chat->trims && length > 0 && is_blank(*content)) {
        content++;
        length--;
    }
    const size_t from = out->length;
    nlm_str_append(out, content, length);
    return add_span(spans, from, out->length, err);
}

typedef enum chat_role { ROLE_NONE, ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT } chat_role;

static nlm_status role_of(const nlm_chat_message *message, chat_role *out, nlm_error *err) {
    *out = strcmp(message->role, "system") == 0      ? ROLE_SYSTEM
           : strcmp(message->role, "user") == 0      ? ROLE_USER
           : strcmp(message->role, "assistant") == 0 ? ROLE_ASSISTANT
                                                     : ROLE_NONE;
    if (*out != ROLE_NONE) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                    "a message has the role '%s'; expected system, user or assistant", message->role);
}

/* One message, closing the assistant's turn before it if there is one. */
static nlm_status add_message(const nlm_chat_template *chat, const nlm_chat_message *message, chat_role role,
                              chat_role before, nlm_str *out, nlm_text_spans *spans, nlm_error *err) {
    const bool is_joined = before == ROLE_SYSTEM && chat->system_joins_user;
    if (is_joined && role != ROLE_USER) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                        "in the %s template a user's message must follow the system message", chat->name);
    }
    if (before == ROLE_ASSISTANT) nlm_str_puts(out, chat->assistant_close);
    if (role == ROLE_ASSISTANT) {
        nlm_str_puts(out, chat->assistant_open);
        return add_content(chat, message->content, out, spans, err); /* what follows closes it */
    }
    if (!is_joined) nlm_str_puts(out, role == ROLE_SYSTEM ? chat->system_open : chat->user_open);
    NLM_TRY(add_content(chat, message->content, out, spans, err));
    nlm_str_puts(out, role == ROLE_SYSTEM ? chat->system_close : chat->user_close);
    return NLM_OK;
}

static nlm_status format_all(const nlm_chat_template *chat, const nlm_chat_message *messages, size_t count,
                             size_t n_before, bool add_generation_prompt, nlm_str *out, nlm_text_spans *spans,
                             nlm_error *err) {
    chat_role before = ROLE_NONE, role = ROLE_NONE;
    if (count > 0) NLM_TRY(role_of(&messages[0], &role, err));
    if (n_before > 0 && role != ROLE_ASSISTANT) before = ROLE_ASSISTANT;
    if (n_before == 0 && role != ROLE_SYSTEM && chat->default_system) {
        const nlm_chat_message system = {"system", chat->default_system};
        NLM_TRY(add_message(chat, &system, ROLE_SYSTEM, ROLE_NONE, out, spans, err));
        before = ROLE_SYSTEM;
    }
    for (size_t i = 0; i < count; i++) {
        NLM_TRY(role_of(&messages[i], &role, err));
        NLM_TRY(add_message(chat, &messages[i], role, before, out, spans, err));
        before = role;
    }
    if (before == ROLE_SYSTEM && chat->system_joins_user) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                        "in the %s template a user's message must follow the system message", chat->name);
    }
    if (!add_generation_prompt) return NLM_OK;
    if (before == ROLE_ASSISTANT) nlm_str_puts(out, chat->assistant_close);
    nlm_str_puts(out, chat->prompt);
    return NLM_OK;
}

nlm_status nlm_chat_template_format(const nlm_chat_template *chat, const nlm_chat_message *messages, size_t count,
                                    size_t n_before, bool add_generation_prompt, nlm_str *out,
                                    nlm_text_spans *out_spans, nlm_error *err) {
    NLM_TRY(format_all(chat, messages, count, n_before, add_generation_prompt, out, out_spans, err));
    return out->has_failed ? out_of_memory(err) : NLM_OK;
}
