/* Conversations of JSON: what is checked of them, and their contents made one string each. */
#include "text/chat_json.h"

#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/json.h"

static const char content_key[] = "content", calls_key[] = "tool_calls", arguments_key[] = "arguments";

static nlm_status fail_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat", "no memory for the conversation");
}

static const cJSON *member(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(member(object, key));
}

/* ---- checks ------------------------------------------------------------------------------- */

static nlm_status check_part(const cJSON *part, const char *where, nlm_error *err) {
    const char *type = text_of(part, "type");
    if (!type) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "a part of its content has no type");
    if (strcmp(type, "text") != 0) {
        return nlm_fail(err, NLM_UNSUPPORTED, where,
                        "a part of its content has the type '%s'; the model takes text alone", type);
    }
    if (text_of(part, "text")) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "a part of its content has no text");
}

static nlm_status check_content(const cJSON *message, const char *where, nlm_error *err) {
    const cJSON *content, *part;
    NLM_TRY(nlm_json_member(where, message, content_key, &content, err));
    if (!content || cJSON_IsNull(content) || cJSON_IsString(content)) return NLM_OK;
    if (!cJSON_IsArray(content)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "its content is no string and no array of parts");
    }
    cJSON_ArrayForEach(part, content) NLM_TRY(check_part(part, where, err));
    return NLM_OK;
}

static nlm_status check_calls(const cJSON *message, const char *where, nlm_error *err) {
    const cJSON *calls, *call;
    NLM_TRY(nlm_json_member(where, message, calls_key, &calls, err));
    if (!calls || cJSON_IsNull(calls)) return NLM_OK;
    if (!cJSON_IsArray(calls)) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "its tool_calls are no array");
    cJSON_ArrayForEach(call, calls) {
        const cJSON *function = member(call, "function");
        const cJSON *arguments = member(function ? function : call, arguments_key);
        if (!text_of(function ? function : call, "name")) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "one of its tool_calls names no function");
        }
        if (arguments && !cJSON_IsString(arguments) && !cJSON_IsObject(arguments)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where,
                            "the arguments of one of its tool_calls are no string and no object");
        }
    }
    return NLM_OK;
}

static nlm_status check_message(const cJSON *message, size_t index, nlm_error *err) {
    char where[64];
    const cJSON *role;
    snprintf(where, sizeof where, "message %zu", index);
    if (!cJSON_IsObject(message)) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "it is no object");
    NLM_TRY(nlm_json_member(where, message, "role", &role, err));
    if (!cJSON_IsString(role)) return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "it has no role");
    NLM_TRY(check_content(message, where, err));
    return check_calls(message, where, err);
}

/* Variables of the caller's, beside those that a template has anyway. */
static nlm_status check_arguments(const cJSON *arguments, nlm_error *err) {
    static const char *const taken[] = {"messages",  "tools",    "add_generation_prompt", "bos_token", "eos_token",
                                        "unk_token", "pad_token"};
    if (!arguments) return NLM_OK;
    if (!cJSON_IsObject(arguments)) return nlm_fail(err, NLM_INVALID_ARGUMENT, "arguments", "they are no object");
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (!member(arguments, taken[i])) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "arguments", "'%s' is not theirs to set", taken[i]);
    }
    return NLM_OK;
}

static nlm_status check(const nlm_chat_json *chat, nlm_error *err) {
    const cJSON *item;
    size_t index = 0;
    if (!cJSON_IsArray(chat->messages)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages", "they are no array");
    }
    cJSON_ArrayForEach(item, chat->messages) NLM_TRY(check_message(item, index++, err));
    if (chat->tools && !cJSON_IsArray(chat->tools)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "they are no array");
    }
    cJSON_ArrayForEach(item, chat->tools) {
        if (!cJSON_IsObject(item)) return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "one of them is no object");
    }
    return check_arguments(chat->arguments, err);
}

static nlm_status parse(const char *name, const char *text, cJSON **out, nlm_error *err) {
    *out = NULL;
    if (!text) return NLM_OK;
    NLM_TRY(nlm_json_parse(name, text, strlen(text), out, err));
    return nlm_json_keep_digits(*out, text, strlen(text)) ? NLM_OK : fail_memory(err);
}

nlm_status nlm_chat_json_read(const char *messages, const char *tools, const char *arguments, nlm_chat_json *out,
                              nlm_error *err) {
    *out = (nlm_chat_json){0};
    nlm_status status = parse("messages", messages, &out->messages, err);
    if (status == NLM_OK) status = parse("tools", tools, &out->tools, err);
    if (status == NLM_OK) status = parse("arguments", arguments, &out->arguments, err);
    if (status == NLM_OK) status = check(out, err);
    if (status != NLM_OK) nlm_chat_json_release(out);
    return status;
}

void nlm_chat_json_release(nlm_chat_json *chat) {
    cJSON_Delete(chat->messages);
    cJSON_Delete(chat->tools);
    cJSON_Delete(chat->arguments);
    *chat = (nlm_chat_json){0};
}

/* ---- shape -------------------------------------------------------------------------------- */

/* Puts `made` where the object has `key`, or behind the rest; takes it. */
static nlm_status put(cJSON *object, const char *key, cJSON *made, nlm_error *err) {
    if (made) {
        const bool is_there = cJSON_GetObjectItemCaseSensitive(object, key) != NULL;
        if (is_there ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, made)
                     : cJSON_AddItemToObject(object, key, made)) {
            return NLM_OK;
        }
        cJSON_Delete(made);
    }
    return fail_memory(err);
}

/* The texts of the parts, on lines of their own. */
static cJSON *join_parts(const cJSON *parts) {
    nlm_str text = {0};
    const cJSON *part;
    cJSON_ArrayForEach(part, parts) {
        if (part != parts->child) nlm_str_puts(&text, "\n");
        nlm_str_puts(&text, text_of(part, "text"));
    }
    cJSON *made = text.has_failed ? NULL : cJSON_CreateString(text.data ? text.data : "");
    nlm_str_release(&text);
    return made;
}

static nlm_status shape_content(cJSON *message, nlm_chat_form form, nlm_error *err) {
    const cJSON *content = member(message, content_key);
    if (cJSON_IsString(content)) return NLM_OK;
    if (cJSON_IsArray(content)) return put(message, content_key, join_parts(content), err);
    return put(message, content_key, form.has_empty_content ? cJSON_CreateString("") : cJSON_CreateNull(), err);
}

/* What is no object of JSON, as a model may have written it, stays text. */
static nlm_status shape_arguments(cJSON *function, nlm_chat_form form, nlm_error *err) {
    const cJSON *arguments = member(function, arguments_key);
    if (cJSON_IsObject(arguments) && form.has_text_arguments) {
        char *text = cJSON_PrintUnformatted(arguments);
        cJSON *made = text ? cJSON_CreateString(text) : NULL;
        cJSON_free(text);
        return put(function, arguments_key, made, err);
    }
    if (!cJSON_IsString(arguments) || form.has_text_arguments) return NLM_OK;
    cJSON *parsed = NULL;
    const char *text = arguments->valuestring;
    if (text[strspn(text, " \t\r\n")] == '\0') {
        parsed = cJSON_CreateObject(); /* so some programs spell none */
    } else if (parse(arguments_key, text, &parsed, NULL) == NLM_OUT_OF_MEMORY) {
        cJSON_Delete(parsed);
        return fail_memory(err);
    }
    if (cJSON_IsObject(parsed)) return put(function, arguments_key, parsed, err);
    cJSON_Delete(parsed);
    return NLM_OK;
}

bool nlm_chat_json_has_choices(const nlm_chat_json *chat) {
    const cJSON *message;
    cJSON_ArrayForEach(message, chat->messages) {
        const cJSON *content = member(message, content_key);
        if (!content || cJSON_IsNull(content) || member(message, calls_key)) return true;
    }
    return false;
}

nlm_status nlm_chat_json_shape(nlm_chat_json *chat, nlm_chat_form form, nlm_error *err) {
    cJSON *message, *call;
    cJSON_ArrayForEach(message, chat->messages) {
        NLM_TRY(shape_content(message, form, err));
        cJSON_ArrayForEach(call, cJSON_GetObjectItemCaseSensitive(message, calls_key)) {
            cJSON *function = cJSON_GetObjectItemCaseSensitive(call, "function");
            NLM_TRY(shape_arguments(function ? function : call, form, err));
        }
    }
    return NLM_OK;
}

/* ---- as plain messages -------------------------------------------------------------------- */

const char *nlm_chat_json_last_role(const nlm_chat_json *chat) {
    const int count = cJSON_GetArraySize(chat->messages);
    const char *role = count > 0 ? text_of(cJSON_GetArrayItem(chat->messages, count - 1), "role") : NULL;
    return role ? role : "";
}

static nlm_status check_is_plain(const nlm_chat_json *chat, const char *template_name, nlm_error *err) {
    const char *what = NULL;
    const cJSON *message;
    cJSON_ArrayForEach(message, chat->messages) {
        if (cJSON_GetArraySize(member(message, calls_key)) > 0) what = "calls of tools";
    }
    if (cJSON_GetArraySize(chat->arguments) > 0) what = "variables of its own";
    if (cJSON_GetArraySize(chat->tools) > 0) what = "tools";
    if (!what) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, "chat template",
                    "the %s template that nlm knows has no form of %s; a model's own template may have one",
                    template_name, what);
}

nlm_status nlm_chat_json_plain(const nlm_chat_json *chat, const char *template_name, nlm_chat_message **out_messages,
                               size_t *out_count, nlm_error *err) {
    const size_t count = (size_t)cJSON_GetArraySize(chat->messages);
    NLM_TRY(check_is_plain(chat, template_name, err));
    nlm_chat_message *made = calloc(count + 1, sizeof *made);
    if (!made) return fail_memory(err);
    size_t i = 0;
    const cJSON *message;
    cJSON_ArrayForEach(message, chat->messages) {
        const char *content = text_of(message, content_key);
        made[i++] = (nlm_chat_message){text_of(message, "role"), content ? content : ""};
    }
    *out_messages = made;
    *out_count = count;
    return NLM_OK;
}
