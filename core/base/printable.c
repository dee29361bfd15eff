/* Escapes for what a terminal would act on. */
#include "base/printable.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

bool nlm_is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

/* Zero-width characters, marks of direction, separators of lines. */
static bool is_hidden(uint32_t code) {
    return (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF;
}

size_t nlm_printable_next(char out[NLM_PRINTABLE_BYTES], const char *text, size_t length, size_t *out_bytes) {
    static const char letters[][2] = {{'\n', 'n'}, {'\t', 't'}, {'\r', 'r'}};
    const uint32_t code = nlm_utf8_next(text, length, out_bytes);
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        if (code == (uint32_t)letters[i][0]) {
            return (size_t)snprintf(out, NLM_PRINTABLE_BYTES, "\\%c", letters[i][1]);
        }
    }
    if (code >= NLM_UTF8_INVALID) {
        return (size_t)snprintf(out, NLM_PRINTABLE_BYTES, "\\x%02x", (code - NLM_UTF8_INVALID) & 0xFF);
    }
    if (nlm_is_control(code) || is_hidden(code)) {
        return (size_t)snprintf(out, NLM_PRINTABLE_BYTES, code < 0x80 ? "\\x%02x" : "\\u{%x}", code);
    }
    memcpy(out, text, *out_bytes);
    return *out_bytes;
}

void nlm_make_printable(char *text, size_t size) {
    const size_t limit = size - 1;
    size_t length = strnlen(text, limit);
    if (length == limit) length = nlm_utf8_complete(text, length);
    for (size_t at = 0; at < length;) {
        char shown[NLM_PRINTABLE_BYTES];
        size_t bytes;
        const size_t count = nlm_printable_next(shown, text + at, length - at, &bytes);
        size_t rest = length - at - bytes;
        if (count > limit - at) {
            length = at;
            break;
        }
        if (rest > limit - at - count) rest = nlm_utf8_complete(text + at + bytes, limit - at - count);
        memmove(text + at + count, text + at + bytes, rest);
        memcpy(text + at, shown, count);
        at += count;
        length = at + rest;
    }
    text[length] = '\0';
}

void nlm_str_printable(nlm_str *str, const char *text, size_t length) {
    for (size_t at = 0, bytes; at < length; at += bytes) {
        char shown[NLM_PRINTABLE_BYTES];
        nlm_str_append(str, shown, nlm_printable_next(shown, text + at, length - at, &bytes));
    }
}
