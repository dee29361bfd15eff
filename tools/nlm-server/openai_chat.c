/* POST /v1/chat/completions. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/chat_call.h"
#include "nlm-server/chat_request.h"
#include "nlm-server/json_in.h"
#include "nlm-server/openai.h"

/* ---- logprobs ----------------------------------------------------------------------------------- */

static void put_token(const call *c, json_out *j, int32_t id, float logprob) {
    const char *text = "";
    size_t length = 0;
    nlm_token_text(c->s->model, id, NLM_TEXT_SPECIAL, &text, &length, NULL);
    json_bytes(j, "token", text, length);
    json_f64(j, "logprob", (double)logprob);
    openai_token_bytes(j, text, length);
}

/* Items of logprobs.content. */
static void put_logprobs(const call *c, json_out *j, const task_event *event) {
    for (size_t i = 0; i < event->n_tokens; i++) {
        const task_token *token = &event->tokens[i];
        json_object(j, NULL);
        put_token(c, j, token->id, token->logprob);
        json_array(j, "top_logprobs");
        for (uint32_t k = 0; k < token->n_top; k++) {
            json_object(j, NULL);
            put_token(c, j, token->top[k].id, token->top[k].logprob);
            json_end_object(j);
        }
        json_end_array(j);
        json_end_object(j);
    }
}

/* ---- the stream --------------------------------------------------------------------------------- */

static json_out begin_chunk(const call *c, nlm_str *data) {
    json_out j = json_begin(data);
    openai_begin(c, &j, "chat.completion.chunk");
    json_array(&j, "choices");
    return j;
}

static void end_chunk(call *c, json_out *j) {
    json_end_array(j);
    if (c->has_usage) json_null(j, "usage");
    json_end_object(j);
    call_send(c, NULL, j->text);
    nlm_str_release(j->text);
}

static void begin(call *c) {
    nlm_str data = {0};
    for (uint32_t i = 0; i < c->n_choices; i++) {
        json_out j = begin_chunk(c, &data);
        json_object(&j, NULL);
        json_u64(&j, "index", i);
        json_object(&j, "delta");
        json_string(&j, "role", "assistant");
        json_string(&j, "content", "");
        json_end_object(&j);
        json_null(&j, "logprobs");
        json_null(&j, "finish_reason");
        json_end_object(&j);
        end_chunk(c, &j);
    }
}

static void keep_logprobs(call *c, call_choice *choice, const task_event *event) {
    json_out j = json_begin(&choice->logprobs);
    j.depth = 1; /* items of an array that goes on */
    j.has_item = choice->logprobs.length > 0 ? 2 : 0;
    put_logprobs(c, &j, event);
}

static void text(call *c, uint32_t index, const char *content, size_t length, const task_event *event) {
    nlm_str data = {0};
    if (!c->stream) {
        keep_logprobs(c, &c->choices[index], event);
        return;
    }
    if (length == 0 && event->n_tokens == 0) return;
    json_out j = begin_chunk(c, &data);
    json_object(&j, NULL);
    json_u64(&j, "index", index);
    json_object(&j, "delta");
    json_bytes(&j, "content", content, length);
    json_end_object(&j);
    if (c->n_top == TASK_NO_LOGPROBS) {
        json_null(&j, "logprobs");
    } else {
        json_object(&j, "logprobs");
        json_array(&j, "content");
        put_logprobs(c, &j, event);
        json_end_array(&j);
        json_end_object(&j);
    }
    json_null(&j, "finish_reason");
    json_end_object(&j);
    end_chunk(c, &j);
}

static void put_call(json_out *j, const tool_call *called, size_t index, bool is_chunk) {
    json_object(j, NULL);
    if (is_chunk) json_u64(j, "index", index);
    json_string(j, "id", called->id);
    json_string(j, "type", "function");
    json_object(j, "function");
    json_string(j, "name", called->name);
    json_string(j, "arguments", called->arguments);
    json_end_object(j);
    json_end_object(j);
}

static void put_calls(json_out *j, const tool_calls *calls, bool are_chunks) {
    if (calls->count == 0) return;
    json_array(j, "tool_calls");
    for (size_t i = 0; i < calls->count; i++) put_call(j, &calls->items[i], i, are_chunks);
    json_end_array(j);
}

static void end_choice(call *c, uint32_t index) {
    nlm_str data = {0};
    json_out j = begin_chunk(c, &data);
    json_object(&j, NULL);
    json_u64(&j, "index", index);
    json_object(&j, "delta");
    put_calls(&j, &c->choices[index].calls, true);
    json_end_object(&j);
    json_null(&j, "logprobs");
    json_string(&j, "finish_reason", call_finish_reason(&c->choices[index]));
    json_end_object(&j);
    end_chunk(c, &j);
}

static void end(call *c) {
    static const char done[] = "data: [DONE]\n\n";
    if (c->has_usage) {
        nlm_str data = {0};
        json_out j = json_begin(&data);
        openai_begin(c, &j, "chat.completion.chunk");
        json_array(&j, "choices");
        json_end_array(&j);
        openai_usage(c, &j);
        json_end_object(&j);
        call_send(c, NULL, &data);
        nlm_str_release(&data);
    }
    http_stream_write(c->x, done, sizeof done - 1);
}

/* ---- the whole ---------------------------------------------------------------------------------- */

/* Null beside calls alone. */
static void put_content(const call *c, json_out *j, const call_choice *choice) {
    const nlm_str *content = call_content(c, choice);
    if (content->length == 0 && choice->calls.count > 0)
        json_null(j, "content");
    else
        json_bytes(j, "content", content->data, content->length);
}

static void whole(call *c, nlm_str *out) {
    json_out j = json_begin(out);
    openai_begin(c, &j, "chat.completion");
    json_array(&j, "choices");
    for (uint32_t i = 0; i < c->n_choices; i++) {
        call_choice *choice = &c->choices[i];
        json_object(&j, NULL);
        json_u64(&j, "index", i);
        json_object(&j, "message");
        json_string(&j, "role", "assistant");
        put_content(c, &j, choice);
        json_null(&j, "refusal");
        put_calls(&j, &choice->calls, false);
        json_end_object(&j);
        if (c->n_top == TASK_NO_LOGPROBS) {
            json_null(&j, "logprobs");
        } else {
            json_object(&j, "logprobs");
            json_array(&j, "content");
            if (choice->logprobs.data) json_raw(&j, NULL, choice->logprobs.data);
            json_end_array(&j);
            json_end_object(&j);
        }
        json_string(&j, "finish_reason", call_finish_reason(choice));
        json_end_object(&j);
    }
    json_end_array(&j);
    openai_usage(c, &j);
    json_end_object(&j);
}

static const call_form form = {
    .id_prefix = "chatcmpl-", .begin = begin, .text = text, .end_choice = end_choice, .end = end, .whole = whole};

/* ---- the request -------------------------------------------------------------------------------- */

static nlm_status read_logprobs(const cJSON *body, int32_t *out, nlm_error *err) {
    bool is_wanted = false;
    int64_t n_top = 0;
    NLM_TRY(json_get_bool(body, "logprobs", &is_wanted, err));
    NLM_TRY(json_get_int(body, "top_logprobs", 0, TASK_TOP_MAX, &n_top, err));
    if (n_top > 0 && !is_wanted) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "top_logprobs", "'top_logprobs' needs 'logprobs' to be true");
    }
    *out = is_wanted ? (int32_t)n_top : TASK_NO_LOGPROBS;
    return NLM_OK;
}

static nlm_status read_chat(request *r, nlm_error *err) {
    NLM_TRY(call_read_params(r->s, r->client, r->body, "stop", &r->params, err));
    NLM_TRY(read_logprobs(r->body, &r->params.request.n_top, err));
    return chat_request_openai(r->body, &r->chat, err);
}

void openai_chat(server *s, http_exchange *x) {
    static const chat_form chat = {.call = &form, .read = read_chat};
    chat_call(s, x, &chat);
}
