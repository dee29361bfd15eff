/* Rendering conversations turn by turn, with the loss on the assistant's. */
#include "train/chat_document.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/json.h"
#include "text/chat_table.h"
#include "train/encode.h"

/* One conversation on its way. */
typedef struct chat_writer {
    nlm_document_sink *sink;
    const nlm_chat_template *chat;
    const char *where;
    const nlm_chat_message *messages;
    size_t count;
    size_t shared; /* of what opens an answer: the bytes that a prompt ends with too; the model writes the rest */
    bool is_begun; /* something was encoded */
    bool is_behind_token; /* the last of it is a control token */
    nlm_str text;         /* of a turn; scratch */
    nlm_text_spans spans;
} chat_writer;

static bool is_answer(const nlm_chat_message *message) {
    return strcmp(message->role, "assistant") == 0;
}

/* Appends the text of messages, which follow n_before others. What does not fit the template is the line's fault. */
static nlm_status format(chat_writer *w, const nlm_chat_message *messages, size_t count, size_t n_before,
                         nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status =
        nlm_chat_template_format(w->chat, messages, count, n_before, false, &w->text, &w->spans, &why);
    if (status == NLM_OK) return NLM_OK;
    return nlm_fail(err, status == NLM_INVALID_ARGUMENT ? NLM_BAD_FORMAT : status, w->where, "%s", why.msg);
}

/* Encodes the text as what follows all before. Behind a control token the encoder begins anew, as within a text. */
static nlm_status encode(chat_writer *w, nlm_ids *ids, nlm_error *err) {
    if (w->text.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, w->where, "no memory for a conversation");
    const bool is_new = !w->is_begun || w->is_behind_token;
    NLM_TRY((is_new ? nlm_tokenizer_encode_spans : nlm_encode_more)(w->sink->tokenizer, w->text.data, w->text.length,
                                                                    NLM_ENCODE_SPECIAL, &w->spans, ids, err));
    w->text.length = w->spans.count = 0;
    if (ids->count == 0) return NLM_OK;
    nlm_piece piece;
    NLM_TRY(nlm_tokenizer_piece(w->sink->tokenizer, ids->data[ids->count - 1], &piece, err));
    w->is_begun = true;
    w->is_behind_token = piece.is_hidden;
    return NLM_OK;
}

/* How many of the ids, which follow an answer, close it: up to a token that ends a generation, or all that the
 * template's text has where the vocabulary has no such token. */
static nlm_status count_closing(const chat_writer *w, const nlm_ids *ids, size_t *out, nlm_error *err) {
    const nlm_tokenizer *tokenizer = w->sink->tokenizer;
    const char *close = w->chat->assistant_close;
    nlm_ids closing = {0};
    const nlm_status status =
        nlm_encode_more(tokenizer, close, strlen(close), NLM_ENCODE_SPECIAL, NULL, &closing, err);
    size_t count = 0;
    for (bool is_over = false; !is_over && count < closing.count && count < ids->count;) {
        if (ids->data[count] != closing.data[count]) break;
        is_over = nlm_tokenizer_is_end(tokenizer, ids->data[count++]);
    }
    *out = count;
    nlm_ids_release(&closing);
    return status;
}

/* What stands between two answers, or before the first or after the last: messages [from, to) of others. */
static nlm_status add_others(chat_writer *w, size_t from, size_t to, nlm_error *err) {
    if (from > 0 && from == to) nlm_str_puts(&w->text, w->chat->assistant_close);
    NLM_TRY(format(w, w->messages + from, to - from, from, err));
    if (to < w->count) nlm_str_append(&w->text, w->chat->assistant_open, w->shared);
    if (w->text.length == 0 && !w->text.has_failed) return NLM_OK;
    size_t closing = 0;
    nlm_ids ids = {0};
    const bool was_begun = w->is_begun;
    nlm_status status = encode(w, &ids, err);
    if (status == NLM_OK && from > 0 && was_begun) status = count_closing(w, &ids, &closing, err);
    if (status == NLM_OK) status = nlm_token_writer_add(w->sink->writer, ids.data, closing, true, err);
    if (status == NLM_OK) {
        status = nlm_token_writer_add(w->sink->writer, ids.data + closing, ids.count - closing, false, err);
    }
    nlm_ids_release(&ids);
    return status;
}

/* Message `at`, an answer. Its text may depend on whether a user goes on to ask. */
static nlm_status add_answer(chat_writer *w, size_t at, nlm_error *err) {
    size_t user = at + 1;
    while (user < w->count && strcmp(w->messages[user].role, "user") != 0) user++;
    NLM_TRY(format(w, w->messages + at, user < w->count ? user + 1 - at : 1, at > 0 ? at : 1, err));
    const size_t open = strlen(w->chat->assistant_open);
    const bool has_content = w->spans.count > 0 && w->spans.data[0].from == open;
    const size_t end = has_content ? w->spans.data[0].to : open;
    if (w->text.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, w->where, "no memory for a conversation");
    memmove(w->text.data, w->text.data + w->shared, end - w->shared);
    w->text.length = end - w->shared;
    w->spans.count = has_content;
    if (has_content) w->spans.data[0] = (nlm_text_span){open - w->shared, end - w->shared};
    if (w->text.length == 0) return NLM_OK;
    NLM_TRY(encode(w, &w->sink->ids, err));
    return nlm_document_put(w->sink, true, err);
}

static nlm_status add_messages(chat_writer *w, nlm_error *err) {
    size_t done = 0;
    NLM_TRY(nlm_document_begin(w->sink, err));
    for (size_t i = 0; i < w->count; i++) {
        if (!is_answer(&w->messages[i])) continue;
        NLM_TRY(add_others(w, done, i, err));
        NLM_TRY(add_answer(w, i, err));
        done = i + 1;
    }
    return add_others(w, done, w->count, err);
}

/* ---- from JSON ------------------------------------------------------------------------------------------ */

static nlm_status read_message(const char *where, const cJSON *item, size_t index, nlm_chat_message *out,
                               nlm_error *err) {
    const cJSON *role = NULL, *content = NULL;
    if (cJSON_IsObject(item)) {
        NLM_TRY(nlm_json_member(where, item, "role", &role, err));
        NLM_TRY(nlm_json_member(where, item, "content", &content, err));
    }
    if (!cJSON_IsString(role) || !cJSON_IsString(content)) {
        return nlm_fail(err, NLM_BAD_FORMAT, where,
                        "message %zu is not of the form {\"role\": \"...\", \"content\": \"...\"}", index + 1);
    }
    *out = (nlm_chat_message){role->valuestring, content->valuestring};
    return NLM_OK;
}

static nlm_status read_messages(const char *where, const cJSON *array, nlm_chat_message *out, nlm_error *err) {
    size_t index = 0, n_answers = 0;
    for (const cJSON *item = array->child; item; item = item->next, index++) {
        NLM_TRY(read_message(where, item, index, &out[index], err));
        n_answers += is_answer(&out[index]);
    }
    if (n_answers > 0) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, where,
                    "none of the %zu messages is the assistant's; expected one at least, to learn from", index);
}

/* What a prompt ends with and an answer begins with alike. */
static size_t shared_opening(const nlm_chat_template *chat) {
    size_t shared = 0;
    while (chat->prompt[shared] && chat->prompt[shared] == chat->assistant_open[shared]) shared++;
    return shared;
}

nlm_status nlm_chat_document_add(nlm_document_sink *sink, const char *where, const cJSON *array, nlm_error *err) {
    const nlm_chat_template *chat = sink->options->chat;
    if (!chat) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, where,
                        "the line holds messages, and the model has no chat template; name one that is known");
    }
    const size_t count = (size_t)cJSON_GetArraySize(array);
    nlm_chat_message *messages = calloc(count + 1, sizeof *messages);
    if (!messages) return nlm_fail(err, NLM_OUT_OF_MEMORY, where, "no memory for %zu messages", count);
    chat_writer w = {.sink = sink,
                     .chat = chat,
                     .where = where,
                     .messages = messages,
                     .count = count,
                     .shared = shared_opening(chat)};
    nlm_status status = read_messages(where, array, messages, err);
    if (status == NLM_OK) status = add_messages(&w, err);
    nlm_str_release(&w.text);
    nlm_text_spans_release(&w.spans);
    free(messages);
    return status;
}
