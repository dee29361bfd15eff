/* Conversations that come as JSON: messages with calls of tools, the tools, and further variables of a template. */
#ifndef NLM_TEXT_CHAT_JSON_H
#define NLM_TEXT_CHAT_JSON_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include "text/chat_template.h"

struct cJSON;

/* Owns what it points to. */
typedef struct nlm_chat_json {
    struct cJSON *messages;  /* an array of objects, each with a role */
    struct cJSON *tools;     /* an array of objects, or NULL */
    struct cJSON *arguments; /* an object, or NULL */
} nlm_chat_json;

/* How a template wants what programs write in two ways. */
typedef struct nlm_chat_form {
    bool has_text_arguments; /* the arguments of a call are JSON text, else an object */
    bool has_empty_content;  /* what has no content has an empty one, else none */
} nlm_chat_form;

/* Parses and checks terminated texts; tools and arguments may be NULL.
 * Errors   BAD_FORMAT (no JSON: at which byte), INVALID_ARGUMENT (what is not as the header says: of which message),
 *          UNSUPPORTED (a part of a content that is no text), OUT_OF_MEMORY. */
nlm_status nlm_chat_json_read(const char *messages, const char *tools, const char *arguments, nlm_chat_json *out,
                              nlm_error *err);
void nlm_chat_json_release(nlm_chat_json *chat);

/* Whether a form makes a difference to them: there are calls, or messages without content. */
bool nlm_chat_json_has_choices(const nlm_chat_json *chat);

/* Brings the messages into the form: contents become a string or nothing, parts of text on lines of their own.
 * Errors   OUT_OF_MEMORY. */
nlm_status nlm_chat_json_shape(nlm_chat_json *chat, nlm_chat_form form, nlm_error *err);

/* The role of the last message; "" if there is none. */
const char *nlm_chat_json_last_role(const nlm_chat_json *chat);

/* The shaped messages for a template that has roles and contents alone: from malloc, the texts in them borrowed.
 * Errors   UNSUPPORTED (tools, calls and variables, which the template that is named has no form of), OUT_OF_MEMORY.
 */
nlm_status nlm_chat_json_plain(const nlm_chat_json *chat, const char *template_name, nlm_chat_message **out_messages,
                               size_t *out_count, nlm_error *err);

#endif
