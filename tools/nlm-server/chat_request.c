/* OpenAI's conversations, and what becomes of all of them. */
#include "nlm-server/chat_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/texts.h"

void chat_request_release(chat_request *r) {
    cJSON_Delete(r->messages);
    cJSON_Delete(r->tools);
    cJSON_Delete(r->arguments);
    *r = (chat_request){0};
}

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the conversation");
}

/* ---- messages ------------------------------------------------------------------------------------------- */

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

/* Of a message in r->messages, which the request has a copy of. */
static nlm_status check_message(cJSON *item, size_t index, nlm_error *err) {
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
    if (strcmp(known, role->valuestring) == 0) return NLM_OK;
    cJSON *ours = cJSON_CreateString(known);
    if (!ours) return no_memory(err);
    cJSON_ReplaceItemInObjectCaseSensitive(item, "role", ours);
    return NLM_OK;
}

static nlm_status read_messages(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(body, "messages");
    size_t index = 0;
    if (!cJSON_IsArray(array) || !array->child) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "'messages' has to be an array of at least one message");
    }
    out->messages = cJSON_Duplicate(array, 1);
    if (!out->messages) return no_memory(err);
    for (cJSON *item = out->messages->child; item; item = item->next) NLM_TRY(check_message(item, index++, err));
    return NLM_OK;
}

/* ---- tools ---------------------------------------------------------------------------------------------- */

cJSON *chat_request_tool(const char *name, const char *description, const cJSON *parameters) {
    cJSON *tool = cJSON_CreateObject();
    cJSON *function = tool ? cJSON_AddObjectToObject(tool, "function") : NULL;
    bool is_whole = function && cJSON_AddStringToObject(tool, "type", "function") &&
                    cJSON_AddStringToObject(function, "name", name);
    if (is_whole && description) is_whole = cJSON_AddStringToObject(function, "description", description) != NULL;
    cJSON *copy = is_whole && parameters ? cJSON_Duplicate(parameters, 1) : NULL;
    if (is_whole && parameters) is_whole = copy && cJSON_AddItemToObject(function, "parameters", copy);
    if (is_whole) return tool;
    cJSON_Delete(tool);
    return NULL;
}

static bool has_tool(const chat_request *r, const char *name) {
    for (const cJSON *tool = r->tools ? r->tools->child : NULL; tool; tool = tool->next) {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        if (strcmp(cJSON_GetObjectItemCaseSensitive(function, "name")->valuestring, name) == 0) return true;
    }
    return false;
}

static nlm_status check_tool(const cJSON *tool, size_t index, nlm_error *err) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(tool, "type");
    const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(function, "name");
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(function, "parameters");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "function") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "tools[%zu].type is not 'function'", index);
    }
    if (!cJSON_IsString(name) || !*name->valuestring) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "tools[%zu].function has no name", index);
    }
    if (parameters && !cJSON_IsObject(parameters) && !cJSON_IsNull(parameters)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tools", "tools[%zu].function.parameters is no object", index);
    }
    return NLM_OK;
}

static nlm_status wrong_choice(nlm_error *err) {
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "tool_choice",
                    "'tool_choice' is neither 'none', 'auto' or 'required' nor names one of the tools");
}

nlm_status chat_request_read_choice(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *choice = cJSON_GetObjectItemCaseSensitive(body, "tool_choice");
    if (!choice || cJSON_IsNull(choice)) return NLM_OK;
    if (cJSON_IsString(choice)) {
        static const char *const words[] = {"auto", "none", "required"};
        for (int i = 0; i < 3; i++) {
            if (strcmp(choice->valuestring, words[i]) != 0) continue;
            out->choice = (tool_choice)i;
            return i == TOOLS_REQUIRED && !out->tools ? wrong_choice(err) : NLM_OK;
        }
        return wrong_choice(err);
    }
    const cJSON *function = cJSON_GetObjectItemCaseSensitive(choice, "function");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(function ? function : choice, "name");
    if (!cJSON_IsString(name) || !has_tool(out, name->valuestring)) return wrong_choice(err);
    out->choice = TOOLS_ONE;
    for (const cJSON *tool = out->tools->child; tool; tool = tool->next) {
        const cJSON *own =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tool, "function"), "name");
        if (strcmp(own->valuestring, name->valuestring) == 0) out->tool = own->valuestring;
    }
    return NLM_OK;
}

nlm_status chat_request_read_parallel(const cJSON *body, chat_request *out, nlm_error *err) {
    bool is_parallel = true;
    NLM_TRY(json_get_bool(body, "parallel_tool_calls", &is_parallel, err));
    out->is_single = !is_parallel;
    return NLM_OK;
}

/* What tools were called before they were tools: not looked at, the model would be asked without them. */
static nlm_status check_old_names(const cJSON *body, nlm_error *err) {
    static const char *const names[][2] = {{"functions", "tools"}, {"function_call", "tool_choice"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, names[i][0]);
        if (!item || cJSON_IsNull(item)) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, names[i][0], "'%s' is not supported; '%s' is", names[i][0],
                        names[i][1]);
    }
    return NLM_OK;
}

static nlm_status read_tools(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *tools;
    size_t index = 0;
    NLM_TRY(check_old_names(body, err));
    NLM_TRY(json_get(body, "tools", cJSON_Array, "an array of tools", &tools, err));
    NLM_TRY(chat_request_read_parallel(body, out, err));
    if (tools && tools->child) {
        for (const cJSON *tool = tools->child; tool; tool = tool->next) NLM_TRY(check_tool(tool, index++, err));
        out->tools = cJSON_Duplicate(tools, 1);
        if (!out->tools) return no_memory(err);
    }
    return chat_request_read_choice(body, out, err);
}

/* Who opens the assistant's turn: the template, the last message, or nobody. */
static nlm_status read_turn(const cJSON *body, chat_request *out, nlm_error *err) {
    const bool is_given = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "add_generation_prompt"));
    bool is_opened = true;
    NLM_TRY(json_get_bool(body, "add_generation_prompt", &is_opened, err));
    NLM_TRY(json_get_bool(body, "continue_final_message", &out->continues, err));
    if (out->continues && is_given) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "add_generation_prompt",
                        "'add_generation_prompt' and 'continue_final_message' are both true: the answer begins anew "
                        "or with the last message");
    }
    out->has_no_turn = !is_opened && !out->continues;
    return NLM_OK;
}

nlm_status chat_request_openai(const cJSON *body, chat_request *out, nlm_error *err) {
    const cJSON *arguments;
    *out = (chat_request){0};
    NLM_TRY(read_messages(body, out, err));
    NLM_TRY(read_tools(body, out, err));
    NLM_TRY(json_get(body, "chat_template_kwargs", cJSON_Object, "an object", &arguments, err));
    if (arguments) {
        out->arguments = cJSON_Duplicate(arguments, 1);
        if (!out->arguments) return no_memory(err);
    }
    return read_turn(body, out, err);
}

/* ---- to the template -------------------------------------------------------------------------------------- */

typedef struct printed {
    char *messages, *tools, *arguments;
    nlm_conversation conversation;
} printed;

static void release_printed(printed *p) {
    cJSON_free(p->messages);
    cJSON_free(p->tools);
    cJSON_free(p->arguments);
}

static nlm_status print_all(const chat_request *r, printed *p, nlm_error *err) {
    const bool has_tools = r->tools && r->choice != TOOLS_NONE;
    *p = (printed){.messages = cJSON_PrintUnformatted(r->messages),
                   .tools = has_tools ? cJSON_PrintUnformatted(r->tools) : NULL,
                   .arguments = r->arguments ? cJSON_PrintUnformatted(r->arguments) : NULL};
    if (!p->messages || (has_tools && !p->tools) || (r->arguments && !p->arguments)) {
        release_printed(p);
        return no_memory(err);
    }
    p->conversation = (nlm_conversation){
        .struct_size = sizeof p->conversation,
        .flags = (r->continues ? NLM_CHAT_CONTINUE : 0u) | (r->has_no_turn ? NLM_CHAT_NO_PROMPT : 0u),
        .messages = p->messages,
        .tools = p->tools,
        .arguments = p->arguments};
    return NLM_OK;
}

/* A model without a template is no path that is missing; of a message it is said which one. */
static nlm_status told(nlm_status status, nlm_error *err) {
    if (status == NLM_OK) return NLM_OK;
    if (strncmp(err->where, "message ", 8) == 0) {
        char index[sizeof err->where];
        snprintf(index, sizeof index, "%s", err->where + 8);
        memcpy(err->where, "messages", sizeof "messages");
        return nlm_status_prefix(status, err, "messages[%s]", index);
    }
    if (status != NLM_NOT_FOUND) return status;
    err->code = NLM_UNSUPPORTED;
    return NLM_UNSUPPORTED;
}

nlm_status chat_request_encode(const nlm_model *model, const chat_request *r, int32_t **out_ids, size_t *out_count,
                               nlm_error *err) {
    printed p;
    NLM_TRY(print_all(r, &p, err));
    const nlm_status status = text_encode_conversation(model, &p.conversation, out_ids, out_count, err);
    release_printed(&p);
    return told(status, err);
}

nlm_status chat_request_render(const nlm_model *model, const chat_request *r, nlm_str *out, nlm_error *err) {
    printed p;
    size_t length = 0;
    NLM_TRY(print_all(r, &p, err));
    nlm_status status = nlm_render_conversation(model, &p.conversation, NULL, 0, &length, err);
    char *text = status == NLM_OK ? malloc(length + 1) : NULL;
    if (status == NLM_OK && !text) status = no_memory(err);
    if (status == NLM_OK) status = nlm_render_conversation(model, &p.conversation, text, length, &length, err);
    if (status == NLM_OK) nlm_str_append(out, text, length);
    free(text);
    release_printed(&p);
    return told(status, err);
}
