/* Messages as Anthropic's clients send and read them. */
#include "nlm-server/anthropic.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/call.h"
#include "nlm-server/chat_call.h"
#include "nlm-server/chat_request.h"
#include "nlm-server/json_in.h"

/* ---- answers ------------------------------------------------------------------------------------------ */

static const char *stop_reason(const call_choice *choice) {
    if (choice->calls.count > 0) return "tool_use";
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

static void put_call(json_out *j, const tool_call *called, const char *input) {
    json_string(j, "type", "tool_use");
    json_string(j, "id", called->id);
    json_string(j, "name", called->name);
    json_raw(j, "input", input);
}

static void whole(call *c, nlm_str *out) {
    const call_choice *choice = &c->choices[0];
    json_out j = json_begin(out);
    begin_message(c, &j, NULL);
    const nlm_str *content = call_content(c, choice);
    json_array(&j, "content");
    if (content->length > 0 || choice->calls.count == 0) {
        json_object(&j, NULL);
        json_string(&j, "type", "text");
        json_bytes(&j, "text", content->data, content->length);
        json_end_object(&j);
    }
    for (size_t i = 0; i < choice->calls.count; i++) {
        json_object(&j, NULL);
        put_call(&j, &choice->calls.items[i], choice->calls.items[i].arguments);
        json_end_object(&j);
    }
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
}

static void send_block_end(call *c, uint64_t block) {
    nlm_str data = {0};
    json_out j = begin_event(&data, "content_block_stop");
    json_u64(&j, "index", block);
    send_event(c, &j, "content_block_stop");
}

static void send_delta(call *c, uint64_t block, const char *type, const char *key, const char *text, size_t length) {
    nlm_str data = {0};
    json_out j = begin_event(&data, "content_block_delta");
    json_u64(&j, "index", block);
    json_object(&j, "delta");
    json_string(&j, "type", type);
    json_bytes(&j, key, text, length);
    json_end_object(&j);
    send_event(c, &j, "content_block_delta");
}

/* form_state: whether the block of text, which is the first, has begun. */
static void begin_text(call *c) {
    nlm_str data = {0};
    if (c->form_state) return;
    c->form_state = 1;
    json_out j = begin_event(&data, "content_block_start");
    json_u64(&j, "index", 0);
    json_object(&j, "content_block");
    json_string(&j, "type", "text");
    json_string(&j, "text", "");
    json_end_object(&j);
    send_event(c, &j, "content_block_start");
}

static void text(call *c, uint32_t index, const char *content, size_t length, const task_event *event) {
    (void)index;
    (void)event;
    if (!c->stream || length == 0) return;
    begin_text(c);
    send_delta(c, 0, "text_delta", "text", content, length);
}

static void send_call(call *c, const tool_call *called, uint64_t block) {
    nlm_str data = {0};
    json_out j = begin_event(&data, "content_block_start");
    json_u64(&j, "index", block);
    json_object(&j, "content_block");
    put_call(&j, called, "{}");
    json_end_object(&j);
    send_event(c, &j, "content_block_start");
    send_delta(c, block, "input_json_delta", "partial_json", called->arguments, strlen(called->arguments));
    send_block_end(c, block);
}

static void end_choice(call *c, uint32_t index) {
    const tool_calls *calls = &c->choices[index].calls;
    if (calls->count == 0) begin_text(c); /* an answer has a block, if an empty one */
    if (c->form_state) send_block_end(c, 0);
    for (size_t i = 0; i < calls->count; i++) send_call(c, &calls->items[i], i + c->form_state);
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

static nlm_status read_messages(request *r, nlm_error *err) {
    const cJSON *max_tokens;
    NLM_TRY(json_get(r->body, "max_tokens", cJSON_Number, "an integer", &max_tokens, err));
    if (!max_tokens) return nlm_fail(err, NLM_INVALID_ARGUMENT, "max_tokens", "max_tokens: field required");
    NLM_TRY(call_read_params(r->s, r->client, r->body, "stop_sequences", &r->params, err));
    r->params.request.n = 1;
    return chat_request_anthropic(r->body, &r->chat, err);
}

static void note_stops(call *c, const call_params *params) {
    for (size_t i = 0; i < params->request.n_stops; i++) {
        nlm_str_append(&c->form_text, params->stops[i], strlen(params->stops[i]) + 1);
    }
}

void anthropic_messages(server *s, http_exchange *x) {
    static const chat_form messages = {.call = &form, .read = read_messages, .note = note_stops};
    chat_call(s, x, &messages);
}

static nlm_status count_tokens(request *r, nlm_error *err) {
    call_prompts *prompts = &r->prompts;
    NLM_TRY(chat_request_anthropic(r->body, &r->chat, err));
    NLM_TRY(chat_request_encode(r->s->model, &r->chat, &prompts->ids[0], &prompts->n_ids[0], err));
    prompts->count = 1;
    json_out j = json_begin(&r->out);
    json_object(&j, NULL);
    json_u64(&j, "input_tokens", prompts->n_ids[0]);
    json_end_object(&j);
    return NLM_OK;
}

void anthropic_count_tokens(server *s, http_exchange *x) {
    static const request_form counting = {.read = count_tokens};
    request_begin(s, x, &counting, NULL);
}
