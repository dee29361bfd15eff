/* Chat templates by name: a table of the known ones, recognised in the model's metadata. */
#ifndef NLM_TEXT_CHAT_TEMPLATE_H
#define NLM_TEXT_CHAT_TEMPLATE_H

#include "base/str.h"
#include "format/gguf.h"

typedef struct nlm_chat_template nlm_chat_template;

typedef struct nlm_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} nlm_chat_message;

/* By name: chatml, llama-2, llama-3, zephyr, mistral. NULL if unknown. */
const nlm_chat_template *nlm_chat_template_from_name(const char *name);
const char *nlm_chat_template_name(const nlm_chat_template *chat);
/* The table of names, for help texts; NULL-terminated. */
const char *const *nlm_chat_template_names(void);

/* Which template tokenizer.chat_template of the model is. NOT_FOUND: it has none. UNSUPPORTED: another
 * one; the message holds the template's text (as far as it fits) and how to name one. */
nlm_status nlm_chat_template_detect(const nlm_gguf *gguf, const nlm_chat_template **out, nlm_error *err);

/* Appends the text of messages[0..count), to be encoded with NLM_ENCODE_SPECIAL, as the turn that
 * follows `n_before` earlier messages: BOS or a system preamble come with the first alone.
 * add_generation_prompt opens the assistant's turn. Control tokens spelled inside `content` must not
 * become control tokens: out_spans receives the parts that are user text (pairs from, to in *out). */
typedef struct nlm_text_span {
    size_t from, to;
} nlm_text_span;
typedef struct nlm_text_spans {
    nlm_text_span *data;
    size_t count, capacity;
} nlm_text_spans;
nlm_status nlm_chat_template_format(const nlm_chat_template *chat, const nlm_chat_message *messages, size_t count,
                                    size_t n_before, bool add_generation_prompt, nlm_str *out,
                                    nlm_text_spans *out_spans, nlm_error *err);

#endif
