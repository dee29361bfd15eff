/* Messages and texts from JSON to tokens. */
#include "nlm-server/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

static bool grow(void **items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    const size_t more = *capacity ? 2 * *capacity : 16;
    void *grown = realloc(*items, more * size);
    if (!grown) return false;
    *items = grown;
    *capacity = more;
    return true;
}

bool messages_add(chat_messages *m, const char *role, const char *content, size_t length) {
    if (!grow((void **)&m->items, m->count, &m->capacity, sizeof *m->items)) return false;
    if (!grow((void **)&m->texts, m->n_texts, &m->text_capacity, sizeof *m->texts)) return false;
    char *copy = malloc(length + 1);
    if (!copy) return false;
    if (length) memcpy(copy, content, length);
    copy[length] = '\0';
    m->texts[m->n_texts++] = copy;
    m->items[m->count++] = (nlm_message){.role = role, .content = copy};
    return true;
}

void messages_release(chat_messages *m) {
    for (size_t i = 0; i < m->n_texts; i++) free(m->texts[i]);
    free(m->texts);
    free(m->items);
    *m = (chat_messages){0};
}

static bool is_text_part(const char *type) {
    return strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0;
}

nlm_status messages_read_content(const cJSON *content, const char *where, nlm_str *out, nlm_error *err) {
    if (!content || cJSON_IsNull(content)) return NLM_OK;
    if (cJSON_IsString(content)) {
        nlm_str_puts(out, content->valuestring);
        return NLM_OK;
    }
    if (!cJSON_IsArray(content)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "%s is neither a string nor an array of parts", where);
    }
    for (const cJSON *part = content->child; part; part = part->next) {
        const cJSON *type = cJSON_GetObjectItemCaseSensitive(part, "type");
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(part, "text");
        if (!cJSON_IsString(type)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "a part of %s has no type", where);
        }
        if (!is_text_part(type->valuestring)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where,
                            "a part of %s is of type '%s'; this model reads text alone", where, type->valuestring);
        }
        if (!cJSON_IsString(text))
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "a part of %s has no text", where);
        if (part != content->child) nlm_str_puts(out, "\n");
        nlm_str_puts(out, text->valuestring);
    }
    return NLM_OK;
}

static const char *known_role(const char *role) {
    static const struct {
        const char *given, *ours;
    } roles[] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                 {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].given, role) == 0) return roles[i].ours;
    }
    return NULL;
}

static nlm_status read_message(const cJSON *item, size_t index, chat_messages *out, nlm_error *err) {
    char where[64];
    snprintf(where, sizeof where, "messages[%zu].content", index);
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(item, "role");
    if (!cJSON_IsString(role)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages", "messages[%zu] has no role", index);
    }
    const char *known = known_role(role->valuestring);
    if (!known) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "messages[%zu].role is '%s'; expected system, developer, user, assistant or tool", index,
                        role->valuestring);
    }
    nlm_str text = {0};
    nlm_status status = messages_read_content(cJSON_GetObjectItemCaseSensitive(item, "content"), where, &text, err);
    if (status == NLM_OK && (text.has_failed || !messages_add(out, known, text.data ? text.data : "", text.length))) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "messages", "no memory for the messages");
    }
    nlm_str_release(&text);
    return status;
}

nlm_status messages_read(const cJSON *array, chat_messages *out, nlm_error *err) {
    size_t index = 0;
    if (!cJSON_IsArray(array) || !array->child) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "'messages' has to be an array of at least one message");
    }
    for (const cJSON *item = array->child; item; item = item->next) NLM_TRY(read_message(item, index++, out, err));
    return NLM_OK;
}

/* ---- to tokens ---------------------------------------------------------------------------------- */

static nlm_status make_room(int32_t **ids, size_t count, nlm_error *err) {
    *ids = malloc((count + 1) * sizeof **ids);
    return *ids ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for %zu tokens", count);
}

static nlm_status keep_or_free(nlm_status status, int32_t **ids) {
    if (status == NLM_OK) return NLM_OK;
    free(*ids);
    *ids = NULL;
    return status;
}

nlm_status messages_encode(const nlm_model *model, const chat_messages *messages, bool continues, int32_t **out_ids,
                           size_t *out_count, nlm_error *err) {
    nlm_status (*const encode)(const nlm_model *, const nlm_message *, size_t, size_t, int32_t *, size_t, size_t *,
                               nlm_error *) = continues ? nlm_encode_chat_continue : nlm_encode_chat;
    *out_ids = NULL;
    NLM_TRY(encode(model, messages->items, messages->count, 0, NULL, 0, out_count, err));
    NLM_TRY(make_room(out_ids, *out_count, err));
    return keep_or_free(encode(model, messages->items, messages->count, 0, *out_ids, *out_count, out_count, err),
                        out_ids);
}

nlm_status text_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags, int32_t **out_ids,
                       size_t *out_count, nlm_error *err) {
    *out_ids = NULL;
    NLM_TRY(nlm_encode(model, text, length, flags, NULL, 0, out_count, err));
    NLM_TRY(make_room(out_ids, *out_count, err));
    return keep_or_free(nlm_encode(model, text, length, flags, *out_ids, *out_count, out_count, err), out_ids);
}

nlm_status text_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags, nlm_str *out,
                       nlm_error *err) {
    size_t length = 0;
    NLM_TRY(nlm_decode(model, ids, count, flags, NULL, 0, &length, err));
    char *text = malloc(length + 1);
    if (!text) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the text");
    const nlm_status status = nlm_decode(model, ids, count, flags, text, length, &length, err);
    if (status == NLM_OK) nlm_str_append(out, text, length);
    free(text);
    return status;
}
