/* The text of a chat template as tokens: text, tags, and what stands in tags. */
#include "text/jinja_lexer.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_run.h"
#include "text/jinja_unescape.h"
#include "text/utf8.h"

#define NESTED_MAX 200 /* brackets within one another */

typedef struct lexer {
    nlm_arena *arena;
    const char *text;
    size_t length, at;
    uint32_t line;
    bool is_line_start; /* what came before ended with a newline */
    nlm_jinja_token *tokens;
    size_t count, capacity;
    char open[NESTED_MAX]; /* what closes the brackets that are open */
    size_t n_open;
    nlm_error *err;
} lexer;

nlm_status nlm_jinja_fail_at(nlm_error *err, nlm_status code, uint32_t line, const char *format, ...) {
    char where[64], message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(where, sizeof where, NLM_JINJA_WHERE, line);
    return nlm_fail(err, code, where, "%s", message);
}

static nlm_status out_of_memory(lexer *l) {
    return nlm_jinja_fail_at(l->err, NLM_OUT_OF_MEMORY, l->line, "no memory for the template");
}

static nlm_status add(lexer *l, nlm_jinja_token_kind kind, const char *text, size_t length) {
    if (l->count == l->capacity) {
        const size_t capacity = l->capacity ? l->capacity * 2 : 256;
        nlm_jinja_token *tokens = nlm_arena_array(l->arena, capacity, sizeof *tokens);
        if (!tokens) return out_of_memory(l);
        if (l->count) memcpy(tokens, l->tokens, l->count * sizeof *tokens);
        l->tokens = tokens;
        l->capacity = capacity;
    }
    l->tokens[l->count++] = (nlm_jinja_token){kind, l->line, text, length};
    return NLM_OK;
}

static void pass(lexer *l, size_t to) {
    for (; l->at < to; l->at++) l->line += l->text[l->at] == '\n';
}

static bool stands(const lexer *l, size_t at, const char *what) {
    const size_t length = strlen(what);
    return length <= l->length - at && memcmp(l->text + at, what, length) == 0;
}

/* Behind the blanks that begin at `at`. */
static size_t skip_blanks(const lexer *l, size_t at) {
    size_t bytes;
    while (at < l->length && nlm_jinja_is_blank(nlm_utf8_next(l->text + at, l->length - at, &bytes))) at += bytes;
    return at;
}

/* The end of a tag, which `close` is: 0 if it is not at `at`, else what is behind it and the blanks that go with it.
 */
static size_t end_of_tag(const lexer *l, size_t at, const char *close, bool trims_newline) {
    const char sign = at < l->length ? l->text[at] : 0;
    const bool has_sign = sign == '-' || (sign == '+' && trims_newline);
    if (!stands(l, at + has_sign, close)) return 0;
    at += has_sign + strlen(close);
    if (has_sign) return sign == '-' ? skip_blanks(l, at) : at;
    return trims_newline && at < l->length && l->text[at] == '\n' ? at + 1 : at;
}

/* Where text[from..to), which a tag with this sign follows, ends. */
static size_t end_of_data(const lexer *l, size_t from, size_t to, char sign, bool strips_line) {
    size_t bytes, end = from, line = to;
    if (sign == '-') {
        for (size_t at = from; at < to; at += bytes) {
            if (!nlm_jinja_is_blank(nlm_utf8_next(l->text + at, to - at, &bytes))) end = at + bytes;
        }
        return end;
    }
    if (sign == '+' || !strips_line) return to;
    while (line > from && l->text[line - 1] != '\n') line--;
    if (line == from && !l->is_line_start) return to;
    return skip_blanks(l, line) >= to ? line : to;
}

static nlm_status add_data(lexer *l, size_t from, size_t end) {
    return end > from ? add(l, NLM_JINJA_TOKEN_DATA, l->text + from, end - from) : NLM_OK;
}

/* ---- within tags -------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_character(char c) {
    return c == '_' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* Digits, with '_' between them. */
static size_t skip_digits(const lexer *l, size_t at) {
    while (at < l->length &&
           (is_digit(l->text[at]) || (l->text[at] == '_' && at + 1 < l->length && is_digit(l->text[at + 1])))) {
        at++;
    }
    return at;
}

static nlm_status read_number(lexer *l) {
    size_t end = l->at;
    nlm_jinja_token_kind kind = NLM_JINJA_TOKEN_INTEGER;
    if (l->text[end] == '0' && end + 2 < l->length && strchr("xXoObB", l->text[end + 1]) && l->text[end + 1]) {
        end += 2;
        while (end < l->length && is_name_character(l->text[end])) end++;
    } else {
        end = skip_digits(l, end);
        const bool follows_dot = l->at > 0 && l->text[l->at - 1] == '.';
        if (!follows_dot && end + 1 < l->length && l->text[end] == '.' && is_digit(l->text[end + 1])) {
            end = skip_digits(l, end + 1);
            kind = NLM_JINJA_TOKEN_FLOAT;
        }
        if (!follows_dot && end + 1 < l->length && (l->text[end] == 'e' || l->text[end] == 'E')) {
            const size_t digits = end + 1 + (l->text[end + 1] == '-' || l->text[end + 1] == '+');
            if (digits < l->length && is_digit(l->text[digits])) {
                end = skip_digits(l, digits);
                kind = NLM_JINJA_TOKEN_FLOAT;
            }
        }
    }
    NLM_TRY(add(l, kind, l->text + l->at, end - l->at));
    pass(l, end);
    return NLM_OK;
}

static nlm_status read_string(lexer *l) {
    const char quote = l->text[l->at];
    size_t end = l->at + 1;
    while (end < l->length && l->text[end] != quote) end += l->text[end] == '\\' ? 2 : 1;
    if (end >= l->length) {
        return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "a string has no end: %.40s", l->text + l->at);
    }
    const size_t length = end - l->at - 1;
    char *text = nlm_arena_alloc(l->arena, NLM_JINJA_UNESCAPED_MAX(length));
    if (!text) return out_of_memory(l);
    NLM_TRY(add(l, NLM_JINJA_TOKEN_STRING, text, nlm_jinja_unescape(l->text + l->at + 1, length, text)));
    pass(l, end + 1);
    return NLM_OK;
}

/* Keeps account of brackets. */
static nlm_status read_operator(lexer *l) {
    static const char *const twos[] = {"==", "!=", ">=", "<=", "//", "**"};
    const char c = l->text[l->at];
    size_t length = 1;
    for (size_t i = 0; i < sizeof twos / sizeof *twos; i++) {
        if (stands(l, l->at, twos[i])) length = 2;
    }
    if (length == 1 && (c == 0 || !strchr("+-/*%~[](){}><=.:|,;", c))) {
        return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "unexpected character '%c'", c);
    }
    static const char opening[] = "([{", closing[] = ")]}";
    const char *found = length == 1 ? strchr(opening, c) : NULL;
    if (found && l->n_open == NESTED_MAX) {
        return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "more than %d brackets within one another",
                                 NESTED_MAX);
    }
    if (found) l->open[l->n_open++] = closing[found - opening];
    if (length == 1 && strchr(closing, c)) {
        if (l->n_open == 0 || l->open[l->n_open - 1] != c) {
            return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "unexpected '%c'%s%.1s", c,
                                     l->n_open ? ", expected " : "", l->n_open ? &l->open[l->n_open - 1] : "");
        }
        l->n_open--;
    }
    NLM_TRY(add(l, NLM_JINJA_TOKEN_OPERATOR, l->text + l->at, length));
    l->at += length;
    return NLM_OK;
}

static nlm_status read_tag(lexer *l, bool is_block) {
    const char *close = is_block ? "%}" : "}}";
    const nlm_jinja_token_kind end_kind = is_block ? NLM_JINJA_TOKEN_BLOCK_CLOSE : NLM_JINJA_TOKEN_PRINT_CLOSE;
    const uint32_t line = l->line;
    l->n_open = 0;
    for (;;) {
        pass(l, skip_blanks(l, l->at));
        if (l->at >= l->length) break;
        const size_t end = l->n_open == 0 ? end_of_tag(l, l->at, close, is_block) : 0;
        if (end) {
            NLM_TRY(add(l, end_kind, l->text + l->at, 2));
            pass(l, end);
            return NLM_OK;
        }
        const char c = l->text[l->at];
        if (is_digit(c)) {
            NLM_TRY(read_number(l));
        } else if (is_name_character(c)) {
            const size_t begin = l->at;
            while (l->at < l->length && is_name_character(l->text[l->at])) l->at++;
            NLM_TRY(add(l, NLM_JINJA_TOKEN_NAME, l->text + begin, l->at - begin));
        } else if (c == '"' || c == '\'') {
            NLM_TRY(read_string(l));
        } else {
            NLM_TRY(read_operator(l));
        }
    }
    return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, line, "a tag has no end; expected '%s'", close);
}

/* ---- outside of tags ---------------------------------------------------------------------- */

/* Whether "{%" at `at` begins a tag of just `word`; *out_end: behind the word and blanks. */
static bool is_word_tag(const lexer *l, size_t at, const char *word, size_t *out_end) {
    at += 2;
    if (at < l->length && (l->text[at] == '-' || l->text[at] == '+')) at++;
    at = skip_blanks(l, at);
    if (!stands(l, at, word)) return false;
    *out_end = skip_blanks(l, at + strlen(word));
    return true;
}

static char sign_at(const lexer *l, size_t at) {
    return at < l->length && (l->text[at] == '-' || l->text[at] == '+') ? l->text[at] : 0;
}

/* The tag {% raw %} ends at `begin`; what is up to {% endraw %} is data. */
static nlm_status read_raw(lexer *l, size_t begin) {
    size_t end, behind;
    pass(l, begin);
    for (size_t at = begin; at + 1 < l->length; at++) {
        if (!stands(l, at, "{%") || !is_word_tag(l, at, "endraw", &end)) continue;
        behind = end_of_tag(l, end, "%}", true);
        if (!behind) continue;
        l->is_line_start = false;
        NLM_TRY(add_data(l, begin, end_of_data(l, begin, at, sign_at(l, at + 2), true)));
        pass(l, behind);
        return NLM_OK;
    }
    return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "{%% raw %%} has no {%% endraw %%}");
}

static nlm_status read_comment(lexer *l) {
    size_t end = 0;
    for (size_t at = l->at; at < l->length && !end; at++) end = end_of_tag(l, at, "#}", true);
    if (!end) return nlm_jinja_fail_at(l->err, NLM_BAD_FORMAT, l->line, "a comment has no end; expected '#}'");
    pass(l, end);
    return NLM_OK;
}

/* The text up to the next tag, and the tag. */
static nlm_status read_next(lexer *l) {
    size_t tag = l->at;
    while (tag < l->length &&
           !(l->text[tag] == '{' && tag + 1 < l->length && strchr("{%#", l->text[tag + 1]) && l->text[tag + 1])) {
        tag++;
    }
    if (tag >= l->length) {
        NLM_TRY(add_data(l, l->at, l->length));
        pass(l, l->length);
        return NLM_OK;
    }
    const char what = l->text[tag + 1];
    const char sign = sign_at(l, tag + 2);
    NLM_TRY(add_data(l, l->at, end_of_data(l, l->at, tag, sign, what != '{')));
    pass(l, tag);
    size_t raw, behind = 0;
    if (what == '%' && is_word_tag(l, tag, "raw", &raw)) {
        behind = end_of_tag(l, raw, "%}", false);
        if (behind) NLM_TRY(read_raw(l, behind));
    }
    if (!behind) {
        if (what != '#') {
            NLM_TRY(add(l, what == '%' ? NLM_JINJA_TOKEN_BLOCK_OPEN : NLM_JINJA_TOKEN_PRINT_OPEN, l->text + tag, 2));
        }
        pass(l, tag + 2 + (sign != 0));
        NLM_TRY(what == '#' ? read_comment(l) : read_tag(l, what == '%'));
    }
    l->is_line_start = l->text[l->at - 1] == '\n';
    return NLM_OK;
}

/* Newlines of any kind as \n, and none at the end. */
static char *copy_lines(nlm_arena *arena, const char *text, size_t length, size_t *out_length) {
    char *copy = nlm_arena_alloc(arena, length + 1);
    size_t n = 0;
    for (size_t i = 0; copy && i < length; i++) {
        const bool is_first_of_two = text[i] == '\r' && i + 1 < length && text[i + 1] == '\n';
        if (!is_first_of_two) copy[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    *out_length = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
    return copy;
}

nlm_status nlm_jinja_lex(nlm_arena *arena, const char *text, size_t length, nlm_jinja_token **out, nlm_error *err) {
    lexer l = {.arena = arena, .line = 1, .is_line_start = true, .err = err};
    l.text = copy_lines(arena, text, length, &l.length);
    if (!l.text) return out_of_memory(&l);
    while (l.at < l.length) NLM_TRY(read_next(&l));
    NLM_TRY(add(&l, NLM_JINJA_TOKEN_END, "", 0));
    *out = l.tokens;
    return NLM_OK;
}
