/* Conversations as the known families of models were trained on them. */
#include "text/chat_template.h"

#include "base/status.h"
#include "text/chat_table.h"
#include "text/chat_texts.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* For people: those asked for most come first. */
#define FIRST_NAME    "chatml"
/* clang-format off */
#define MORE_NAMES(X)                                                                                  \
    X("llama-2") X("llama-3") X("llama-3.1") X("llama-3.2") X("zephyr") X("mistral") X("mistral-v0.1") \
    X("mistral-v1") X("mistral-v3") X("mistral-nemo") X("qwen2") X("qwen2.5") X("qwen3")               \
    X("qwen3-coder") X("qwq") X("granite-3") X("granite-4") X("lfm2") X("smollm2") X("stablelm-zephyr") X("vigogne")
/* clang-format on */
#define LISTED(name)  name,
#define WRITTEN(name) ", " name

static const char *const names[] = {FIRST_NAME, MORE_NAMES(LISTED) NULL};
#define NAMES_TEXT FIRST_NAME MORE_NAMES(WRITTEN)

const nlm_chat_template *nlm_chat_template_from_name(const char *name) {
    for (size_t i = 0; i < nlm_chat_template_count; i++) {
        if (strcmp(nlm_chat_templates[i].name, name) == 0) return &nlm_chat_templates[i];
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
    for (size_t i = 0; i < NLM_CHAT_MARKS_MAX; i++) {
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
    for (size_t i = 0; i < nlm_chat_template_count; i++) {
        if (exact ? &nlm_chat_templates[i] != exact : !fits(&nlm_chat_templates[i], text, eos)) continue;
        *out = &nlm_chat_templates[i];
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

/* An answer without its thoughts. */
static const char *skip_thoughts(const nlm_chat_template *chat, const char *content, bool is_asked_on) {
    static const char end[] = "</think>";
    if (chat->thoughts == NLM_CHAT_THOUGHTS_STAY) return content;
    if (chat->thoughts == NLM_CHAT_THOUGHTS_GO && !(is_asked_on && strstr(content, end))) return content;
    for (const char *found; (found = strstr(content, end));) content = found + strlen(end);
    return content + strspn(content, "\n");
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
    for (size_t i = 0; i < nlm_chat_template_count; i++) {
        if (nlm_chat_templates[i].tool_open) nlm_str_printf(&with_tools, " %s", nlm_chat_templates[i].name);
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

/* One message, closing the assistant's turn before it if there is one. is_asked_on: a user's message follows, now or
 * later. */
static nlm_status add_message(const nlm_chat_template *chat, const nlm_chat_message *message, chat_role role,
                              chat_role before, bool is_asked_on, nlm_str *out, nlm_text_spans *spans,
                              nlm_error *err) {
    const bool is_joined = before == ROLE_SYSTEM && chat->system_joins_user;
    if (is_joined && role != ROLE_USER) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "chat template",
                        "in the %s template a user's message must follow the system message", chat->name);
    }
    const bool trims_end =
        chat->trims == NLM_CHAT_TRIMS_ALL || (chat->trims == NLM_CHAT_TRIMS_LLAMA_2 && role != ROLE_SYSTEM);
    close_turn(chat, before, role, out);
    if (role == ROLE_TOOL) return add_tool(chat, message->content, before, out, spans, err);
    if (role == ROLE_ASSISTANT) {
        nlm_str_puts(out, chat->assistant_open);
        const char *content = skip_thoughts(chat, message->content, is_asked_on);
        return add_content(content, trims_end, trims_end, out, spans, err); /* what follows closes it */
    }
    if (before == ROLE_ASSISTANT && chat->between) nlm_str_puts(out, chat->between);
    if (!is_joined) nlm_str_puts(out, role == ROLE_SYSTEM ? chat->system_open : chat->user_open);
    if (role == ROLE_SYSTEM && chat->has_today) add_today(out);
    const size_t from = out->length;
    NLM_TRY(add_content(message->content, trims_end && !is_joined, trims_end, out, spans, err));
    const bool is_trimmed_away = is_joined && chat->trims == NLM_CHAT_TRIMS_LLAMA_2 && out->length == from;
    while (is_trimmed_away && out->data[out->length - 1] == '\n') out->length--; /* of the text that it joins */
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
        NLM_TRY(add_message(chat, &system, ROLE_SYSTEM, ROLE_NONE, false, out, spans, err));
        before = ROLE_SYSTEM;
    }
    size_t last_user = count;
    while (last_user > 0 && strcmp(messages[last_user - 1].role, role_names[ROLE_USER]) != 0) last_user--;
    for (size_t i = 0; i < count; i++) {
        NLM_TRY(role_of(&messages[i], &role, err));
        if (role == ROLE_SYSTEM && chat->skips_empty_system && messages[i].content[0] == 0) continue;
        NLM_TRY(add_message(chat, &messages[i], role, before, i < last_user, out, spans, err));
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

nlm_status nlm_chat_template_close(const nlm_chat_template *chat, nlm_str *out, nlm_error *err) {
    close_turn(chat, ROLE_ASSISTANT, ROLE_NONE, out);
    return out->has_failed ? out_of_memory(err) : NLM_OK;
}
