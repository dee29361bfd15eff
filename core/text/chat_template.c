/* Conversations as the known families of models were trained on them. */
#include "text/chat_template.h"

#include "base/status.h"
#include "text/chat_texts.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MARKS_MAX  3
#define TOKENS_MAX 4

/* Whose contents lose the white space around them. */
enum { TRIMS_NONE, TRIMS_ALL, TRIMS_LLAMA_2 /* all but the system's, and what it joins loses it at the end */ };

/* A conversation is a system message, then users' and assistants' in turn, each between an opening and
 * a closing text; between an assistant's and the next there may be messages of tools, in a turn that they share. */
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
    const char *between;                  /* between an answer and the next user's turn; or NULL */
    const char *tools_open, *tools_close; /* around all messages of tools that follow one another */
    const char *tool_open, *tool_close;   /* around each; NULL: there are none */
    const char *prompt;                   /* opens the assistant's turn for the model to go on */
    /* What of the above are tokens: the first n_needed of every vocabulary it is for, the rest of some. */
    const char *tokens[TOKENS_MAX + 1];
    size_t n_needed;
    bool system_joins_user; /* the system message stands in the user's turn, in place of user_open */
    bool has_today;         /* system_open is followed by the date of today and an empty line */
    bool quotes_tools;      /* what a tool gave is written as a JSON string */
    int32_t trims;          /* TRIMS_* */
};

#define CHATML_TURNS                                                                                              \
    .system_open = "<|im_start|>system\n", .system_close = "<|im_end|>\n", .user_open = "<|im_start|>user\n",     \
    .user_close = "<|im_end|>\n", .assistant_open = "<|im_start|>assistant\n", .assistant_close = "<|im_end|>\n", \
    .tokens = {"<|im_start|>", "<|im_end|>"}, .n_needed = 2
#define CHATML_PROMPT .prompt = "<|im_start|>assistant\n"
#define CHATML_TOOLS \
    .tools_open = "", .tool_open = "<|im_start|>tool\n", .tool_close = "<|im_end|>\n", .tools_close = ""
#define QWEN_TOOLS                                                                                            \
    .tools_open = "<|im_start|>user", .tool_open = "\n<tool_response>\n", .tool_close = "\n</tool_response>", \
    .tools_close = "<|im_end|>\n"

#define ZEPHYR_TURNS(eos)                                                                                       \
    .system_open = "<|system|>\n", .system_close = eos "\n", .user_open = "<|user|>\n", .user_close = eos "\n", \
    .assistant_open = "<|assistant|>\n", .assistant_close = eos "\n", .prompt = "<|assistant|>\n",              \
    .tokens = {eos, "<|system|>", "<|user|>", "<|assistant|>"}, .n_needed = 1

#define SMOLLM2_SYSTEM    "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN2_SYSTEM      "You are a helpful assistant."
#define QWEN25_SYSTEM     "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define LLAMA3_TURN(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA31_DATES     "Cutting Knowledge Date: December 2023\nToday Date: "

#define LLAMA31_TOOLS                                                                                     \
    .tools_open = "", .tool_open = LLAMA3_TURN("ipython"), .tool_close = "<|eot_id|>", .tools_close = "", \
    .quotes_tools = true

#define LLAMA3_TURNS                                                                                                 \
    .system_close = "<|eot_id|>", .user_open = LLAMA3_TURN("user"), .user_close = "<|eot_id|>",                      \
    .assistant_open = LLAMA3_TURN("assistant"), .assistant_close = "<|eot_id|>", .prompt = LLAMA3_TURN("assistant"), \
    .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, .n_needed = 3, .trims = TRIMS_ALL

/* `open` begins a user's turn, `end` closes it, `answer` opens an assistant's, `close` closes that. */
#define MISTRAL_TURNS(open, end, answer, close)                                                                  \
    .system_open = open, .system_close = "\n\n", .user_open = open, .user_close = end, .assistant_open = answer, \
    .assistant_close = close, .prompt = "", .tokens = {"</s>", "[INST]", "[/INST]"}, .n_needed = 1,              \
    .system_joins_user = true

/* The first that fits is taken: the special ones stand before the general. */
static const nlm_chat_template templates[] = {
    {.name = "smollm2",
     .marks = {"<|im_start|>", SMOLLM2_SYSTEM},
     .default_system = SMOLLM2_SYSTEM,
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "qwq",
     .marks = {"<|im_start|>assistant\\n<think>\\n'"},
     CHATML_TURNS,
     .prompt = "<|im_start|>assistant\n<think>\n"},
    {.name = "qwen2.5",
     .marks = {"<|im_start|>", QWEN25_SYSTEM},
     .default_system = QWEN25_SYSTEM,
     CHATML_TURNS,
     QWEN_TOOLS,
     CHATML_PROMPT},
    {.name = "qwen3",
     .marks = {"<|im_start|>", "'\\n<tool_response>\\n'"},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     CHATML_TURNS,
     QWEN_TOOLS,
     CHATML_PROMPT},
    {.name = "qwen3-coder",
     .marks = {"<|im_start|>", "<tool_response>", "'\\n</tool_response>\\n'"},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     CHATML_TURNS,
     .tools_open = "<|im_start|>user\n",
     .tool_open = "<tool_response>\n",
     .tool_close = "\n</tool_response>\n",
     .tools_close = "<|im_end|>\n",
     CHATML_PROMPT},
    {.name = "qwen2",
     .marks = {"<|im_start|>", QWEN2_SYSTEM},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     .default_system = QWEN2_SYSTEM,
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "chatml",
     .marks = {"<|im_start|>"},
     .others = {"<|im_sep|>", "<end_of_utterance>"}, /* Phi-4, SmolVLM */
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "llama-3.2",
     .marks = {"<|start_header_id|>", "Cutting Knowledge Date: December 2023", "strftime_now"},
     .default_system = "",
     .system_open = LLAMA3_TURN("system") LLAMA31_DATES,
     .has_today = true,
     LLAMA31_TOOLS,
     LLAMA3_TURNS},
    {.name = "llama-3.1",
     .marks = {"<|start_header_id|>", "Cutting Knowledge Date: December 2023"},
     .default_system = "",
     .system_open = LLAMA3_TURN("system") LLAMA31_DATES "26 Jul 2024\n\n",
     LLAMA31_TOOLS,
     LLAMA3_TURNS},
    {.name = "llama-3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>"},
     .system_open = LLAMA3_TURN("system"),
     LLAMA3_TURNS},
    {.name = "llama-2",
     .marks = {"[INST]", "<<SYS>>"},
     .system_open = "[INST] <<SYS>>\n",
     .system_close = "\n<</SYS>>\n\n",
     .user_open = "[INST] ",
     .user_close = " [/INST]",
     .assistant_open = " ",
     .assistant_close = " </s>",
     .between = "<s>",
     .prompt = "",
     .tokens = {"<s>", "</s>", "[INST]", "[/INST]"},
     .n_needed = 2,
     .system_joins_user = true,
     .trims = TRIMS_LLAMA_2},
    {.name = "mistral-nemo",
     .marks = {"\"[INST]\" +", "[AVAILABLE_TOOLS]"},
     .others = {"[SYSTEM_PROMPT]"}, /* later versions of Mistral's */
     MISTRAL_TURNS("[INST]", "[/INST]", "", "</s>")},
    {.name = "mistral-v3",
     .marks = {"[INST]", "[AVAILABLE_TOOLS]"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", "[/INST]", " ", "</s>")},
    {.name = "mistral-v1",
     .marks = {"' [INST] '"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS(" [INST] ", " [/INST]", " ", "</s>")},
    {.name = "mistral-v0.1",
     .marks = {"[INST]", "eos_token + ' '"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", " [/INST]", "", "</s> ")},
    {.name = "mistral",
     .marks = {"[INST]"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", " [/INST]", "", "</s>")},
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
#define FIRST_NAME    "chatml"
/* clang-format off */
#define MORE_NAMES(X)                                                                                  \
    X("llama-2") X("llama-3") X("llama-3.1") X("llama-3.2") X("zephyr") X("mistral") X("mistral-v0.1") \
    X("mistral-v1") X("mistral-v3") X("mistral-nemo") X("qwen2") X("qwen2.5") X("qwen3")               \
    X("qwen3-coder") X("qwq") X("smollm2") X("stablelm-zephyr")
/* clang-format on */
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

const char *const *nlm_chat_template_tokens(const nlm_chat_template *chat, size_t *out_n_needed) {
    *out_n_needed = chat->n_needed;
    return chat->tokens;
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

static bool equals(nlm_gguf_string text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.data, expected, (size_t)text.length) == 0;
}

static bool fits(const nlm_chat_template *chat, nlm_gguf_string text, nlm_gguf_string eos) {
    for (size_t i = 0; i < MARKS_MAX; i++) {
        if (chat->marks[i] && !holds(text, chat->marks[i])) return false;
        if (chat->others[i] && holds(text, chat->others[i])) return false;
    }
    return !chat->eos || equals(eos, chat->eos);
}

/* The template that renders just what `text` does with this EOS, or NULL. */
static const nlm_chat_template *find_exact(nlm_gguf_string text, nlm_gguf_string eos) {
    const nlm_chat_text *found = nlm_chat_text_find(text.data, (size_t)text.length, eos.data, (size_t)eos.length);
    return found ? nlm_chat_template_from_name(found->name) : NULL;
}

nlm_status nlm_chat_template_detect(const nlm_gguf *gguf, const nlm_chat_template **out, bool *out_is_exact,
                                    nlm_error *err) {
    nlm_gguf_string text;
    const nlm_status status = nlm_gguf_get_string(gguf, "tokenizer.chat_template", &text, err);
    if (status == NLM_NOT_FOUND) {
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf), "%s",
                        "the model names no chat template (tokenizer.chat_template); give one with "
                        "--chat-template NAME or chat.template: " NAMES_TEXT);
    }
    NLM_TRY(status);
    const nlm_gguf_string eos = eos_text(gguf);
    const nlm_chat_template *exact = find_exact(text, eos);
    *out_is_exact = exact != NULL;
    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        if (exact ? &templates[i] != exact : !fits(&templates[i], text, eos)) continue;
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

/* The white space that Python's str.strip and Jinja's trim take off. */
static bool is_blank(uint32_t code) {
    return (code >= '\t' && code <= '\r') || (code >= 0x1C && code <= ' ') || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
           code == 0x202F || code == 0x205F || code == 0x3000;
}

/* content[*from .. *to) less the blanks at its end and, if `at_start`, those at its start. */
static void trim(const char *content, bool at_start, size_t *from, size_t *to) {
    const size_t length = *to;
    size_t bytes, first = length, end = 0;
    for (size_t at = 0; at < length; at += bytes) {
        if (is_blank(nlm_utf8_next(content + at, length - at, &bytes))) continue;
        if (first == length) first = at;
        end = at + bytes;
    }
    *from = at_start && first < end ? first : 0;
    *to = end;
}

static nlm_status add_content(const char *content, bool trims_start, bool trims_end, nlm_str *out,
                              nlm_text_spans *spans, nlm_error *err) {
    size_t begin = 0, end = strlen(content);
    if (trims_end) trim(content, trims_start, &begin, &end);
    const size_t from = out->length;
    nlm_str_append(out, content + begin, end - begin);
    return add_span(spans, from, out->length, err);
}

static void add_today(nlm_str *out) {
    char date[64] = "";
    const time_t now = time(NULL);
    struct tm day;
    if (localtime_r(&now, &day)) strftime(date, sizeof date, "%d %b %Y", &day);
    nlm_str_printf(out, "%s\n\n", date);
}

typedef enum chat_role { ROLE_NONE, ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL } chat_role;

static const char *const role_names[] = {"", "system", "user", "assistant", "tool"};

static nlm_status role_of(const nlm_chat_message *message, chat_role *out, nlm_error *err) {
    for (int i = ROLE_SYSTEM; i <= ROLE_TOOL; i++) {
        if (strcmp(message->role, role_names[i]) != 0) continue;
        *out = (chat_role)i;
        return NLM_OK;
    }
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                    "a message has the role '%s'; expected system, user, assistant or tool", message->role);
}

static nlm_status fail_tool(const nlm_chat_template *chat, nlm_error *err) {
    nlm_str with_tools = {0};
    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        if (templates[i].tool_open) nlm_str_printf(&with_tools, " %s", templates[i].name);
    }
    const nlm_status status = nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                                       "how the %s template has messages of tools is not known; it is for:%s",
                                       chat->name, with_tools.data ? with_tools.data : "");
    nlm_str_release(&with_tools);
    return status;
}

/* As Python's json.dumps writes a string, with what is not ASCII as it is. */
static void add_quoted(nlm_str *out, const char *text) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    nlm_str_puts(out, "\"");
    for (; *text; text++) {
        const char *found = strchr(escaped, *text);
        if (found) {
            nlm_str_printf(out, "\\%c", letters[found - escaped]);
        } else if ((unsigned char)*text < ' ') {
            nlm_str_printf(out, "\\u%04x", (unsigned)*text);
        } else {
            nlm_str_append(out, text, 1);
        }
    }
    nlm_str_puts(out, "\"");
}

static nlm_status add_tool(const nlm_chat_template *chat, const char *content, chat_role before, nlm_str *out,
                           nlm_text_spans *spans, nlm_error *err) {
    if (!chat->tool_open) return fail_tool(chat, err);
    if (before != ROLE_TOOL) nlm_str_puts(out, chat->tools_open);
    nlm_str_puts(out, chat->tool_open);
    const size_t from = out->length;
    if (chat->quotes_tools) {
        add_quoted(out, content);
    } else {
        nlm_str_puts(out, content);
    }
    NLM_TRY(add_span(spans, from, out->length, err));
    nlm_str_puts(out, chat->tool_close);
    return NLM_OK;
}

/* What `before` left open, when `role` comes next. */
static void close_turn(const nlm_chat_template *chat, chat_role before, chat_role role, nlm_str *out) {
    if (before == ROLE_ASSISTANT) nlm_str_puts(out, chat->assistant_close);
    if (before == ROLE_TOOL && role != ROLE_TOOL) nlm_str_puts(out, chat->tools_close);
}

/* One message, closing the assistant's turn before it if there is one. */
static nlm_status add_message(const nlm_chat_template *chat, const nlm_chat_message *message, chat_role role,
                              chat_role before, nlm_str *out, nlm_text_spans *spans, nlm_error *err) {
    const bool is_joined = before == ROLE_SYSTEM && chat->system_joins_user;
    if (is_joined && role != ROLE_USER) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                        "in the %s template a user's message must follow the system message", chat->name);
    }
    const bool trims_end = chat->trims == TRIMS_ALL || (chat->trims == TRIMS_LLAMA_2 && role != ROLE_SYSTEM);
    close_turn(chat, before, role, out);
    if (role == ROLE_TOOL) return add_tool(chat, message->content, before, out, spans, err);
    if (role == ROLE_ASSISTANT) {
        nlm_str_puts(out, chat->assistant_open);
        return add_content(message->content, trims_end, trims_end, out, spans, err); /* what follows closes it */
    }
    if (before == ROLE_ASSISTANT && chat->between) nlm_str_puts(out, chat->between);
    if (!is_joined) nlm_str_puts(out, role == ROLE_SYSTEM ? chat->system_open : chat->user_open);
    if (role == ROLE_SYSTEM && chat->has_today) add_today(out);
    NLM_TRY(add_content(message->content, trims_end && !is_joined, trims_end, out, spans, err));
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
    close_turn(chat, before, ROLE_NONE, out);
    nlm_str_puts(out, chat->prompt);
    return NLM_OK;
}

nlm_status nlm_chat_template_format(const nlm_chat_template *chat, const nlm_chat_message *messages, size_t count,
                                    size_t n_before, bool add_generation_prompt, nlm_str *out,
                                    nlm_text_spans *out_spans, nlm_error *err) {
    NLM_TRY(format_all(chat, messages, count, n_before, add_generation_prompt, out, out_spans, err));
    return out->has_failed ? out_of_memory(err) : NLM_OK;
}
