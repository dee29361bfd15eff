/* A model's own chat template, interpreted. */
#ifndef NLM_TEXT_CHAT_OWN_H
#define NLM_TEXT_CHAT_OWN_H

#include "text/chat_json.h"
#include "text/chat_template.h"

typedef struct nlm_chat_own nlm_chat_own;

/* Of tokenizer.chat_template. Errors NOT_FOUND (there is none), BAD_FORMAT (the template's line, and what is wrong
 * there), OUT_OF_MEMORY. */
nlm_status nlm_chat_own_create(const nlm_gguf *gguf, nlm_chat_own **out, nlm_error *err);
void nlm_chat_own_destroy(nlm_chat_own *own);

/* The template, as the model has it. */
const char *nlm_chat_own_text(const nlm_chat_own *own);
/* The texts of the form <|...|> that the template itself writes, NULL-terminated: for nlm_tokenizer_create_for. */
const char *const *nlm_chat_own_tokens(const nlm_chat_own *own);
/* Whether the text has the model's BOS in front, which the template wrote. */
bool nlm_chat_own_begins(const nlm_chat_own *own, const nlm_str *text, const nlm_text_spans *spans);

/* As nlm_chat_template_format, but that the text may begin with a BOS. What follows n_before messages is what the
 * template writes behind an answer that stands for them. If not opens_turn, the last message, an assistant's, stays
 * open.
 * Errors   INVALID_ARGUMENT (the template's own sentence, or what Jinja2 would say), LIMIT, OUT_OF_MEMORY,
 * UNSUPPORTED (what follows cannot be told from what came before). */
nlm_status nlm_chat_own_format(const nlm_chat_own *own, const nlm_chat_message *messages, size_t count,
                               size_t n_before, bool opens_turn, nlm_str *out, nlm_text_spans *out_spans,
                               nlm_error *err);

/* What follows the messages of a conversation. */
typedef enum nlm_chat_end {
    NLM_CHAT_END_PROMPT, /* the opening of the assistant's turn */
    NLM_CHAT_END_OPEN,   /* nothing: the last message, an assistant's, stays open */
    NLM_CHAT_END_CLOSED  /* nothing: its turn is closed */
} nlm_chat_end;

/* How the template wants what the interface of JSON leaves open, told by what it makes of a call of a tool. */
nlm_chat_form nlm_chat_own_form(const nlm_chat_own *own);

/* The whole text of a conversation that was shaped for the template. Errors   as above; UNSUPPORTED (the template
 * leaves out tools, or calls of them). */
nlm_status nlm_chat_own_format_json(const nlm_chat_own *own, const nlm_chat_json *chat, nlm_chat_end end,
                                    nlm_str *out, nlm_text_spans *out_spans, nlm_error *err);

/* One rendering: its text, and parts of it. */
typedef struct nlm_chat_text {
    nlm_str text;
    nlm_text_spans spans;       /* what users wrote */
    nlm_text_spans generations; /* what {% generation %} encloses */
    nlm_text_span watched;      /* the content of a message; empty: it is not there */
} nlm_chat_text;

/* The first `count` messages of a conversation that was shaped, with the opening of the assistant's turn behind them
 * or none; the content of message `watched` (SIZE_MAX: none) is looked for. Errors   as nlm_chat_own_format_json. */
nlm_status nlm_chat_own_render(const nlm_chat_own *own, const nlm_chat_json *chat, size_t count, bool opens_turn,
                               size_t watched, nlm_chat_text *out, nlm_error *err);
void nlm_chat_text_release(nlm_chat_text *text);

#endif
