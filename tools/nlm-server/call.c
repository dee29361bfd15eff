/* From events of the scheduler to an answer. */
#include "nlm-server/call.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/* ---- its life ---------------------------------------------------------------------------------- */

call *call_create(server *s, http_exchange *x, const call_form *form, const call_params *params) {
    call *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->s = s;
    c->x = x;
    c->form = form;
    c->stream = params->stream;
    c->has_usage = params->has_usage;
    c->n_top = params->request.n_top;
    c->seed = params->request.sampler.seed;
    c->created = server_now();
    server_make_id(s, form->id_prefix, c->id);
    s->calls++;
    return c;
}

void call_destroy(call *c) {
    server *s = c->s;
    for (uint32_t i = 0; i < c->n_tasks; i++) {
        if (c->tasks[i]) scheduler_cancel(s->sched, c->tasks[i]);
    }
    for (uint32_t i = 0; i < c->n_echoes; i++) nlm_str_release(&c->echoes[i]);
    for (uint32_t i = 0; i < c->n_choices; i++) {
        nlm_str_release(&c->choices[i].text);
        nlm_str_release(&c->choices[i].logprobs);
        tools_release(&c->choices[i].calls);
    }
    cJSON_Delete(c->tools);
    free(c->echoes);
    free(c->choices);
    nlm_str_release(&c->form_text);
    free(c);
    s->calls--;
    server_check_drained(s);
}

void call_take_tools(call *c, call_params *params, chat_request *request) {
    if (!request->tools || request->choice == TOOLS_NONE) return;
    c->tools = request->tools;
    c->most_calls = request->is_single ? 1 : SIZE_MAX;
    request->tools = NULL;
    params->request.has_special = true;
}

static void client_gone(void *user) {
    call_destroy(user);
}

/* ---- what comes --------------------------------------------------------------------------------- */

void call_send(call *c, const char *name, const nlm_str *data) {
    nlm_str text = {0};
    if (name) nlm_str_printf(&text, "event: %s\n", name);
    nlm_str_puts(&text, "data: ");
    nlm_str_append(&text, data->data ? data->data : "", data->length);
    nlm_str_puts(&text, "\n\n");
    if (!text.has_failed && !data->has_failed) http_stream_write(c->x, text.data, text.length);
    nlm_str_release(&text);
}

static void begin_stream(call *c) {
    if (c->has_begun) return;
    c->has_begun = true;
    http_add_header(c->x, "Cache-Control", "no-cache");
    http_stream_begin(c->x, 200, "text/event-stream");
    if (c->form->begin) c->form->begin(c);
}

/* The end of the call, told in the stream where one has begun. */
static void fail_call(call *c, nlm_status status, const char *message) {
    http_exchange *x = c->x;
    const int code = api_status_of(status);
    const char *why = message && *message ? message : nlm_status_string(status);
    http_on_close(x, NULL, NULL);
    if (c->has_begun) {
        nlm_str data = {0};
        api_error_json(x, code, NULL, why, &data);
        call_send(c, "error", &data);
        nlm_str_release(&data);
        http_stream_end(x);
    } else {
        api_fail(c->s, x, code, NULL, why);
    }
    call_destroy(c);
}

static void finish_call(call *c) {
    http_exchange *x = c->x;
    http_on_close(x, NULL, NULL);
    if (c->stream) {
        c->form->end(c);
        http_stream_end(x);
    } else {
        nlm_str body = {0};
        c->form->whole(c, &body);
        api_reply_json(c->s, x, 200, &body);
        nlm_str_release(&body);
    }
    call_destroy(c);
}

/* The text has ended: what of it are calls? false: no memory. */
static bool read_calls(call *c, call_choice *choice) {
    if (!c->tools) return true;
    if (!tools_parse(choice->text.data ? choice->text.data : "", choice->text.length, c->tools, c->most_calls,
                     &choice->calls)) {
        return false;
    }
    for (size_t i = 0; i < choice->calls.count; i++) {
        char id[64];
        server_make_id(c->s, "call_", id);
        memcpy(choice->calls.items[i].id, id, sizeof choice->calls.items[i].id - 1);
    }
    return true;
}

const nlm_str *call_content(const call *c, const call_choice *choice) {
    return c->tools ? &choice->calls.content : &choice->text;
}

/* Hands the form what can be told now. */
static void tell(call *c, uint32_t index, const task_event *event) {
    call_choice *choice = &c->choices[index];
    const nlm_str *content = choice->has_ended ? call_content(c, choice) : &choice->text;
    size_t ready = content->length;
    if (c->tools && !choice->has_ended) ready = ready ? tools_ready(content->data, ready) : 0;
    const size_t from = choice->n_sent, length = ready > from ? ready - from : 0;
    choice->n_sent += length;
    c->form->text(c, index, length ? content->data + from : "", length, event);
}

static void take_event(void *user, const task_event *event) {
    const struct call_part *part = user;
    call *c = part->owner;
    const uint32_t index = part->index * c->n_each + event->choice;
    call_choice *choice = &c->choices[index];
    if (event->is_last) c->tasks[part->index] = NULL;
    if (event->kind == TASK_FAILED) {
        fail_call(c, event->status, event->message);
        return;
    }
    nlm_str_append(&choice->text, event->text ? event->text : "", event->length);
    choice->n_generated = event->n_generated;
    choice->n_cached = event->n_cached;
    bool has_memory = !choice->text.has_failed;
    if (event->kind == TASK_ENDED && has_memory) {
        choice->has_ended = true;
        choice->ended_by = event->ended_by;
        choice->stop_index = event->stop_index;
        c->n_open--;
        has_memory = read_calls(c, choice);
    }
    if (!has_memory) {
        fail_call(c, NLM_OUT_OF_MEMORY, "no memory for the text");
        return;
    }
    if (c->stream) begin_stream(c);
    tell(c, index, event);
    if (c->stream && choice->has_ended) c->form->end_choice(c, index);
    if (c->n_open == 0) finish_call(c);
}

nlm_status call_start(call *c, const call_params *params, const call_prompts *prompts, nlm_error *err) {
    c->n_each = params->request.n;
    c->choices = calloc((size_t)prompts->count * c->n_each, sizeof *c->choices);
    if (!c->choices) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the request");
    c->n_choices = c->n_open = prompts->count * c->n_each;
    for (uint32_t i = 0; i < prompts->count; i++) {
        generation_request request = params->request;
        request.ids = prompts->ids[i];
        request.n_ids = prompts->n_ids[i];
        c->parts[i] = (struct call_part){c, i};
        if (params->start) NLM_TRY(grammars_constrain(params->start, &request, err));
        NLM_TRY(scheduler_submit(c->s->sched, &request, take_event, &c->parts[i], &c->tasks[i], err));
        c->n_tasks++;
        c->n_prompt += prompts->n_ids[i];
    }
    http_on_close(c->x, client_gone, c);
    return NLM_OK;
}

/* ---- for forms ----------------------------------------------------------------------------------- */

const char *call_finish_reason(const call_choice *choice) {
    if (choice->calls.count > 0) return "tool_calls";
    return choice->ended_by == NLM_ENDED_BY_MODEL || choice->ended_by == NLM_ENDED_BY_STOP ? "stop" : "length";
}

uint64_t call_generated(const call *c) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->n_choices; i++) n += c->choices[i].n_generated;
    return n;
}

/* Of each prompt what its first text found. */
uint64_t call_cached(const call *c) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->n_choices; i += c->n_each) n += c->choices[i].n_cached;
    return n;
}
