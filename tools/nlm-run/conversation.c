/* The messages of a chat, and their file. */
#include "nlm-run/conversation.h"

#include <cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/input.h"
#include "common/json.h"

static const char *const roles[] = {"system", "user", "assistant"};

static nlm_status fail_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat", "no memory for the conversation");
}

static char *copy_text(const char *content, size_t length) {
    char *copy = malloc(length + 1);
    if (!copy) return NULL;
    size_t to = 0;
    for (size_t i = 0; i < length; i++) {
        if (content[i]) copy[to++] = content[i];
    }
    copy[to] = '\0';
    return copy;
}

static bool reserve(conversation *talk) {
    if (talk->count < talk->capacity) return true;
    const size_t capacity = talk->capacity ? 2 * talk->capacity : 16;
    nlm_message *messages = realloc(talk->messages, capacity * sizeof *messages);
    if (!messages) return false;
    talk->messages = messages;
    talk->capacity = capacity;
    return true;
}

/* `role` is one of the table's. */
static nlm_status insert(conversation *talk, size_t at, const char *role, char *content, nlm_error *err) {
    if (!content || !reserve(talk)) {
        free(content);
        return fail_memory(err);
    }
    memmove(talk->messages + at + 1, talk->messages + at, (talk->count - at) * sizeof *talk->messages);
    talk->messages[at] = (nlm_message){role, content};
    talk->count++;
    return NLM_OK;
}

static void remove_at(conversation *talk, size_t at, size_t n) {
    for (size_t i = at; i < at + n; i++) free((char *)talk->messages[i].content);
    talk->count -= n;
    memmove(talk->messages + at, talk->messages + at + n, (talk->count - at) * sizeof *talk->messages);
}

nlm_status conversation_add(conversation *talk, const char *role, const char *content, size_t length,
                            nlm_error *err) {
    return insert(talk, talk->count, role, copy_text(content, length), err);
}

void conversation_cut(conversation *talk, size_t count) {
    if (count < talk->count) remove_at(talk, count, talk->count - count);
}

bool conversation_has_system(const conversation *talk) {
    return talk->count > 0 && strcmp(talk->messages[0].role, "system") == 0;
}

bool conversation_drop_oldest(conversation *talk) {
    const size_t first = conversation_has_system(talk) ? 1 : 0;
    if (talk->count - first < 3) return false;
    remove_at(talk, first, 2);
    return true;
}

nlm_status conversation_set_system(conversation *talk, const char *text, nlm_error *err) {
    const bool has_old = conversation_has_system(talk);
    if (text && *text) NLM_TRY(insert(talk, 0, "system", copy_text(text, strlen(text)), err));
    if (has_old) remove_at(talk, text && *text ? 1 : 0, 1);
    return NLM_OK;
}

void conversation_release(conversation *talk) {
    conversation_cut(talk, 0);
    free(talk->messages);
    *talk = (conversation){0};
}

/* ---- files -------------------------------------------------------------------------------- */

nlm_status conversation_save(const conversation *talk, const char *path, nlm_error *err) {
    nlm_json json = {0};
    nlm_json_begin_object(&json, NULL);
    nlm_json_begin_array(&json, "messages");
    for (size_t i = 0; i < talk->count; i++) {
        nlm_json_begin_object(&json, NULL);
        nlm_json_string(&json, "role", talk->messages[i].role);
        nlm_json_string(&json, "content", talk->messages[i].content);
        nlm_json_end(&json);
    }
    const nlm_status status = nlm_json_write(&json, path, err);
    nlm_json_release(&json);
    return status;
}

static const char *known_role(const cJSON *item) {
    for (size_t i = 0; cJSON_IsString(item) && i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(item->valuestring, roles[i]) == 0) return roles[i];
    }
    return NULL;
}

/* A system message comes first if at all; then the roles alternate, and the last one is an answer. */
static bool is_in_place(const conversation *talk, const char *role, bool is_last) {
    const bool has_question = talk->count > 0 && strcmp(talk->messages[talk->count - 1].role, "user") == 0;
    if (strcmp(role, "system") == 0) return talk->count == 0;
    if (strcmp(role, "user") == 0) return !has_question && !is_last;
    return has_question;
}

static nlm_status read_messages(conversation *talk, const cJSON *messages, const char *path, nlm_error *err) {
    if (!cJSON_IsArray(messages))
        return nlm_fail(err, NLM_BAD_FORMAT, path, "this is no conversation that was saved");
    for (const cJSON *item = messages->child; item; item = item->next) {
        const char *role = known_role(cJSON_GetObjectItemCaseSensitive(item, "role"));
        const cJSON *content = cJSON_GetObjectItemCaseSensitive(item, "content");
        if (!role || !cJSON_IsString(content)) {
            return nlm_fail(err, NLM_BAD_FORMAT, path, "message %zu has no known role, or no content",
                            talk->count + 1);
        }
        if (!is_in_place(talk, role, !item->next)) {
            return nlm_fail(err, NLM_BAD_FORMAT, path,
                            "message %zu, the %s's, is out of place: questions and answers must alternate",
                            talk->count + 1, role);
        }
        NLM_TRY(conversation_add(talk, role, content->valuestring, strlen(content->valuestring), err));
    }
    return NLM_OK;
}

nlm_status conversation_load(conversation *talk, const char *path, nlm_error *err) {
    nlm_str text = {0};
    conversation loaded = {0};
    cJSON *json = NULL;
    nlm_status status = nlm_read_input(path, &text, err);
    if (status == NLM_OK) {
        json = text.data ? cJSON_ParseWithLength(text.data, text.length) : NULL;
        status = read_messages(&loaded, cJSON_GetObjectItemCaseSensitive(json, "messages"), path, err);
    }
    if (status == NLM_OK) {
        conversation_release(talk);
        *talk = loaded;
    } else {
        conversation_release(&loaded);
    }
    cJSON_Delete(json);
    nlm_str_release(&text);
    return status;
}
