/* A conversation that becomes a call, in whatever form it came. */
#ifndef NLM_SERVER_CHAT_CALL_H
#define NLM_SERVER_CHAT_CALL_H

#include "nlm-server/request.h"

/* What a form of conversations has of its own. */
typedef struct chat_form {
    const call_form *call;
    /* Reads r->body into r->params and r->chat. Errors as call_read_params and chat_request_*. */
    nlm_status (*read)(request *r, nlm_error *err);
    void (*note)(call *c, const call_params *params); /* what its answers will need; or NULL */
} chat_form;

/* Answers x: by the call, or with what is wrong. */
void chat_call(server *s, http_exchange *x, const chat_form *form);

#endif
