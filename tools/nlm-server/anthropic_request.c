/* Anthropic's conversations, as OpenAI would write them. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "nlm-server/chat_request.h"
#include "nlm-server/json_in.h"

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the conversation");
}

static cJSON *add_message(cJSON *messages, const char *role) {
    cJSON *message = cJSON_CreateObject();
    if (message && cJSON_AddStringToObject(message, "role", role) && cJSON_AddItemToArray(messages, message)) {
        return message;
    }
    cJSON_Delete(message);
    return NULL;
}

/* Text of a string or of blocks of text, a line each, appended. */
static nlm_status read_text(const cJSON *content, const char *where, nlm_str *out, nlm_error *err) {
    if (!content || cJSON_IsNull(content)) return NLM_OK;
    if (cJSON_IsString(content)) {
        nlm_str_puts(out, content->valuestring);
        return NLM_OK;
    }
    if (!cJSON_IsArray(content)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "%s is neither a string nor an array of blocks", where);
    }
    for (const cJSON *block = content->child; block; block = block->next) {
        const cJSON *type = cJSON_GetObjectItemCaseSensitive(block, "type");
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(block, "text");
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "text") != 0 || !cJSON_IsString(text)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, where,
                            "a block of %s is of type '%s'; this model reads text alone", where,
                            cJSON_IsString(type) ? type->valuestring : "");
        }
        if (out->length > 0) nlm_str_puts(out, "\n");
        nlm_str_puts(out, text->valuestring);
    }
    return NLM_OK;
}

static nlm_status add_text_message(cJSON *messages, const char *role, const nlm_str *text, nlm_error *err) {
    cJSON *message = text->has_failed ? NULL : add_message(messages, role);
    if (!message || !cJSON_AddStringToObject(message, "content", text->data ? text->data : "")) return no_memory(err);
    return NLM_OK;
}

/* {"type": "tool_use", "id", "name", "input"} */
static nlm_status add_call(cJSON *calls, const cJSON *block, nlm_error *err) {
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(block, "id");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(block, "name");
    const cJSON *input = cJSON_GetObjectItemCaseSensitive(block, "input");
    if (!cJSON_IsString(id) || !cJSON_IsString(name) || !cJSON_IsObject(input)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages", "a tool_use block has no id, name or input");
    }
    cJSON *call = cJSON_CreateObject(), *copy = cJSON_Duplicate(input, 1);
    if (!call || !cJSON_AddItemToArray(calls, call)) {
        cJSON_Delete(call);
        cJSON_Delete(copy);
        return no_memory(err);
    }
    cJSON *function = cJSON_AddObjectToObject(call, "function");
    const bool is_whole = function && copy && cJSON_AddStringToObject(call, "id", id->valuestring) &&
                          cJSON_AddStringToObject(call, "type", "function") &&
                          cJSON_AddStringToObject(function, "name", name->valuestring) &&
                          cJSON_AddItemToObject(function, "arguments", copy);
    if (is_whole) return NLM_OK;
    cJSON_Delete(copy);
    return no_memory(err);
}

/* {"type": "tool_result", "tool_use_id", "content"}: a message of its own. */
static nlm_status add_result(cJSON *messages, const cJSON *block, nlm_error *err) {
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(block, "tool_use_id");
    nlm_str text = {0};
    if (!cJSON_IsString(id)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages", "a tool_result block has no tool_use_id");
    }
    nlm_status status =
        read_text(cJSON_GetObjectItemCaseSensitive(block, "content"), "tool_result.content", &text, err);
    if (status == NLM_OK) status = add_text_message(messages, "tool", &text, err);
    nlm_str_release(&text);
    if (status != NLM_OK) return status;
    cJSON *message = cJSON_GetArrayItem(messages, cJSON_GetArraySize(messages) - 1);
    return cJSON_AddStringToObject(message, "tool_call_id", id->valuestring) ? NLM_OK : no_memory(err);
}

static nlm_status unknown_block(size_t index, const char *type, nlm_error *err) {
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                    "messages[%zu] has a block of type '%s'; this model reads text, tool_use and tool_result", index,
                    type);
}

/* What the blocks of a message hold, results aside. */
typedef struct block_parts {
    nlm_str text, thinking;
    cJSON *calls;
} block_parts;

static void append_line(nlm_str *out, const char *text) {
    if (out->length > 0) nlm_str_puts(out, "\n");
    nlm_str_puts(out, text);
}

/* Results come first: they answer the calls of the message before. */
static nlm_status read_blocks(const cJSON *content, const char *role, size_t index, cJSON *messages, block_parts *out,
                              nlm_error *err) {
    const bool is_assistant = strcmp(role, "assistant") == 0;
    for (const cJSON *block = content->child; block; block = block->next) {
        const cJSON *type = cJSON_GetObjectItemCaseSensitive(block, "type");
        const char *name = cJSON_IsString(type) ? type->valuestring : "";
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(block, "text");
        const cJSON *thinking = cJSON_GetObjectItemCaseSensitive(block, "thinking");
        if (strcmp(name, "text") == 0 && cJSON_IsString(text)) {
            append_line(&out->text, text->valuestring);
        } else if (strcmp(name, "tool_use") == 0 && is_assistant) {
            NLM_TRY(add_call(out->calls, block, err));
        } else if (strcmp(name, "tool_result") == 0 && !is_assistant) {
            NLM_TRY(add_result(messages, block, err));
        } else if (strcmp(name, "thinking") == 0 && is_assistant && cJSON_IsString(thinking)) {
            append_line(&out->thinking, thinking->valuestring);
        } else if (strcmp(name, "redacted_thinking") != 0) {
            return unknown_block(index, name, err);
        }
    }
    return NLM_OK;
}

/* The thinking goes to the template too, which knows what of it the model should see again. */
static nlm_status add_parts(cJSON *message, block_parts *parts, nlm_error *err) {
    if (parts->thinking.has_failed) return no_memory(err);
    if (parts->thinking.length > 0 && !cJSON_AddStringToObject(message, "reasoning_content", parts->thinking.data)) {
        return no_memory(err);
    }
    if (!parts->calls->child) return NLM_OK;
    if (!cJSON_AddItemToObject(message, "tool_calls", parts->calls)) return no_memory(err);
    parts->calls = NULL;
    return NLM_OK;
}

static nlm_status add_blocks(const cJSON *content, const char *role, size_t index, cJSON *messages, nlm_error *err) {
    block_parts parts = {.calls = cJSON_CreateArray()};
    const int n_before = cJSON_GetArraySize(messages);
    nlm_status status = parts.calls ? read_blocks(content, role, index, messages, &parts, err) : no_memory(err);
    const bool has_results = cJSON_GetArraySize(messages) > n_before;
    const bool has_own = status == NLM_OK &&
                         (parts.text.length > 0 || parts.thinking.length > 0 || parts.calls->child || !has_results);
    if (has_own) status = add_text_message(messages, role, &parts.text, err);
    if (has_own && status == NLM_OK) {
        status = add_parts(cJSON_GetArrayItem(messages, cJSON_GetArraySize(messages) - 1), &parts, err);
    }
    cJSON_Delete(parts.calls);
    nlm_str_release(&parts.text);
    nlm_str_release(&parts.thinking);
    return status;
}

static nlm_status read_message(const cJSON *item, size_t index, cJSON *messages, nlm_error *err) {
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(item, "role");
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(item, "content");
    const char *name = cJSON_IsString(role) ? role->valuestring : "";
    if (strcmp(name, "user") != 0 && strcmp(name, "assistant") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "messages[%zu].role is '%s'; expected user or assistant", index, name);
    }
    if (cJSON_IsArray(content)) return add_blocks(content, name, index, messages, err);
    if (!cJSON_IsString(content)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "messages[%zu].content is neither a string nor an array of blocks", index);
    }
    cJSON *message = add_message(messages, name);
    return message && cJSON_AddStringToObject(message, "content", content->valuestring) ? NLM_OK : no_memory(err);
}

static nlm_status read_messages(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(body, "messages");
    nlm_str system = {0};
    size_t index = 0;
    if (!cJSON_IsArray(array) || !array->child) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "'messages' has to be an array of at least one message");
    }
    nlm_status status = read_text(cJSON_GetObjectItemCaseSensitive(body, "system"), "system", &system, err);
    if (status == NLM_OK && system.length > 0) status = add_text_message(out->messages, "system", &system, err);
    nlm_str_release(&system);
    for (const cJSON *item = array->child; item && status == NLM_OK; item = item->next) {
        status = read_message(item, index++, out->messages, err);
    }
    return status;
}

static nlm_status read_tools(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *tools;
    size_t index = 0;
    NLM_TRY(json_get(body, "tools", cJSON_Array, "an array of tools", &tools, err));
    if (!tools || !tools->child) return NLM_OK;
    out->tools = cJSON_CreateArray();
    if (!out->tools) return no_memory(err);
    for (const cJSON *item = tools->child; item; item = item->next, index++) {
        const char *name = NULL, *description = NULL;
        const cJSON *schema;
        NLM_TRY(json_get_string(item, "name", &name, err));
        NLM_TRY(json_get_string(item, "description", &description, err));
        NLM_TRY(json_get(item, "input_schema", cJSON_Object, "an object", &schema, err));
        if (!name || !*name || !schema) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "tools[%zu] has no name or no input_schema", index);
        }
        cJSON *tool = chat_request_tool(name, description, schema);
        if (!tool || !cJSON_AddItemToArray(out->tools, tool)) {
            cJSON_Delete(tool);
            return no_memory(err);
        }
    }
    return NLM_OK;
}

static const char *find_tool(const chat_request *r, const char *name) {
    for (const cJSON *tool = r->tools ? r->tools->child : NULL; tool && name; tool = tool->next) {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(function, "name");
        if (strcmp(own->valuestring, name) == 0) return own->valuestring;
    }
    return NULL;
}

static nlm_status read_choice(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *choice;
    const char *type = NULL, *name = NULL;
    NLM_TRY(json_get(body, "tool_choice", cJSON_Object, "an object", &choice, err));
    if (!choice) return NLM_OK;
    NLM_TRY(json_get_string(choice, "type", &type, err));
    NLM_TRY(json_get_string(choice, "name", &name, err));
    NLM_TRY(json_get_bool(choice, "disable_parallel_tool_use", &out->is_single, err));
    if (!type) type = "";
    out->tool = find_tool(out, name);
    if (strcmp(type, "none") == 0) {
        out->choice = TOOLS_NONE;
    } else if (strcmp(type, "any") == 0 && out->tools) {
        out->choice = TOOLS_REQUIRED;
    } else if (strcmp(type, "tool") == 0 && out->tool) {
        out->choice = TOOLS_ONE;
    } else if (strcmp(type, "auto") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tool_choice",
                        "'tool_choice' is of none of the types auto, any, tool and none, or names none of the tools");
    }
    return NLM_OK;
}

nlm_status chat_request_anthropic(const cJSON *body, chat_request *out, nlm_error *err) {
    *out = (chat_request){.messages = cJSON_CreateArray()};
    if (!out->messages) return no_memory(err);
    NLM_TRY(read_messages(body, out, err));
    NLM_TRY(read_tools(body, out, err));
    NLM_TRY(read_choice(body, out, err));
    /* A last message of the assistant's is the beginning of the answer. */
    const cJSON *last = cJSON_GetArrayItem(out->messages, cJSON_GetArraySize(out->messages) - 1);
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(last, "role");
    out->continues =
        strcmp(role->valuestring, "assistant") == 0 && !cJSON_GetObjectItemCaseSensitive(last, "tool_calls");
    return NLM_OK;
}
