/* UTF-8, one character at a time, with invalid bytes kept apart. */
#ifndef NLM_BASE_UTF8_H
#define NLM_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* A byte that is no part of valid UTF-8 decodes as this plus the byte, with length 1. */
#define NLM_UTF8_INVALID 0x110000u

/* The code point at text[0..length), length > 0; *out_length: its bytes. Valid is what RFC 3629 says:
 * no surrogates, no overlong forms, nothing above U+10FFFF. */
static inline uint32_t nlm_utf8_next(const char *text, size_t length, size_t *out_length) {
    const unsigned char *byte = (const unsigned char *)text;
    *out_length = 1;
    const uint32_t lead = byte[0];
    if (lead < 0x80) return lead;
    const size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || need > length) return NLM_UTF8_INVALID + lead;
    uint32_t code = lead & (0x7Fu >> need);
    for (size_t i = 1; i < need; i++) {
        if ((byte[i] & 0xC0) != 0x80) return NLM_UTF8_INVALID + lead;
        code = code << 6 | (byte[i] & 0x3Fu);
    }
    const uint32_t least = need == 4 ? 0x10000 : need == 3 ? 0x800 : 0x80;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return NLM_UTF8_INVALID + lead;
    *out_length = need;
    return code;
}

/* Writes the code point's 1 to 4 bytes and returns how many. */
static inline size_t nlm_utf8_put(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const size_t need = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = need - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)((0xF00u >> need) | code);
    return need;
}

#endif
