/* Chat templates by name: a table of the known ones, recognised in the model's metadata. */
#ifndef NLM_TEXT_CHAT_TEMPLATE_H
#define NLM_TEXT_CHAT_TEMPLATE_H

#include "base/str.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

typedef struct nlm_chat_template nlm_chat_template;

typedef struct nlm_chat_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;
} nlm_chat_message;

/* By name: chatml, llama-2, llama-3, zephyr, mistral, or a variant of theirs (smollm2: chatml with that
 * model's own system message where there is none). NULL if unknown. */
const nlm_chat_template *nlm_chat_template_from_name(const char *name);
const char *nlm_chat_template_name(const nlm_chat_template *chat);
/* The table of names, for help texts; NULL-terminated. */
const char *const *nlm_chat_template_names(void);

/* The tokens that its text is made of, NULL-terminated: the first n_needed are in every vocabulary that the
 * template is for, the others may be spelled in parts. For nlm_tokenizer_create_for. */
const char *const *nlm_chat_template_tokens(const nlm_chat_template *chat, size_t *out_n_needed);

/* Which template tokenizer.chat_template of the model is. *out_is_exact: it is a text known to render as the
 * template does, byte for byte, where a user's message comes last and no tool speaks; if not, it has what marks
 * one of them, and may differ. NOT_FOUND: the model has none. UNSUPPORTED: another one; the message holds the
 * template's text (as far as it fits) and how to name one. */
nlm_status nlm_chat_template_detect(const nlm_gguf *gguf, const nlm_chat_template **out, bool *out_is_exact,
                                    nlm_error *err);

/* Appends the text of messages[0..count) as it follows `n_before` earlier messages; out_spans receives
 * the parts of *out that are the messages' contents. Encode it with nlm_tokenizer_encode_spans and
 * NLM_ENCODE_SPECIAL, the first turn (n_before 0) with NLM_ENCODE_BOS too: the text itself has no BOS
 * in front. add_generation_prompt opens the assistant's turn.
 *
 * An assistant's turn is left open and closed by what follows it: with n_before > 0 a text that does
 * not begin with an assistant's message begins with the end of the assistant's turn ("<|im_end|>\n").
 * So turn 1, the generated answer without its end token, turn 2, ... is exactly the text that
 * formatting all at once gives; but for the thoughts of answers, which qwq leaves out of any answer that it is
 * given, and qwen3 out of those that a user's message follows.
 * Errors   INVALID_ARGUMENT (a role that is none of the four; a tool's where the template's form of it is not known;
 * a system message that no user's follows, where the template puts it into the user's turn), OUT_OF_MEMORY. */
nlm_status nlm_chat_template_format(const nlm_chat_template *chat, const nlm_chat_message *messages, size_t count,
                                    size_t n_before, bool add_generation_prompt, nlm_str *out,
                                    nlm_text_spans *out_spans, nlm_error *err);

/* Appends what closes the turn of an answer that the text ends with. Errors   OUT_OF_MEMORY. */
nlm_status nlm_chat_template_close(const nlm_chat_template *chat, nlm_str *out, nlm_error *err);

#endif
