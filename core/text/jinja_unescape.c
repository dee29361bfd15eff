/* Escapes in the strings of chat templates. */
#include "text/jinja_unescape.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 16;
}

/* The number of up to `most` digits at text[*at..length). */
static uint32_t read_digits(const char *text, size_t length, size_t *at, size_t most, int base) {
    uint32_t number = 0;
    for (size_t i = 0; i < most && *at < length && digit_of(text[*at]) < base; i++) {
        number = number * (uint32_t)base + (uint32_t)digit_of(text[(*at)++]);
    }
    return number;
}

static size_t put(uint32_t code, char *out) {
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    char bytes[4];
    const size_t length = nlm_utf8_put(code, bytes);
    memcpy(out, bytes, length);
    return length;
}

/* The escape at text[*at], which is behind the backslash. */
static size_t unescape_one(const char *text, size_t length, size_t *at, char *out) {
    static const char names[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = text[*at];
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        *out = values[found - names];
        (*at)++;
        return 1;
    }
    if (c == '\n') { /* a line that goes on */
        (*at)++;
        return 0;
    }
    if (digit_of(c) < 8) return put(read_digits(text, length, at, 3, 8), out);
    const size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    size_t end = *at + 1;
    const uint32_t code = read_digits(text, length, &end, n_digits, 16);
    if (n_digits > 0 && end == *at + 1 + n_digits) {
        *at = end;
        return put(code, out);
    }
    *out = '\\';
    return 1;
}

size_t nlm_jinja_unescape(const char *text, size_t length, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < length;) {
        if (text[at] == '\\' && at + 1 < length) {
            at++;
            n += unescape_one(text, length, &at, out + n);
        } else {
            out[n++] = text[at++];
        }
    }
    return n;
}
