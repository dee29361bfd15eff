/* Responses: whole, and as their many events. */
#include "nlm-server/responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/call.h"
#include "nlm-server/chat_call.h"
#include "nlm-server/json_in.h"

/* form_state: the number of the next event. The id of the message is the call's, behind "msg_". */

static bool is_complete(const call *c) {
    const call_choice *choice = &c->choices[0];
    return choice->has_ended && strcmp(call_finish_reason(choice), "length") != 0;
}

static void put_part(json_out *j, const char *key, const nlm_str *content) {
    json_object(j, key);
    json_string(j, "type", "output_text");
    json_bytes(j, "text", content ? content->data : "", content ? content->length : 0);
    json_array(j, "annotations");
    json_end_array(j);
    json_end_object(j);
}

/* content NULL: it has not begun. */
static void put_message(const call *c, json_out *j, const char *key, const nlm_str *content) {
    char id[80];
    snprintf(id, sizeof id, "msg_%s", c->id);
    json_object(j, key);
    json_string(j, "type", "message");
    json_string(j, "id", id);
    json_string(j, "status", !content ? "in_progress" : is_complete(c) ? "completed" : "incomplete");
    json_string(j, "role", "assistant");
    json_array(j, "content");
    if (content) put_part(j, NULL, content);
    json_end_array(j);
    json_end_object(j);
}

static void put_call(json_out *j, const char *key, const tool_call *called, bool has_arguments) {
    char id[80];
    snprintf(id, sizeof id, "fc_%s", called->id);
    json_object(j, key);
    json_string(j, "type", "function_call");
    json_string(j, "id", id);
    json_string(j, "call_id", called->id);
    json_string(j, "status", has_arguments ? "completed" : "in_progress");
    json_string(j, "name", called->name);
    json_string(j, "arguments", has_arguments ? called->arguments : "");
    json_end_object(j);
}

static bool has_message(const call *c) {
    const call_choice *choice = &c->choices[0];
    return choice->calls.count == 0 || call_content(c, choice)->length > 0;
}

static void put_usage(const call *c, json_out *j) {
    const uint64_t generated = call_generated(c);
    json_object(j, "usage");
    json_u64(j, "input_tokens", c->n_prompt);
    json_object(j, "input_tokens_details");
    json_u64(j, "cached_tokens", call_cached(c));
    json_end_object(j);
    json_u64(j, "output_tokens", generated);
    json_object(j, "output_tokens_details");
    json_u64(j, "reasoning_tokens", 0);
    json_end_object(j);
    json_u64(j, "total_tokens", c->n_prompt + generated);
    json_end_object(j);
}

static void put_output(const call *c, json_out *j) {
    const call_choice *choice = &c->choices[0];
    if (has_message(c)) put_message(c, j, NULL, call_content(c, choice));
    for (size_t i = 0; i < choice->calls.count; i++) put_call(j, NULL, &choice->calls.items[i], true);
}

static void put_response(const call *c, json_out *j, const char *key, bool has_ended) {
    json_object(j, key);
    json_string(j, "id", c->id);
    json_string(j, "object", "response");
    json_i64(j, "created_at", c->created);
    json_string(j, "status", !has_ended ? "in_progress" : is_complete(c) ? "completed" : "incomplete");
    json_string(j, "model", c->s->model_name);
    json_bool(j, "store", false);
    json_bool(j, "parallel_tool_calls", c->most_calls != 1);
    json_string(j, "tool_choice", "auto");
    json_array(j, "tools");
    json_end_array(j);
    json_null(j, "error");
    if (has_ended && !is_complete(c)) {
        json_object(j, "incomplete_details");
        json_string(j, "reason", "max_output_tokens");
        json_end_object(j);
    } else {
        json_null(j, "incomplete_details");
    }
    json_array(j, "output");
    if (has_ended) put_output(c, j);
    json_end_array(j);
    if (has_ended)
        put_usage(c, j);
    else
        json_null(j, "usage");
    json_end_object(j);
}

static void whole(call *c, nlm_str *out) {
    json_out j = json_begin(out);
    put_response(c, &j, NULL, true);
}

/* ---- events ---------------------------------------------------------------------------------------------- */

static json_out begin_event(call *c, nlm_str *data, const char *type) {
    json_out j = json_begin(data);
    json_object(&j, NULL);
    json_string(&j, "type", type);
    json_u64(&j, "sequence_number", c->form_state++);
    return j;
}

static void send_event(call *c, json_out *j, const char *type) {
    json_end_object(j);
    call_send(c, type, j->text);
    nlm_str_release(j->text);
}

static void send_response(call *c, const char *type, bool has_ended) {
    nlm_str data = {0};
    json_out j = begin_event(c, &data, type);
    put_response(c, &j, "response", has_ended);
    send_event(c, &j, type);
}

static void put_place(const call *c, json_out *j) {
    char id[80];
    snprintf(id, sizeof id, "msg_%s", c->id);
    json_string(j, "item_id", id);
    json_u64(j, "output_index", 0);
    json_u64(j, "content_index", 0);
}

static void begin(call *c) {
    send_response(c, "response.created", false);
    send_response(c, "response.in_progress", false);
}

/* Before the first content: an answer of calls alone has no message. n_sent is that of the content being told. */
static void begin_message(call *c) {
    nlm_str data = {0};
    json_out j = begin_event(c, &data, "response.output_item.added");
    json_u64(&j, "output_index", 0);
    put_message(c, &j, "item", NULL);
    send_event(c, &j, "response.output_item.added");
    j = begin_event(c, &data, "response.content_part.added");
    put_place(c, &j);
    put_part(&j, "part", NULL);
    send_event(c, &j, "response.content_part.added");
}

static void text(call *c, uint32_t index, const char *content, size_t length, const task_event *event) {
    nlm_str data = {0};
    (void)event;
    if (!c->stream || length == 0) return;
    if (c->choices[index].n_sent == length) begin_message(c);
    json_out j = begin_event(c, &data, "response.output_text.delta");
    put_place(c, &j);
    json_bytes(&j, "delta", content, length);
    json_array(&j, "logprobs");
    json_end_array(&j);
    send_event(c, &j, "response.output_text.delta");
}

static void end_message(call *c) {
    nlm_str data = {0};
    const nlm_str *content = call_content(c, &c->choices[0]);
    json_out j = begin_event(c, &data, "response.output_text.done");
    put_place(c, &j);
    json_bytes(&j, "text", content->data, content->length);
    json_array(&j, "logprobs");
    json_end_array(&j);
    send_event(c, &j, "response.output_text.done");
    j = begin_event(c, &data, "response.content_part.done");
    put_place(c, &j);
    put_part(&j, "part", content);
    send_event(c, &j, "response.content_part.done");
    j = begin_event(c, &data, "response.output_item.done");
    json_u64(&j, "output_index", 0);
    put_message(c, &j, "item", content);
    send_event(c, &j, "response.output_item.done");
}

static void send_call(call *c, const tool_call *called, uint64_t index) {
    nlm_str data = {0};
    char id[80];
    snprintf(id, sizeof id, "fc_%s", called->id);
    json_out j = begin_event(c, &data, "response.output_item.added");
    json_u64(&j, "output_index", index);
    put_call(&j, "item", called, false);
    send_event(c, &j, "response.output_item.added");
    static const char *const types[] = {"response.function_call_arguments.delta",
                                        "response.function_call_arguments.done"};
    for (int i = 0; i < 2; i++) {
        j = begin_event(c, &data, types[i]);
        json_string(&j, "item_id", id);
        json_u64(&j, "output_index", index);
        json_string(&j, i == 0 ? "delta" : "arguments", called->arguments);
        if (i == 1) json_string(&j, "name", called->name);
        send_event(c, &j, types[i]);
    }
    j = begin_event(c, &data, "response.output_item.done");
    json_u64(&j, "output_index", index);
    put_call(&j, "item", called, true);
    send_event(c, &j, "response.output_item.done");
}

static void end_choice(call *c, uint32_t index) {
    const call_choice *choice = &c->choices[index];
    const bool is_told = has_message(c);
    if (is_told && choice->n_sent == 0) begin_message(c); /* an answer without text */
    if (is_told) end_message(c);
    for (size_t i = 0; i < choice->calls.count; i++) send_call(c, &choice->calls.items[i], i + is_told);
}

static void end(call *c) {
    send_response(c, is_complete(c) ? "response.completed" : "response.incomplete", true);
}

static const call_form form = {
    .id_prefix = "resp_", .begin = begin, .text = text, .end_choice = end_choice, .end = end, .whole = whole};

/* ---- the request ------------------------------------------------------------------------------------------- */

static nlm_status read_response(request *r, nlm_error *err) {
    NLM_TRY(call_read_params(r->s, r->client, r->body, "stop", &r->params, err));
    r->params.request.n = 1;
    return chat_request_responses(r->body, &r->chat, err);
}

void responses_create(server *s, http_exchange *x) {
    static const chat_form response = {.call = &form, .read = read_response};
    chat_call(s, x, &response);
}
