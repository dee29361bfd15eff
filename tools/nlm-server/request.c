/* What all requests with a body go through. */
#include "nlm-server/request.h"

#include <stdlib.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/log.h"

/* Bodies up to here are freed on the loop, and read while longer ones are. */
#define SMALL_BYTES (64u << 10)

static void free_parts(work *w) {
    request *r = (request *)w;
    for (uint32_t i = 0; r->echoes && i < r->prompts.count; i++) nlm_str_release(&r->echoes[i]);
    free(r->echoes);
    call_prompts_release(&r->prompts);
    chat_request_release(&r->chat);
    call_params_release(&r->params);
    cJSON_Delete(r->body);
    nlm_str_release(&r->text);
    nlm_str_release(&r->out);
}

static void end(work *w) {
    request *r = (request *)w;
    server *s = r->s;
    free(r);
    s->calls--;
    server_check_drained(s);
}

/* Freeing the parts of a large body takes its time too. */
static void release(request *r) {
    r->w.run = free_parts;
    r->w.done = end;
    r->w.is_long = false;
    if (r->length > SMALL_BYTES) {
        workers_add(r->s->workers, &r->w);
    } else {
        free_parts(&r->w);
        end(&r->w);
    }
}

static void forget_client(void *user) {
    request *r = user;
    r->x = NULL;
    atomic_store(&r->is_gone, true);
}

static void read_body(work *w) {
    request *r = (request *)w;
    if (atomic_load(&r->is_gone)) return; /* nobody waits for it */
    if (r->s->set->logs_prompts) log_body(r->path, r->text.data ? r->text.data : "", r->text.length);
    r->status = json_parse(r->text.data ? r->text.data : "", r->text.length, &r->body, &r->error);
    if (r->status == NLM_OK) r->status = r->form->read(r, &r->error);
}

static void answer(work *w) {
    request *r = (request *)w;
    server *s = r->s;
    http_exchange *x = r->x;
    s->n_reading--;
    if (x) {
        http_on_close(x, NULL, NULL);
        if (r->status == NLM_OK && r->form->answer) r->status = r->form->answer(r, &r->error);
        if (r->status != NLM_OK)
            api_fail_with(s, x, &r->error);
        else if (!r->form->answer)
            api_reply_json(s, x, 200, &r->out);
    }
    release(r);
}

void request_begin(server *s, http_exchange *x, const request_form *form, const void *more) {
    request *r = calloc(1, sizeof *r);
    if (!r) {
        api_fail(s, x, 503, NULL, "no memory for the request");
        return;
    }
    *r = (request){.w = {.run = read_body, .done = answer},
                   .s = s,
                   .x = x,
                   .form = form,
                   .more = more,
                   .client = routes_client(s, x),
                   .path = routes_path(x),
                   .text = http_take_body(x),
                   .status = NLM_CANCELLED,
                   .error = NLM_ERROR_INIT};
    r->length = r->text.length;
    r->w.client = r->client;
    r->w.is_long = r->length > SMALL_BYTES;
    s->calls++;
    s->n_reading++;
    http_on_close(x, forget_client, r);
    workers_add(s->workers, &r->w);
}
