/* What OpenAI's two forms of completions share, and their entries. */
#ifndef NLM_SERVER_OPENAI_H
#define NLM_SERVER_OPENAI_H

#include "nlm-server/call.h"

void openai_chat(server *s, http_exchange *x);
void openai_completion(server *s, http_exchange *x);

/* "usage" of the call. */
void openai_usage(const call *c, json_out *j);
/* The opening of an answer or chunk, up to `choices`. */
void openai_begin(const call *c, json_out *j, const char *object);
/* `bytes` of a token, as an array. */
void openai_token_bytes(json_out *j, const char *text, size_t length);

#endif
