/* From the body of a conversation to texts that are under way. */
#include "nlm-server/chat_call.h"

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/server.h"

static nlm_status start(server *s, http_exchange *x, const chat_form *form, const cJSON *body, call_params *params,
                        chat_request *request, nlm_error *err) {
    call_prompts prompts = {0};
    NLM_TRY(form->read(s, x, body, params, request, err));
    NLM_TRY(chat_request_encode(s->model, request, &prompts.ids[0], &prompts.n_ids[0], err));
    prompts.count = 1;
    nlm_status status = call_force_tools(s, params, request, &prompts, err);
    call *c = status == NLM_OK ? call_create(s, x, form->call, params) : NULL;
    if (status == NLM_OK && !c) status = nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    if (c && form->note) form->note(c, params);
    if (c) call_take_tools(c, params, request);
    if (status == NLM_OK) status = call_start(c, params, &prompts, err);
    if (c && status != NLM_OK) call_destroy(c);
    call_prompts_release(&prompts);
    return status;
}

void chat_call(server *s, http_exchange *x, const chat_form *form) {
    nlm_error err = NLM_ERROR_INIT;
    size_t length;
    const char *text = http_body(x, &length);
    cJSON *body = NULL;
    call_params params = {0};
    chat_request request = {0};
    nlm_status status = json_parse(text, length, &body, &err);
    if (status == NLM_OK) status = start(s, x, form, body, &params, &request, &err);
    chat_request_release(&request);
    call_params_release(&params);
    cJSON_Delete(body);
    if (status != NLM_OK) api_fail_with(s, x, &err);
}
