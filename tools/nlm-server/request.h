/* A request whose body is JSON, on its way from the loop to a worker, which reads it, and back to be answered. */
#ifndef NLM_SERVER_REQUEST_H
#define NLM_SERVER_REQUEST_H

#include <stdatomic.h>

#include "nlm-server/call.h"
#include "nlm-server/workers.h"

typedef struct request request;

typedef struct request_form {
    /* On a worker's thread, of r->body: fills what `answer` needs. Of the server it reads the model, the settings,
     * what is known of both, and the grammars. */
    nlm_status (*read)(request *r, nlm_error *err);
    /* On the loop's: answers r->x, now or later; after an error the request does. NULL: r->out is the answer. */
    nlm_status (*answer)(request *r, nlm_error *err);
} request_form;

struct request {
    work w;
    server *s;
    http_exchange *x;    /* NULL: its client has gone */
    atomic_bool is_gone; /* the same, for the worker */
    const request_form *form;
    const void *more; /* of the form's handler */
    uint64_t client;
    const char *path; /* a route's */
    nlm_str text;     /* the body */
    size_t length;    /* of it */
    cJSON *body;
    call_params params;
    chat_request chat;
    call_prompts prompts;
    nlm_str *echoes; /* [prompts.count], or NULL */
    nlm_embed_options embed;
    bool is_base64;
    nlm_str out;
    nlm_status status;
    nlm_error error;
};

/* Takes the exchange's body; from here on the request answers, and frees itself. */
void request_begin(server *s, http_exchange *x, const request_form *form, const void *more);

#endif
