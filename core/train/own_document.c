/* Conversations as a model's own template renders them, with the loss on what the model is to write: the parts that
 * the template itself names ({% generation %}), or else what prompts and whole turns, as it renders them, leave
 * between. */
#include "train/own_document.h"

#include <cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/chat_own.h"
#include "train/encode.h"

/* One conversation on its way. */
typedef struct own_writer {
    nlm_document_sink *sink;
    const nlm_chat_own *own;
    const char *where;
    nlm_chat_json chat;
    nlm_chat_text whole;
    bool is_begun;        /* something was encoded */
    bool is_behind_token; /* the last of it is a control token */
} own_writer;

/* What does not fit the template is the line's fault. */
static nlm_status fail_line(const own_writer *w, nlm_status status, const nlm_error *why, nlm_error *err) {
    const bool is_lines = status == NLM_INVALID_ARGUMENT || status == NLM_BAD_FORMAT;
    return nlm_fail(err, is_lines ? NLM_BAD_FORMAT : status, w->where, "%s: %s", why->where, why->msg);
}

/* ---- tokens of parts --------------------------------------------------------------------------------- */

/* Encodes [from, to) of the text as what follows all before. Behind a control token the encoder begins anew. */
static nlm_status encode(own_writer *w, size_t from, size_t to, nlm_ids *ids, nlm_error *err) {
    nlm_text_spans spans = {.data = calloc(w->whole.spans.count + 1, sizeof *spans.data)};
    if (!spans.data) return nlm_fail(err, NLM_OUT_OF_MEMORY, w->where, "no memory for a conversation");
    for (size_t i = 0; i < w->whole.spans.count; i++) {
        const nlm_text_span span = w->whole.spans.data[i];
        const size_t first = span.from > from ? span.from : from, last = span.to < to ? span.to : to;
        if (first < last) spans.data[spans.count++] = (nlm_text_span){first - from, last - from};
    }
    const bool is_new = !w->is_begun || w->is_behind_token;
    nlm_status status = (is_new ? nlm_tokenizer_encode_spans : nlm_encode_more)(
        w->sink->tokenizer, w->whole.text.data + from, to - from, NLM_ENCODE_SPECIAL, &spans, ids, err);
    nlm_piece piece;
    if (status == NLM_OK && ids->count > 0) {
        status = nlm_tokenizer_piece(w->sink->tokenizer, ids->data[ids->count - 1], &piece, err);
        w->is_begun = true;
        w->is_behind_token = status == NLM_OK && piece.is_hidden;
    }
    nlm_text_spans_release(&spans);
    return status;
}

static nlm_status put(own_writer *w, size_t from, size_t to, bool is_counted, nlm_error *err) {
    if (from >= to) return NLM_OK;
    NLM_TRY(encode(w, from, to, &w->sink->ids, err));
    return nlm_document_put(w->sink, is_counted, err);
}

/* The text begins with BOS where the tokenizer adds it, unless the template has written it. */
static nlm_status begin(own_writer *w, nlm_error *err) {
    if (!nlm_chat_own_begins(w->own, &w->whole.text, &w->whole.spans)) return nlm_document_begin(w->sink, err);
    return nlm_token_writer_begin(w->sink->writer, err);
}

/* ---- parts that the template names --------------------------------------------------------------------- */

static nlm_status add_generations(own_writer *w, nlm_error *err) {
    const nlm_text_spans *parts = &w->whole.generations;
    size_t done = 0;
    for (size_t i = 0; i < parts->count; i++) {
        const size_t from = parts->data[i].from, to = parts->data[i].to;
        if (from < done) continue; /* within one that is done */
        NLM_TRY(put(w, done, from, false, err));
        NLM_TRY(put(w, from, to, true, err));
        done = to;
    }
    return put(w, done, w->whole.text.length, false, err);
}

/* ---- parts between what it renders ----------------------------------------------------------------------- */

/* Of the text: what the model writes of an answer is [from, content_to), and behind it what closes the turn, up to a
 * token that ends a generation but not beyond `to`. */
typedef struct answer {
    size_t from, content_to, to;
    bool is_whole; /* all of it up to `to` closes the turn, if there is no such token */
} answer;

static size_t common_prefix(const nlm_str *a, const nlm_str *b) {
    const size_t least = a->length < b->length ? a->length : b->length;
    size_t at = 0;
    while (at < least && a->data[at] == b->data[at]) at++;
    return at;
}

/* Renders the first messages; *out_shared: how much of that the whole text begins with. What the template refuses, or
 * writes otherwise, has nothing in common. */
static nlm_status compare(const own_writer *w, size_t count, bool opens_turn, size_t *out_shared, bool *out_is_all,
                          nlm_error *err) {
    nlm_chat_text part;
    nlm_error why = NLM_ERROR_INIT;
    *out_shared = 0;
    *out_is_all = false;
    const nlm_status status = nlm_chat_own_render(w->own, &w->chat, count, opens_turn, SIZE_MAX, &part, &why);
    if (status == NLM_INVALID_ARGUMENT || status == NLM_UNSUPPORTED) return NLM_OK;
    if (status != NLM_OK) return fail_line(w, status, &why, err);
    *out_shared = common_prefix(&part.text, &w->whole.text);
    *out_is_all = *out_shared == part.text.length;
    nlm_chat_text_release(&part);
    return NLM_OK;
}

/* Where somebody else's text goes on. */
static size_t next_span(const own_writer *w, size_t at) {
    for (size_t i = 0; i < w->whole.spans.count; i++) {
        if (w->whole.spans.data[i].from >= at) return w->whole.spans.data[i].from;
    }
    return w->whole.text.length;
}

/* Message `index`, behind what ends at `done`. */
static nlm_status find_answer(const own_writer *w, size_t index, size_t done, answer *out, nlm_error *err) {
    nlm_chat_text watched;
    nlm_error why = NLM_ERROR_INIT;
    const size_t count = (size_t)cJSON_GetArraySize(w->chat.messages);
    const nlm_status status = nlm_chat_own_render(w->own, &w->chat, count, false, index, &watched, &why);
    if (status != NLM_OK) return fail_line(w, status, &why, err);
    const nlm_text_span content = watched.watched;
    nlm_chat_text_release(&watched);
    size_t opening, closed;
    bool is_opening, is_closed;
    NLM_TRY(compare(w, index, true, &opening, &is_opening, err));
    NLM_TRY(compare(w, index + 1, false, &closed, &is_closed, err));
    const bool has_content = content.to > 0;
    if (!has_content && (opening < done || !is_opening || !is_closed)) {
        return nlm_fail(err, NLM_UNSUPPORTED, w->where,
                        "the template does not write the content of message %zu, the assistant's, so that what the "
                        "model is to learn could be found",
                        index + 1);
    }
    out->from = opening >= done ? opening : content.from;
    /* A prompt that goes on otherwise than the answer does may begin as that does by chance. */
    const size_t most = is_opening ? content.to : content.from;
    if (has_content && out->from > most) out->from = most;
    out->content_to = has_content ? content.to : out->from;
    out->is_whole = is_closed && closed >= out->content_to;
    out->to = out->is_whole ? closed : next_span(w, out->content_to);
    return NLM_OK;
}

/* How many of the ids, which follow an answer's content, close its turn. */
static nlm_status count_closing(const own_writer *w, const answer *a, const nlm_ids *ids, size_t *out,
                                nlm_error *err) {
    const nlm_tokenizer *tokenizer = w->sink->tokenizer;
    nlm_ids closing = {0};
    const nlm_status status = nlm_encode_more(tokenizer, w->whole.text.data + a->content_to, a->to - a->content_to,
                                              NLM_ENCODE_SPECIAL, NULL, &closing, err);
    size_t count = 0;
    bool is_over = false;
    while (status == NLM_OK && !is_over && count < closing.count && count < ids->count &&
           ids->data[count] == closing.data[count]) {
        is_over = nlm_tokenizer_is_end(tokenizer, ids->data[count++]);
    }
    *out = is_over || a->is_whole ? count : 0;
    nlm_ids_release(&closing);
    return status;
}

/* What follows an answer (NULL: nothing does) up to `to`. */
static nlm_status add_others(own_writer *w, const answer *behind, size_t to, nlm_error *err) {
    const size_t from = behind ? behind->content_to : 0;
    nlm_ids ids = {0};
    size_t closing = 0;
    if (from >= to) return NLM_OK;
    nlm_status status = encode(w, from, to, &ids, err);
    if (status == NLM_OK && behind) status = count_closing(w, behind, &ids, &closing, err);
    if (status == NLM_OK) status = nlm_token_writer_add(w->sink->writer, ids.data, closing, true, err);
    if (status == NLM_OK)
        status = nlm_token_writer_add(w->sink->writer, ids.data + closing, ids.count - closing, false, err);
    nlm_ids_release(&ids);
    return status;
}

static bool is_answer(const cJSON *message) {
    const char *role = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "role"));
    return role && strcmp(role, "assistant") == 0;
}

static nlm_status add_between(own_writer *w, nlm_error *err) {
    answer last = {0};
    bool has_last = false;
    size_t index = 0;
    for (const cJSON *message = w->chat.messages->child; message; message = message->next, index++) {
        if (!is_answer(message)) continue;
        answer next;
        NLM_TRY(find_answer(w, index, last.content_to, &next, err));
        NLM_TRY(add_others(w, has_last ? &last : NULL, next.from, err));
        NLM_TRY(put(w, next.from, next.content_to, true, err));
        last = next;
        has_last = true;
    }
    return add_others(w, has_last ? &last : NULL, w->whole.text.length, err);
}

/* ---- from JSON ------------------------------------------------------------------------------------------- */

static nlm_status read_chat(own_writer *w, const cJSON *messages, const cJSON *tools, nlm_error *err) {
    char *text = cJSON_PrintUnformatted(messages);
    char *tool_text = cJSON_IsArray(tools) ? cJSON_PrintUnformatted(tools) : NULL;
    nlm_error why = NLM_ERROR_INIT;
    nlm_status status = text && (tool_text || !cJSON_IsArray(tools))
                            ? nlm_chat_json_read(text, tool_text, NULL, &w->chat, &why)
                            : nlm_fail(&why, NLM_OUT_OF_MEMORY, "messages", "no memory for them");
    if (status == NLM_OK) status = nlm_chat_json_shape(&w->chat, w->sink->form, &why);
    cJSON_free(text);
    cJSON_free(tool_text);
    if (status != NLM_OK) return fail_line(w, status, &why, err);
    size_t n_answers = 0;
    for (const cJSON *message = w->chat.messages->child; message; message = message->next)
        n_answers += is_answer(message);
    if (n_answers > 0) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, w->where,
                    "none of the %d messages is the assistant's; expected one at least, to learn from",
                    cJSON_GetArraySize(messages));
}

static nlm_status add_all(own_writer *w, nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    const size_t count = (size_t)cJSON_GetArraySize(w->chat.messages);
    const nlm_status status = nlm_chat_own_render(w->own, &w->chat, count, false, SIZE_MAX, &w->whole, &why);
    if (status != NLM_OK) return fail_line(w, status, &why, err);
    if (w->whole.text.length == 0)
        return nlm_fail(err, NLM_BAD_FORMAT, w->where, "the template makes nothing of the messages");
    NLM_TRY(begin(w, err));
    return w->whole.generations.count > 0 ? add_generations(w, err) : add_between(w, err);
}

nlm_status nlm_own_document_add(nlm_document_sink *sink, const char *where, const cJSON *messages, const cJSON *tools,
                                nlm_error *err) {
    own_writer w = {.sink = sink, .own = sink->options->own_chat, .where = where};
    nlm_status status = read_chat(&w, messages, tools, err);
    if (status == NLM_OK) status = add_all(&w, err);
    nlm_chat_text_release(&w.whole);
    nlm_chat_json_release(&w.chat);
    return status;
}
