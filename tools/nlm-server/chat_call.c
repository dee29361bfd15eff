/* From the body of a conversation to texts that are under way. */
#include "nlm-server/chat_call.h"

#include "base/status.h"

static nlm_status read_conversation(request *r, nlm_error *err) {
    const chat_form *form = r->more;
    call_prompts *prompts = &r->prompts;
    NLM_TRY(form->read(r, err));
    NLM_TRY(chat_request_encode(r->s->model, &r->chat, &prompts->ids[0], &prompts->n_ids[0], err));
    prompts->count = 1;
    return call_force_tools(r->s, &r->params, &r->chat, prompts, err);
}

static nlm_status start(request *r, nlm_error *err) {
    const chat_form *form = r->more;
    call *c = call_create(r->s, r->x, form->call, &r->params);
    if (!c) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    if (form->note) form->note(c, &r->params);
    call_take_tools(c, &r->params, &r->chat);
    const nlm_status status = call_start(c, &r->params, &r->prompts, err);
    if (status != NLM_OK) call_destroy(c);
    return status;
}

void chat_call(server *s, http_exchange *x, const chat_form *form) {
    static const request_form conversation = {.read = read_conversation, .answer = start};
    request_begin(s, x, &conversation, form);
}
