/* Anthropic's form: POST /v1/messages and its count_tokens. */
#ifndef NLM_SERVER_ANTHROPIC_H
#define NLM_SERVER_ANTHROPIC_H

#include "nlm-server/server.h"

void anthropic_messages(server *s, http_exchange *x);
void anthropic_count_tokens(server *s, http_exchange *x);

#endif
