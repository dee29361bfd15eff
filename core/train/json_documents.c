/* The documents of a file of JSON lines: a text or a chat each. */
#include <cJSON.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "format/json.h"
#include "train/chat_document.h"
#include "train/own_document.h"

#define MAX_LINE (16u << 20)

#define EXPECTED "expected a JSON object a line, with its text or messages in one member"

static nlm_status add_text(nlm_document_sink *sink, const char *text, nlm_error *err) {
    if (!text[0]) return NLM_OK;
    NLM_TRY(nlm_document_begin(sink, err));
    NLM_TRY(nlm_tokenizer_encode(sink->tokenizer, text, strlen(text), 0, &sink->ids, err));
    NLM_TRY(nlm_document_put(sink, true, err));
    return nlm_document_end(sink, err);
}

/* The member that holds the document; *out is NULL if there is none. */
static nlm_status find_field(const char *where, const cJSON *object, const char *field, const cJSON **out,
                             nlm_error *err) {
    if (field) return nlm_json_member(where, object, field, out, err);
    NLM_TRY(nlm_json_member(where, object, "messages", out, err));
    return *out ? NLM_OK : nlm_json_member(where, object, "text", out, err);
}

static nlm_status add_messages(nlm_document_sink *sink, const char *where, const cJSON *object, const cJSON *messages,
                               nlm_error *err) {
    const cJSON *tools = NULL;
    NLM_TRY(nlm_json_member(where, object, "tools", &tools, err));
    if (sink->options->own_chat) return nlm_own_document_add(sink, where, messages, tools, err);
    if (!cJSON_IsArray(tools) || cJSON_GetArraySize(tools) == 0)
        return nlm_chat_document_add(sink, where, messages, err);
    return nlm_fail(err, NLM_UNSUPPORTED, where,
                    "the line has tools, of which only a model's own template has a form");
}

static nlm_status add_object(nlm_document_sink *sink, const char *where, const cJSON *object, nlm_error *err) {
    const char *field = sink->options->json_field;
    const char *name = field ? field : "text' or 'messages";
    const cJSON *found = NULL;
    if (!cJSON_IsObject(object)) return nlm_fail(err, NLM_BAD_FORMAT, where, "this is no JSON object; " EXPECTED);
    NLM_TRY(find_field(where, object, field, &found, err));
    if (!found) return nlm_fail(err, NLM_BAD_FORMAT, where, "the object has no '%s'; " EXPECTED, name);
    if (cJSON_IsString(found)) return add_text(sink, found->valuestring, err);
    if (cJSON_IsArray(found)) return add_messages(sink, where, object, found, err);
    return nlm_fail(err, NLM_BAD_FORMAT, where, "'%s' is neither a text nor a list of messages", found->string);
}

static nlm_status add_line(nlm_document_sink *sink, const char *where, const char *text, size_t length,
                           nlm_error *err) {
    while (length > 0 && strchr(" \t\r", text[length - 1]) && text[length - 1]) length--;
    if (length == 0) return NLM_OK;
    cJSON *object = NULL;
    nlm_error why = NLM_ERROR_INIT;
    nlm_status status = nlm_json_parse(where, text, length, &object, &why);
    if (status != NLM_OK) return nlm_fail(err, status, where, "%s; " EXPECTED, why.msg);
    status = add_object(sink, where, object, err);
    cJSON_Delete(object);
    return status;
}

/* The length of the line at hand, without its end; reads on until that is there. */
static nlm_status read_line(nlm_input *input, const char *where, size_t window, size_t *out_length, nlm_error *err) {
    for (size_t searched = 0;; window *= 2) {
        NLM_TRY(nlm_input_fill(input, window, err));
        const size_t left = input->length - searched;
        const char *end = left > 0 ? memchr(input->data + searched, '\n', left) : NULL;
        *out_length = end ? (size_t)(end - input->data) : input->length;
        if (*out_length > MAX_LINE) {
            return nlm_fail(err, NLM_LIMIT, where, "the line has more than %u bytes; " EXPECTED, MAX_LINE);
        }
        if (end || input->is_at_end) return NLM_OK;
        searched = input->length;
    }
}

nlm_status nlm_json_documents_add(nlm_document_sink *sink, nlm_input *input, nlm_error *err) {
    nlm_str where = {0};
    nlm_status status = NLM_OK;
    for (unsigned long long line = 1; status == NLM_OK; line++) {
        size_t length = 0;
        where.length = 0;
        nlm_str_printf(&where, "%s:%llu", input->path, line);
        if (where.has_failed) {
            status = nlm_fail(err, NLM_OUT_OF_MEMORY, input->path, "no memory for a line");
            break;
        }
        status = read_line(input, where.data, sink->window, &length, err);
        if (status == NLM_OK && input->length == 0 && input->is_at_end) break;
        if (status == NLM_OK) status = add_line(sink, where.data, input->data, length, err);
        if (status == NLM_OK) nlm_input_skip(input, length < input->length ? length + 1 : length);
    }
    nlm_str_release(&where);
    return status;
}
