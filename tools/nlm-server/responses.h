/* OpenAI's Responses: POST /v1/responses, of which nothing is kept. */
#ifndef NLM_SERVER_RESPONSES_H
#define NLM_SERVER_RESPONSES_H

#include "nlm-server/chat_request.h"
#include "nlm-server/server.h"

void responses_create(server *s, http_exchange *x);

/* responses_request.c: the conversation of the body. Errors INVALID_ARGUMENT. */
nlm_status chat_request_responses(const cJSON *body, chat_request *out, nlm_error *err);

#endif
