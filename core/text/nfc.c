/* Unicode's form C over utf8proc's tables, in linear time and with invalid bytes kept. */
#include "text/nfc.h"

#include "base/status.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <utf8proc.h>

/* The first code point that is a combining mark or composes with what is before it. */
#define FIRST_MARK      0x300u
/* What a code point decomposes into has at most four. */
#define MOST_DECOMPOSED 4

#define OPTIONS (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

/* Code points of the stretch under way. */
typedef struct stretch {
    utf8proc_int32_t *codes;
    size_t count, capacity;
} stretch;

bool nlm_nfc_is_trivial(const char *text, size_t length) {
    /* U+0300 is 0xCC 0x80; higher code points have no lower lead byte. */
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0xCC) return false;
    }
    return true;
}

static bool add_decomposed(stretch *s, uint32_t code) {
    if (s->count + MOST_DECOMPOSED > s->capacity) {
        const size_t capacity = s->capacity ? s->capacity * 2 : 256;
        utf8proc_int32_t *codes = realloc(s->codes, capacity * sizeof *codes);
        if (!codes) return false;
        s->codes = codes;
        s->capacity = capacity;
    }
    const utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, s->codes + s->count, MOST_DECOMPOSED, OPTIONS, NULL);
    if (count < 0 || count > MOST_DECOMPOSED) return false;
    s->count += (size_t)count;
    return true;
}

static uint32_t combining_class(utf8proc_int32_t code) {
    return (uint32_t)utf8proc_get_property(code)->combining_class;
}

static int compare_keys(const void *a, const void *b) {
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Sorts codes[from..to), all of combining class above 0, by class; equals keep their order. */
static bool order_marks(utf8proc_int32_t *codes, size_t from, size_t to) {
    bool is_ordered = true;
    for (size_t i = from + 1; i < to; i++) is_ordered &= combining_class(codes[i - 1]) <= combining_class(codes[i]);
    if (is_ordered) return true;
    const size_t count = to - from;
    uint64_t *keys = malloc(count * 2 * sizeof *keys);
    if (!keys) return false;
    /* class, position: 56 bits; the code point comes along beside it */
    for (size_t i = 0; i < count; i++) {
        keys[2 * i] = (uint64_t)combining_class(codes[from + i]) << 48 | i;
        keys[2 * i + 1] = (uint64_t)codes[from + i];
    }
    qsort(keys, count, 2 * sizeof *keys, compare_keys);
    for (size_t i = 0; i < count; i++) codes[from + i] = (utf8proc_int32_t)keys[2 * i + 1];
    free(keys);
    return true;
}

static bool order_all_marks(stretch *s) {
    for (size_t i = 0; i < s->count;) {
        if (combining_class(s->codes[i]) == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < s->count && combining_class(s->codes[end]) != 0) end++;
        if (!order_marks(s->codes, i, end)) return false;
        i = end;
    }
    return true;
}

/* Normalises the stretch that begins at text[0] and ends before the next character below U+0300, which
 * nothing reaches across; returns its length in bytes, 0 when memory runs out. */
static size_t append_stretch(stretch *s, const char *text, size_t length, nlm_str *out) {
    size_t at = 0, bytes;
    s->count = 0;
    while (at < length) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        if (at > 0 && code < FIRST_MARK) break;
        if (!add_decomposed(s, code)) return 0;
        at += bytes;
    }
    if (!order_all_marks(s)) return 0;
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(s->codes, (utf8proc_ssize_t)s->count, OPTIONS);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        char encoded[4];
        nlm_str_append(out, encoded, nlm_utf8_put((uint32_t)s->codes[i], encoded));
    }
    return count < 0 ? 0 : at;
}

/* Of valid text: up to the last character before the next one at or above U+0300. */
static size_t trivial_prefix(const char *text, size_t length) {
    size_t at = 0, bytes, last = 0;
    while (at < length) {
        if (nlm_utf8_next(text + at, length - at, &bytes) >= FIRST_MARK) return last;
        last = at;
        at += bytes;
    }
    return at;
}

static bool append_valid(stretch *s, const char *text, size_t length, nlm_str *out) {
    while (length > 0) {
        const size_t trivial = trivial_prefix(text, length);
        nlm_str_append(out, text, trivial);
        text += trivial;
        length -= trivial;
        if (length == 0) break;
        const size_t used = append_stretch(s, text, length, out);
        if (used == 0) return false;
        text += used;
        length -= used;
    }
    return true;
}

nlm_status nlm_nfc_append(const char *text, size_t length, nlm_str *out, nlm_error *err) {
    stretch s = {0};
    bool has_memory = true;
    while (length > 0 && has_memory) {
        const size_t valid = nlm_utf8_valid_prefix(text, length);
        has_memory = append_valid(&s, text, valid, out);
        const size_t invalid = nlm_utf8_invalid_prefix(text + valid, length - valid);
        nlm_str_append(out, text + valid, invalid);
        text += valid + invalid;
        length -= valid + invalid;
    }
    free(s.codes);
    if (has_memory && !out->has_failed) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory to normalise %zu bytes of text", length);
}
