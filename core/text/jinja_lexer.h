/* The text of a chat template as tokens. */
#ifndef NLM_TEXT_JINJA_LEXER_H
#define NLM_TEXT_JINJA_LEXER_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

typedef enum nlm_jinja_token_kind {
    NLM_JINJA_TOKEN_END, /* of the text */
    NLM_JINJA_TOKEN_DATA,
    NLM_JINJA_TOKEN_PRINT_OPEN,
    NLM_JINJA_TOKEN_PRINT_CLOSE,
    NLM_JINJA_TOKEN_BLOCK_OPEN,
    NLM_JINJA_TOKEN_BLOCK_CLOSE,
    NLM_JINJA_TOKEN_NAME,
    NLM_JINJA_TOKEN_STRING, /* its text is what it stands for */
    NLM_JINJA_TOKEN_INTEGER,
    NLM_JINJA_TOKEN_FLOAT,
    NLM_JINJA_TOKEN_OPERATOR
} nlm_jinja_token_kind;

typedef struct nlm_jinja_token {
    nlm_jinja_token_kind kind;
    uint32_t line;
    const char *text; /* not terminated */
    size_t length;
} nlm_jinja_token;

/* All tokens, the last one END; they and their texts are of the arena. Blanks are taken off as the signs of the tags
 * and trim_blocks, lstrip_blocks say. Errors BAD_FORMAT, OUT_OF_MEMORY. */
nlm_status nlm_jinja_lex(nlm_arena *arena, const char *text, size_t length, nlm_jinja_token **out, nlm_error *err);

/* Of the template, at a line. */
#define NLM_JINJA_WHERE "chat template:%u"
nlm_status nlm_jinja_fail_at(nlm_error *err, nlm_status code, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));

#endif
