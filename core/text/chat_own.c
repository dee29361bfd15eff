/* Conversations as a model's own chat template writes them. */
#include "text/chat_own.h"

#include <cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "text/jinja.h"

#define TOKENS_MAX 64

struct nlm_chat_own {
    nlm_arena arena;
    nlm_jinja *jinja;
    const char *text;                          /* of the template */
    const char *bos, *eos, *unknown, *padding; /* "" where the file names none */
    const char *tokens[TOKENS_MAX + 1];
    size_t n_tokens;
};

/* ---- what the file says ------------------------------------------------------------------- */

static const char *token_text(nlm_chat_own *own, const nlm_gguf *gguf, const char *key) {
    uint64_t id;
    const nlm_gguf_entry *tokens = nlm_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->strings || nlm_gguf_get_u64(gguf, key, &id, NULL) != NLM_OK || id >= tokens->count) {
        return "";
    }
    const char *text = nlm_arena_strndup(&own->arena, tokens->strings[id].data, (size_t)tokens->strings[id].length);
    return text ? text : "";
}

static void add_token(nlm_chat_own *own, const char *text, size_t length) {
    for (size_t i = 0; i < own->n_tokens; i++) {
        if (strlen(own->tokens[i]) == length && memcmp(own->tokens[i], text, length) == 0) return;
    }
    const char *copy = own->n_tokens < TOKENS_MAX ? nlm_arena_strndup(&own->arena, text, length) : NULL;
    if (copy) own->tokens[own->n_tokens++] = copy;
}

/* Those in a text of the template: without blanks in them. */
static void find_tokens(void *user, const char *text, size_t length) {
    nlm_chat_own *own = user;
    for (size_t at = 0; at + 4 < length; at++) {
        if (text[at] != '<' || text[at + 1] != '|') continue;
        size_t end = at + 2;
        while (end < length && text[end] != '|' && text[end] != '<' && (unsigned char)text[end] > ' ') end++;
        if (end > at + 2 && end + 1 < length && text[end] == '|' && text[end + 1] == '>') {
            add_token(own, text + at, end + 2 - at);
        }
    }
}

nlm_status nlm_chat_own_create(const nlm_gguf *gguf, nlm_chat_own **out, nlm_error *err) {
    nlm_gguf_string text;
    NLM_TRY(nlm_gguf_get_string(gguf, "tokenizer.chat_template", &text, err));
    nlm_chat_own *own = calloc(1, sizeof *own);
    if (!own) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the template");
    const nlm_status status = nlm_jinja_create(text.data, (size_t)text.length, &own->jinja, err);
    if (status != NLM_OK) {
        nlm_chat_own_destroy(own);
        return status;
    }
    own->text = nlm_arena_strndup(&own->arena, text.data, (size_t)text.length);
    if (!own->text) {
        nlm_chat_own_destroy(own);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the template");
    }
    own->bos = token_text(own, gguf, "tokenizer.ggml.bos_token_id");
    own->eos = token_text(own, gguf, "tokenizer.ggml.eos_token_id");
    own->unknown = token_text(own, gguf, "tokenizer.ggml.unknown_token_id");
    own->padding = token_text(own, gguf, "tokenizer.ggml.padding_token_id");
    nlm_jinja_each_text(own->jinja, find_tokens, own);
    *out = own;
    return NLM_OK;
}

void nlm_chat_own_destroy(nlm_chat_own *own) {
    if (!own) return;
    nlm_jinja_destroy(own->jinja);
    nlm_arena_release(&own->arena);
    free(own);
}

const char *nlm_chat_own_text(const nlm_chat_own *own) {
    return own->text;
}

const char *const *nlm_chat_own_tokens(const nlm_chat_own *own) {
    return own->tokens;
}

bool nlm_chat_own_begins(const nlm_chat_own *own, const nlm_str *text, const nlm_text_spans *spans) {
    const size_t length = strlen(own->bos);
    return length > 0 && text->length >= length && memcmp(text->data, own->bos, length) == 0 &&
           (spans->count == 0 || spans->data[0].from >= length);
}

/* ---- one rendering ------------------------------------------------------------------------ */

/* Messages in two parts, of which the first may stand for others; and what is asked about them. */
typedef struct conversation {
    const nlm_chat_message *before, *messages;
    size_t n_before, count;
    const nlm_chat_json *json; /* messages are its, with nothing before; or NULL */
    bool opens_turn;
    bool stays_open; /* the last message does */
    size_t watched;  /* the index of a message whose content is looked for */
} conversation;

#define NONE_WATCHED SIZE_MAX

typedef struct rendering {
    nlm_str text;
    nlm_text_spans spans, generations;
    nlm_text_span watched;
    unsigned seen; /* marks that the text has */
} rendering;

static void release(rendering *r) {
    nlm_str_release(&r->text);
    nlm_text_spans_release(&r->spans);
    nlm_text_spans_release(&r->generations);
}

/* Templates build tokens of the names of roles; others are as good as a user's text. */
static uint8_t mark_of_role(const char *role) {
    static const char *const known[] = {"system", "user", "assistant", "tool", "developer", "function", "ipython"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i], role) == 0) return NLM_JINJA_TEMPLATE;
    }
    return NLM_JINJA_USER;
}

static void add_message(nlm_jinja_run *run, nlm_jinja_value list, const nlm_chat_message *message, uint8_t mark) {
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    nlm_jinja_put_named(run, made, "role", nlm_jinja_string_static(run, message->role, mark_of_role(message->role)));
    nlm_jinja_put_named(run, made, "content", nlm_jinja_string_static(run, message->content, mark));
    nlm_jinja_push(run, list, made);
}

/* Everything in it is a user's, but the names of roles. */
static void add_json_message(nlm_jinja_run *run, nlm_jinja_value list, const cJSON *message, uint8_t mark) {
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    const cJSON *item;
    cJSON_ArrayForEach(item, message) {
        const bool is_role = strcmp(item->string, "role") == 0, is_content = strcmp(item->string, "content") == 0;
        const bool is_calls = strcmp(item->string, "tool_calls") == 0;
        const uint8_t mark_of_item = is_role      ? mark_of_role(item->valuestring)
                                     : is_content ? mark
                                     : is_calls   ? NLM_JINJA_OF_CALL
                                                  : NLM_JINJA_USER;
        nlm_jinja_put(run, made, nlm_jinja_string_new(run, item->string, strlen(item->string), NLM_JINJA_USER),
                      nlm_jinja_from_cjson(run, item, mark_of_item));
    }
    nlm_jinja_push(run, list, made);
}

static nlm_jinja_value messages_of(nlm_jinja_run *run, const conversation *talk) {
    const nlm_jinja_value list = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    const cJSON *json = talk->json ? talk->json->messages->child : NULL;
    for (size_t i = 0; i < talk->n_before + talk->count; i++) {
        const uint8_t mark = i == talk->watched ? NLM_JINJA_WATCHED : NLM_JINJA_USER;
        if (talk->json) {
            add_json_message(run, list, json, mark);
            json = json->next;
        } else {
            add_message(run, list, i < talk->n_before ? &talk->before[i] : &talk->messages[i - talk->n_before], mark);
        }
    }
    return list;
}

static nlm_jinja_value globals_of(const nlm_chat_own *own, nlm_jinja_run *run, const conversation *talk) {
    const struct {
        const char *name, *text;
    } tokens[] = {
        {"bos_token", own->bos}, {"eos_token", own->eos}, {"unk_token", own->unknown}, {"pad_token", own->padding}};
    const cJSON *tools = talk->json ? talk->json->tools : NULL, *argument;
    const cJSON *arguments = talk->json ? talk->json->arguments : NULL;
    const nlm_jinja_value globals = nlm_jinja_dict_new(run);
    nlm_jinja_put_named(run, globals, "documents", nlm_jinja_none());
    cJSON_ArrayForEach(argument, arguments) {
        nlm_jinja_put_named(run, globals, argument->string, nlm_jinja_from_cjson(run, argument, NLM_JINJA_USER));
    }
    nlm_jinja_put_named(run, globals, "messages", messages_of(run, talk));
    nlm_jinja_put_named(run, globals, "add_generation_prompt", nlm_jinja_bool(talk->opens_turn));
    nlm_jinja_put_named(run, globals, "tools",
                        tools ? nlm_jinja_from_cjson(run, tools, NLM_JINJA_OF_TOOL) : nlm_jinja_none());
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        nlm_jinja_put_named(run, globals, tokens[i].name,
                            nlm_jinja_string_static(run, tokens[i].text, NLM_JINJA_TEMPLATE));
    }
    return globals;
}

static nlm_status render(const nlm_chat_own *own, const conversation *talk, rendering *out, nlm_error *err) {
    release(out);
    nlm_jinja_run *run = nlm_jinja_run_create(&nlm_jinja_default_limits, err);
    if (!run) return NLM_OUT_OF_MEMORY;
    nlm_jinja_note_generations(run, &out->generations);
    const nlm_status status =
        nlm_jinja_render(own->jinja, run, globals_of(own, run, talk), &out->text, &out->spans, &out->watched, err);
    out->seen = nlm_jinja_seen(run);
    nlm_jinja_run_destroy(run);
    return status;
}

/* ---- parts of conversations --------------------------------------------------------------- */

static nlm_status fail_apart(nlm_error *err) {
    return nlm_fail(err, NLM_UNSUPPORTED, "chat template",
                    "the template writes earlier messages otherwise when others follow: what follows cannot be told "
                    "from what came before");
}

/* Where the text of `messages` begins, behind those before it: with the end of the answer's turn, if it is an answer
 * that they stand behind. */
static nlm_status find_start(const nlm_chat_own *own, conversation talk, size_t *out, nlm_error *err) {
    *out = 0;
    if (talk.n_before == 0) return NLM_OK;
    rendering all = {0}, first = {0};
    talk.watched = talk.n_before - 1;
    nlm_status status = render(own, &talk, &all, err);
    if (status == NLM_OK && talk.n_before == 2) {
        *out = all.watched.to;
        if (all.watched.to == 0) status = fail_apart(err);
    } else if (status == NLM_OK) { /* a question, whose turn was closed when it was asked */
        talk.count = 0;
        talk.opens_turn = false;
        status = render(own, &talk, &first, err);
        *out = first.text.length;
        const bool is_prefix =
            status == NLM_OK && first.text.length <= all.text.length &&
            (first.text.length == 0 || memcmp(first.text.data, all.text.data, first.text.length) == 0);
        if (status == NLM_OK && !is_prefix) status = fail_apart(err);
    }
    release(&all);
    release(&first);
    return status;
}

/* Renders, and finds where the text ends: behind the last content if its turn stays open. */
static nlm_status render_open(const nlm_chat_own *own, conversation talk, rendering *out, size_t *out_end,
                              nlm_error *err) {
    const bool stays_open = talk.stays_open && talk.count > 0;
    talk.watched = stays_open ? talk.n_before + talk.count - 1 : NONE_WATCHED;
    NLM_TRY(render(own, &talk, out, err));
    if (stays_open && out->watched.to == 0) { /* nothing was said yet: the turn is opened */
        talk.count--;
        talk.opens_turn = true;
        NLM_TRY(render(own, &talk, out, err));
    }
    *out_end = out->watched.to > 0 ? out->watched.to : out->text.length;
    return NLM_OK;
}

static nlm_status give(const rendering *r, size_t start, size_t end, nlm_str *out, nlm_text_spans *spans,
                       nlm_error *err) {
    const size_t offset = out->length;
    nlm_text_span *data = realloc(spans->data, (spans->count + r->spans.count + 1) * sizeof *data);
    if (!data) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the conversation");
    spans->data = data;
    spans->capacity = spans->count + r->spans.count + 1;
    for (size_t i = 0; i < r->spans.count; i++) {
        const size_t from = r->spans.data[i].from < start ? start : r->spans.data[i].from;
        const size_t to = r->spans.data[i].to > end ? end : r->spans.data[i].to;
        if (from < to) data[spans->count++] = (nlm_text_span){offset + from - start, offset + to - start};
    }
    if (end > start) nlm_str_append(out, r->text.data + start, end - start);
    if (!out->has_failed) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the conversation");
}

nlm_status nlm_chat_own_format(const nlm_chat_own *own, const nlm_chat_message *messages, size_t count,
                               size_t n_before, bool opens_turn, nlm_str *out, nlm_text_spans *out_spans,
                               nlm_error *err) {
    static const nlm_chat_message earlier[] = {{"user", "question"}, {"assistant", "answer"}};
    const bool begins_with_answer = count > 0 && strcmp(messages[0].role, "assistant") == 0;
    const conversation talk = {.before = earlier,
                               .messages = messages,
                               .n_before = n_before == 0        ? 0
                                           : begins_with_answer ? 1
                                                                : 2,
                               .count = count,
                               .opens_turn = opens_turn,
                               .stays_open = !opens_turn,
                               .watched = NONE_WATCHED};
    rendering r = {0};
    size_t start, end = 0;
    nlm_status status = find_start(own, talk, &start, err);
    if (status == NLM_OK) status = render_open(own, talk, &r, &end, err);
    if (status == NLM_OK && end < start) status = fail_apart(err);
    if (status == NLM_OK) status = give(&r, start, end, out, out_spans, err);
    release(&r);
    return status;
}

/* ---- conversations of JSON ---------------------------------------------------------------- */

/* A template that knows nothing of tools leaves them out without a word. */
static nlm_status check_is_written(const rendering *r, const nlm_chat_json *chat, nlm_error *err) {
    const cJSON *message;
    bool has_calls = false;
    cJSON_ArrayForEach(message, chat->messages) {
        has_calls |= cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(message, "tool_calls")) > 0;
    }
    const bool lacks_tools = cJSON_GetArraySize(chat->tools) > 0 && !(r->seen & 1u << NLM_JINJA_OF_TOOL);
    const bool lacks_calls = has_calls && !(r->seen & 1u << NLM_JINJA_OF_CALL);
    if (!lacks_tools && !lacks_calls) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, "chat template",
                    "the model's template leaves out the %s of the conversation: it is for none",
                    lacks_tools ? "tools" : "calls");
}

nlm_status nlm_chat_own_format_json(const nlm_chat_own *own, const nlm_chat_json *chat, nlm_chat_end end,
                                    nlm_str *out, nlm_text_spans *out_spans, nlm_error *err) {
    const conversation talk = {.json = chat,
                               .count = (size_t)cJSON_GetArraySize(chat->messages),
                               .opens_turn = end == NLM_CHAT_END_PROMPT,
                               .stays_open = end == NLM_CHAT_END_OPEN,
                               .watched = NONE_WATCHED};
    rendering r = {0};
    size_t to = 0;
    nlm_status status = render_open(own, talk, &r, &to, err);
    if (status == NLM_OK) status = check_is_written(&r, chat, err);
    if (status == NLM_OK) status = give(&r, 0, to, out, out_spans, err);
    release(&r);
    return status;
}

nlm_status nlm_chat_own_render(const nlm_chat_own *own, const nlm_chat_json *chat, size_t count, bool opens_turn,
                               size_t watched, nlm_chat_text *out, nlm_error *err) {
    const conversation talk = {.json = chat, .count = count, .opens_turn = opens_turn, .watched = watched};
    rendering r = {0};
    nlm_status status = render(own, &talk, &r, err);
    if (status == NLM_OK && count == (size_t)cJSON_GetArraySize(chat->messages))
        status = check_is_written(&r, chat, err);
    if (status != NLM_OK) release(&r);
    *out = (nlm_chat_text){r.text, r.spans, r.generations, r.watched};
    return status;
}

void nlm_chat_text_release(nlm_chat_text *text) {
    nlm_str_release(&text->text);
    nlm_text_spans_release(&text->spans);
    nlm_text_spans_release(&text->generations);
}

/* Whether a call of a tool is written in JSON, and nothing that is not there is: not as Python prints them. */
static bool writes_calls(const nlm_chat_own *own, nlm_chat_form form) {
    static const char call[] =
        "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": null, "
        "\"tool_calls\": [{\"id\": \"call00000\", \"type\": \"function\", \"function\": {\"name\": \"f\", "
        "\"arguments\": {\"zqk\": \"zqv\"}}}]}]";
    nlm_chat_json chat = {0};
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    bool is_written = nlm_chat_json_read(call, NULL, NULL, &chat, NULL) == NLM_OK &&
                      nlm_chat_json_shape(&chat, form, NULL) == NLM_OK &&
                      nlm_chat_own_format_json(own, &chat, NLM_CHAT_END_CLOSED, &text, &spans, NULL) == NLM_OK &&
                      text.data;
    is_written =
        is_written && !strstr(text.data, "'zqk'") && !strstr(text.data, "None") && !strstr(text.data, "\\\"zqk");
    nlm_chat_json_release(&chat);
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
    return is_written;
}

nlm_chat_form nlm_chat_own_form(const nlm_chat_own *own) {
    static const nlm_chat_form forms[] = {{false, false}, {false, true}, {true, false}, {true, true}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (writes_calls(own, forms[i])) return forms[i];
    }
    return forms[0];
}
