/* The input of Responses, as a conversation. */
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "nlm-server/json_in.h"
#include "nlm-server/responses.h"

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the conversation");
}

static cJSON *add_message(chat_request *out, const char *role, const char *content) {
    cJSON *message = cJSON_CreateObject();
    if (message && cJSON_AddStringToObject(message, "role", role) &&
        cJSON_AddStringToObject(message, "content", content) && cJSON_AddItemToArray(out->messages, message)) {
        return message;
    }
    cJSON_Delete(message);
    return NULL;
}

static const char *text_of(const cJSON *item, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static nlm_status wrong_item(size_t index, const char *what, nlm_error *err) {
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "input[%zu] %s", index, what);
}

/* A string, or parts of text. */
static nlm_status read_content(const cJSON *content, size_t index, nlm_str *out, nlm_error *err) {
    if (cJSON_IsString(content)) {
        nlm_str_puts(out, content->valuestring);
        return NLM_OK;
    }
    if (!cJSON_IsArray(content)) return wrong_item(index, "has a content that is no string and no array", err);
    for (const cJSON *part = content->child; part; part = part->next) {
        const char *type = text_of(part, "type");
        const bool is_text =
            strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0 || strcmp(type, "text") == 0;
        if (!is_text) return wrong_item(index, "has a part that is no text; this model reads text alone", err);
        if (part != content->child) nlm_str_puts(out, "\n");
        nlm_str_puts(out, text_of(part, "text"));
    }
    return NLM_OK;
}

static nlm_status read_message(const cJSON *item, size_t index, chat_request *out, nlm_error *err) {
    const char *role = text_of(item, "role");
    nlm_str text = {0};
    if (strcmp(role, "developer") == 0) role = "system";
    if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0) {
        return wrong_item(index, "has none of the roles user, assistant, system and developer", err);
    }
    nlm_status status = read_content(cJSON_GetObjectItemCaseSensitive(item, "content"), index, &text, err);
    if (status == NLM_OK && (text.has_failed || !add_message(out, role, text.data ? text.data : ""))) {
        status = no_memory(err);
    }
    nlm_str_release(&text);
    return status;
}

/* {"type": "function_call", "call_id", "name", "arguments"} */
static nlm_status read_call(const cJSON *item, chat_request *out, nlm_error *err) {
    cJSON *message = add_message(out, "assistant", "");
    cJSON *calls = message ? cJSON_AddArrayToObject(message, "tool_calls") : NULL;
    cJSON *call = cJSON_CreateObject();
    if (!calls || !call || !cJSON_AddItemToArray(calls, call)) {
        cJSON_Delete(call);
        return no_memory(err);
    }
    cJSON *function = cJSON_AddObjectToObject(call, "function");
    const bool is_whole = function && cJSON_AddStringToObject(call, "id", text_of(item, "call_id")) &&
                          cJSON_AddStringToObject(call, "type", "function") &&
                          cJSON_AddStringToObject(function, "name", text_of(item, "name")) &&
                          cJSON_AddStringToObject(function, "arguments", text_of(item, "arguments"));
    return is_whole ? NLM_OK : no_memory(err);
}

static nlm_status read_item(const cJSON *item, size_t index, chat_request *out, nlm_error *err) {
    const char *type = text_of(item, "type");
    if (!*type || strcmp(type, "message") == 0) return read_message(item, index, out, err);
    if (strcmp(type, "reasoning") == 0) return NLM_OK;
    if (strcmp(type, "function_call") == 0) return read_call(item, out, err);
    if (strcmp(type, "function_call_output") == 0) {
        cJSON *message = add_message(out, "tool", text_of(item, "output"));
        const bool is_whole = message && cJSON_AddStringToObject(message, "tool_call_id", text_of(item, "call_id"));
        return is_whole ? NLM_OK : no_memory(err);
    }
    return wrong_item(index, "is neither a message, a function_call nor a function_call_output", err);
}

static nlm_status read_input(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *input = cJSON_GetObjectItemCaseSensitive(body, "input");
    const char *instructions = NULL;
    size_t index = 0;
    NLM_TRY(json_get_string(body, "instructions", &instructions, err));
    if (instructions && !add_message(out, "system", instructions)) return no_memory(err);
    if (cJSON_IsString(input)) return add_message(out, "user", input->valuestring) ? NLM_OK : no_memory(err);
    if (!cJSON_IsArray(input) || !input->child) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "'input' has to be a string or an array of items");
    }
    for (const cJSON *item = input->child; item; item = item->next) NLM_TRY(read_item(item, index++, out, err));
    if (out->messages->child) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "'input' has no message");
}

/* {"type": "function", "name", "description", "parameters"} */
static nlm_status read_tools(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *tools;
    size_t index = 0;
    NLM_TRY(json_get(body, "tools", cJSON_Array, "an array of tools", &tools, err));
    if (!tools || !tools->child) return NLM_OK;
    out->tools = cJSON_CreateArray();
    if (!out->tools) return no_memory(err);
    for (const cJSON *item = tools->child; item; item = item->next, index++) {
        const char *name = NULL, *description = NULL;
        const cJSON *parameters;
        NLM_TRY(json_get_string(item, "name", &name, err));
        NLM_TRY(json_get_string(item, "description", &description, err));
        NLM_TRY(json_get(item, "parameters", cJSON_Object, "an object", &parameters, err));
        if (strcmp(text_of(item, "type"), "function") != 0 || !name || !*name) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "tools[%zu] is no function with a name", index);
        }
        cJSON *tool = chat_request_tool(name, description, parameters);
        if (!tool || !cJSON_AddItemToArray(out->tools, tool)) {
            cJSON_Delete(tool);
            return no_memory(err);
        }
    }
    return NLM_OK;
}

static nlm_status check_unsupported(const cJSON *body, nlm_error *err) {
    const char *previous = NULL;
    bool background = false;
    NLM_TRY(json_get_string(body, "previous_response_id", &previous, err));
    if (previous) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "previous_response_id",
                        "nothing is stored here: give the whole conversation as 'input'");
    }
    NLM_TRY(json_get_bool(body, "background", &background, err));
    if (!background) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "background", "'background' is not supported");
}

nlm_status chat_request_responses(const cJSON *body, chat_request *out, nlm_error *err) {
    *out = (chat_request){.messages = cJSON_CreateArray()};
    if (!out->messages) return no_memory(err);
    NLM_TRY(check_unsupported(body, err));
    NLM_TRY(read_input(body, out, err));
    NLM_TRY(read_tools(body, out, err));
    NLM_TRY(chat_request_read_parallel(body, out, err));
    return chat_request_read_choice(body, out, err);
}
