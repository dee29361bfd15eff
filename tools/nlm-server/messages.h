/* Conversations of requests, as nlm_encode_chat takes them. */
#ifndef NLM_SERVER_MESSAGES_H
#define NLM_SERVER_MESSAGES_H

#include <cJSON.h>
#include <nlm/nlm.h>

#include "base/str.h"

typedef struct chat_messages {
    nlm_message *items;
    size_t count, capacity;
    char **texts; /* that the messages' strings stand in */
    size_t n_texts, text_capacity;
} chat_messages;

/* Appends one; role is a literal, content is copied. false: no memory. */
bool messages_add(chat_messages *messages, const char *role, const char *content, size_t length);
void messages_release(chat_messages *messages);

/* The text of a content: a string, or an array of parts of type text, input_text or output_text, each on a line of
 * its own; null is empty. `where` names it. Errors INVALID_ARGUMENT (another type: what of it is not supported). */
nlm_status messages_read_content(const cJSON *content, const char *where, nlm_str *out, nlm_error *err);

/* OpenAI's `messages`. Errors INVALID_ARGUMENT: which message, and what of it. */
nlm_status messages_read(const cJSON *array, chat_messages *out, nlm_error *err);

/* Token ids of them; continues: the last one is the beginning of the answer. *out_ids is the caller's to free. Errors
 * INVALID_ARGUMENT, UNSUPPORTED, OUT_OF_MEMORY, ... as nlm_encode_chat. */
nlm_status messages_encode(const nlm_model *model, const chat_messages *messages, bool continues, int32_t **out_ids,
                           size_t *out_count, nlm_error *err);

/* The same of a text; flags as nlm_encode's. */
nlm_status text_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags, int32_t **out_ids,
                       size_t *out_count, nlm_error *err);
/* The text of ids, appended. */
nlm_status text_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags, nlm_str *out,
                       nlm_error *err);

#endif
