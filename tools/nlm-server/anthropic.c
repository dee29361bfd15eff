/* Messages as Anthropic's clients send and read them. */
#include "nlm-server/anthropic.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/call.h"
#include "nlm-server/json_in.h"
#include "nlm-server/messages.h"

/* ---- answers ------------------------------------------------------------------------------------------ */

static const char *stop_reason(const call_choice *choice) {
    switch (choice->ended_by) {
        case NLM_ENDED_BY_MODEL: return "end_turn";
        case NLM_ENDED_BY_STOP: return "stop_sequence";
        default: return "max_tokens";
    }
}

/* form_text holds the stop sequences, each with its end. */
static const char *stop_sequence(const call *c, const call_choice *choice) {
    const char *at = c->form_text.data;
    if (choice->ended_by != NLM_ENDED_BY_STOP || !at) return NULL;
    for (int32_t i = 0; i < choice->stop_index; i++) at += strlen(at) + 1;
    return at;
}

static void put_stop(const call *c, json_out *j) {
    const call_choice *choice = &c->choices[0];
    const char *sequence = stop_sequence(c, choice);
    json_string(j, "stop_reason", stop_reason(choice));
    if (sequence)
        json_string(j, "stop_sequence", sequence);
    else
        json_null(j, "stop_sequence");
}

static void put_usage(const call *c, json_out *j) {
    const uint64_t cached = call_cached(c);
    json_object(j, "usage");
    json_u64(j, "input_tokens", c->n_prompt - cached);
    json_u64(j, "cache_read_input_tokens", cached);
    json_u64(j, "cache_creation_input_tokens", 0);
    json_u64(j, "output_tokens", call_generated(c));
    json_end_object(j);
}

static void begin_message(const call *c, json_out *j, const char *key) {
    json_object(j, key);
    json_string(j, "id", c->id);
    json_string(j, "type", "message");
    json_string(j, "role", "assistant");
    json_string(j, "model", c->s->model_name);
}

static void whole(call *c, nlm_str *out) {
    const call_choice *choice = &c->choices[0];
    json_out j = json_begin(out);
    begin_message(c, &j, NULL);
    json_array(&j, "content");
    json_object(&j, NULL);
    json_string(&j, "type", "text");
    json_bytes(&j, "text", choice->text.data, choice->text.length);
    json_end_object(&j);
    json_end_array(&j);
    put_stop(c, &j);
    put_usage(c, &j);
    json_end_object(&j);
}

/* ---- the stream: named events --------------------------------------------------------------------------- */

static json_out begin_event(nlm_str *data, const char *type) {
    json_out j = json_begin(data);
    json_object(&j, NULL);
    json_string(&j, "type", type);
    return j;
}

static void send_event(call *c, json_out *j, const char *type) {
    json_end_object(j);
    call_send(c, type, j->text);
    nlm_str_release(j->text);
}

static void begin(call *c) {
    nlm_str data = {0};
    json_out j = begin_event(&data, "message_start");
    begin_message(c, &j, "message");
    json_array(&j, "content");
    json_end_array(&j);
    json_null(&j, "stop_reason");
    json_null(&j, "stop_sequence");
    put_usage(c, &j);
    json_end_object(&j);
    send_event(c, &j, "message_start");
    j = begin_event(&data, "content_block_start");
    json_u64(&j, "index", 0);
    json_object(&j, "content_block");
    json_string(&j, "type", "text");
    json_string(&j, "text", "");
    json_end_object(&j);
    send_event(c, &j, "content_block_start");
}

static void text(call *c, uint32_t index, const task_event *event) {
    (void)index;
    if (!c->stream || event->length == 0) return;
    nlm_str data = {0};
    json_out j = begin_event(&data, "content_block_delta");
    json_u64(&j, "index", 0);
    json_object(&j, "delta");
    json_string(&j, "type", "text_delta");
    json_bytes(&j, "text", event->text, event->length);
    json_end_object(&j);
    send_event(c, &j, "content_block_delta");
}

static void end_choice(call *c, uint32_t index) {
    (void)index;
    nlm_str data = {0};
    json_out j = begin_event(&data, "content_block_stop");
    json_u64(&j, "index", 0);
    send_event(c, &j, "content_block_stop");
}

static void end(call *c) {
    nlm_str data = {0};
    json_out j = begin_event(&data, "message_delta");
    json_object(&j, "delta");
    put_stop(c, &j);
    json_end_object(&j);
    put_usage(c, &j);
    send_event(c, &j, "message_delta");
    j = begin_event(&data, "message_stop");
    send_event(c, &j, "message_stop");
}

static const call_form form = {
    .id_prefix = "msg_", .begin = begin, .text = text, .end_choice = end_choice, .end = end, .whole = whole};

/* ---- requests -------------------------------------------------------------------------------------------- */

static nlm_status read_system(const cJSON *body, chat_messages *out, nlm_error *err) {
    nlm_str system = {0};
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, "system");
    nlm_status status = messages_read_content(item, "system", &system, err);
    if (status == NLM_OK && system.length > 0 && !messages_add(out, "system", system.data, system.length)) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "system", "no memory for the messages");
    }
    nlm_str_release(&system);
    return status;
}

static nlm_status check_messages(const cJSON *body, nlm_error *err) {
    const cJSON *messages = cJSON_GetObjectItemCaseSensitive(body, "messages");
    size_t index = 0;
    for (const cJSON *item = messages ? messages->child : NULL; item; item = item->next, index++) {
        const cJSON *role = cJSON_GetObjectItemCaseSensitive(item, "role");
        const char *name = cJSON_IsString(role) ? role->valuestring : "";
        if (strcmp(name, "user") == 0 || strcmp(name, "assistant") == 0) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "messages",
                        "messages[%zu].role is '%s'; expected user or assistant", index, name);
    }
    return NLM_OK;
}

/* A last message of the assistant's is the beginning of the answer. */
static nlm_status encode(const server *s, const cJSON *body, call_prompts *prompts, nlm_error *err) {
    chat_messages messages = {0};
    nlm_status status = check_messages(body, err);
    if (status == NLM_OK) status = read_system(body, &messages, err);
    if (status == NLM_OK) {
        status = messages_read(cJSON_GetObjectItemCaseSensitive(body, "messages"), &messages, err);
    }
    if (status == NLM_OK) {
        const bool continues = strcmp(messages.items[messages.count - 1].role, "assistant") == 0;
        status = messages_encode(s->model, &messages, continues, &prompts->ids[0], &prompts->n_ids[0], err);
        if (status == NLM_NOT_FOUND) err->code = status = NLM_UNSUPPORTED;
    }
    messages_release(&messages);
    prompts->count = status == NLM_OK;
    return status;
}

static nlm_status start(server *s, http_exchange *x, const cJSON *body, call_params *params, nlm_error *err) {
    call_prompts prompts = {0};
    const cJSON *max_tokens;
    NLM_TRY(json_get(body, "max_tokens", cJSON_Number, "an integer", &max_tokens, err));
    if (!max_tokens) return nlm_fail(err, NLM_INVALID_ARGUMENT, "max_tokens", "max_tokens: field required");
    NLM_TRY(call_read_params(s, x, body, "stop_sequences", params, err));
    params->request.n = 1;
    NLM_TRY(encode(s, body, &prompts, err));
    call *c = call_create(s, x, &form, params);
    nlm_status status = c ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    for (size_t i = 0; c && i < params->request.n_stops; i++) {
        nlm_str_append(&c->form_text, params->stops[i], strlen(params->stops[i]) + 1);
    }
    if (status == NLM_OK) status = call_start(c, params, &prompts, err);
    if (c && status != NLM_OK) call_destroy(c);
    call_prompts_release(&prompts);
    return status;
}

void anthropic_messages(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    size_t length;
    const char *text = http_body(x, &length);
    cJSON *body = NULL;
    call_params params = {0};
    nlm_status status = json_parse(text, length, &body, &err);
    if (status == NLM_OK) status = start(s, x, body, &params, &err);
    call_params_release(&params);
    cJSON_Delete(body);
    if (status != NLM_OK) api_fail_with(s, x, &err);
}

void anthropic_count_tokens(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    size_t length;
    const char *text = http_body(x, &length);
    cJSON *body = NULL;
    call_prompts prompts = {0};
    nlm_str out = {0};
    nlm_status status = json_parse(text, length, &body, &err);
    if (status == NLM_OK) status = encode(s, body, &prompts, &err);
    cJSON_Delete(body);
    if (status == NLM_OK) {
        json_out j = json_begin(&out);
        json_object(&j, NULL);
        json_u64(&j, "input_tokens", prompts.n_ids[0]);
        json_end_object(&j);
        api_reply_json(s, x, 200, &out);
    } else {
        api_fail_with(s, x, &err);
    }
    call_prompts_release(&prompts);
    nlm_str_release(&out);
}
