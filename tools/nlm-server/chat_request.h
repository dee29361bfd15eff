/* Conversations of requests, in OpenAI's form or Anthropic's, on their way to the chat template. */
#ifndef NLM_SERVER_CHAT_REQUEST_H
#define NLM_SERVER_CHAT_REQUEST_H

#include <cJSON.h>
#include <nlm/nlm.h>

#include "base/str.h"

/* How the model has to answer where there are tools. */
typedef enum tool_choice { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_ONE } tool_choice;

typedef struct chat_request {
    cJSON *messages;  /* OpenAI's, checked */
    cJSON *tools;     /* OpenAI's array, or NULL */
    cJSON *arguments; /* further variables of the template, or NULL */
    bool continues;   /* the last message is the beginning of the answer */
    bool has_no_turn; /* nor is one of the assistant's begun behind it */
    tool_choice choice;
    const char *tool; /* with TOOLS_ONE: its name, in `tools` */
    bool is_single;   /* it may call no more than one of them */
} chat_request;

void chat_request_release(chat_request *r);

/* From the body of POST /v1/chat/completions. Errors INVALID_ARGUMENT: which field, and what was expected. */
nlm_status chat_request_openai(const cJSON *body, chat_request *out, nlm_error *err);
/* Its `tool_choice`, of the tools that *out has: a word, or {"function": {"name"}} or {"name"} of one. */
nlm_status chat_request_read_choice(const cJSON *body, chat_request *out, nlm_error *err);
/* Its `parallel_tool_calls`. */
nlm_status chat_request_read_parallel(const cJSON *body, chat_request *out, nlm_error *err);
/* From that of POST /v1/messages. */
nlm_status chat_request_anthropic(const cJSON *body, chat_request *out, nlm_error *err);

/* Its token ids, the caller's to free. Errors as nlm_encode_conversation, a missing template being UNSUPPORTED. */
nlm_status chat_request_encode(const nlm_model *model, const chat_request *r, int32_t **out_ids, size_t *out_count,
                               nlm_error *err);
/* Its text, to look at. */
nlm_status chat_request_render(const nlm_model *model, const chat_request *r, nlm_str *out, nlm_error *err);

/* OpenAI's form of a tool from its parts; NULL: no memory. */
cJSON *chat_request_tool(const char *name, const char *description, const cJSON *parameters);

#endif
