/* Texts of chat templates: bytes, and a mark for each. */
#include <string.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

#define STEP_BYTES 32

/* ---- growing ------------------------------------------------------------------------------ */

static bool reserve(nlm_jinja_run *run, nlm_jinja_text *text, size_t more) {
    if (!nlm_jinja_spend(run, more / STEP_BYTES)) return false;
    if (more > run->limits.output_bytes - text->length) {
        nlm_jinja_fail_as(run, NLM_LIMIT, "the template makes a text of more than %zu bytes",
                          run->limits.output_bytes);
        return false;
    }
    if (more <= text->capacity - text->length) return true;
    size_t capacity = text->capacity ? text->capacity : 32;
    while (capacity - text->length < more) capacity *= 2;
    char *data = nlm_jinja_alloc(run, capacity, 1);
    uint8_t *marks = nlm_jinja_alloc(run, capacity, 1);
    if (!data || !marks) return false;
    if (text->length) {
        memcpy(data, text->data, text->length);
        memcpy(marks, text->marks, text->length);
    }
    text->data = data;
    text->marks = marks;
    text->capacity = capacity;
    return true;
}

void nlm_jinja_add(nlm_jinja_run *run, nlm_jinja_text *text, const char *data, size_t length, uint8_t mark) {
    if (length == 0 || !reserve(run, text, length)) return;
    memcpy(text->data + text->length, data, length);
    memset(text->marks + text->length, mark, length);
    text->seen |= 1u << mark;
    text->length += length;
}

void nlm_jinja_add_text(nlm_jinja_run *run, nlm_jinja_text *text, const char *data, uint8_t mark) {
    nlm_jinja_add(run, text, data, strlen(data), mark);
}

void nlm_jinja_add_part(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string, size_t from,
                        size_t to) {
    if (!string->marks) {
        nlm_jinja_add(run, text, string->data + from, to - from, string->mark);
        return;
    }
    if (from == to || !reserve(run, text, to - from)) return;
    memcpy(text->data + text->length, string->data + from, to - from);
    memcpy(text->marks + text->length, string->marks + from, to - from);
    for (size_t at = from; at < to; at++) text->seen |= 1u << string->marks[at];
    text->length += to - from;
}

void nlm_jinja_add_string(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string) {
    nlm_jinja_add_part(run, text, string, 0, string->length);
}

/* ---- strings ------------------------------------------------------------------------------ */

static nlm_jinja_value make(nlm_jinja_run *run, nlm_jinja_string string) {
    static const nlm_jinja_string empty = {.data = ""};
    nlm_jinja_string *made = nlm_jinja_alloc(run, 1, sizeof *made);
    if (!made) return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = &empty};
    *made = string;
    return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = made};
}

nlm_jinja_value nlm_jinja_string_static(nlm_jinja_run *run, const char *text, uint8_t mark) {
    return make(run, (nlm_jinja_string){.data = text, .length = strlen(text), .mark = mark});
}

nlm_jinja_value nlm_jinja_string_new(nlm_jinja_run *run, const char *data, size_t length, uint8_t mark) {
    char *copy = nlm_jinja_alloc(run, length, 1);
    if (copy && length) memcpy(copy, data, length);
    return make(run, (nlm_jinja_string){.data = copy ? copy : "", .length = copy ? length : 0, .mark = mark});
}

static nlm_jinja_string string_of(nlm_jinja_text *text) {
    const bool is_mixed = (text->seen & (text->seen - 1)) != 0;
    return (nlm_jinja_string){.data = text->data ? text->data : "",
                              .length = text->length,
                              .marks = is_mixed ? text->marks : NULL,
                              .end = text,
                              .mark = text->length ? text->marks[0] : NLM_JINJA_TEMPLATE};
}

nlm_jinja_value nlm_jinja_finish(nlm_jinja_run *run, nlm_jinja_text *text) {
    nlm_jinja_string string = string_of(text);
    string.end = NULL; /* the text may not live as long */
    return make(run, string);
}

nlm_jinja_value nlm_jinja_part(nlm_jinja_run *run, const nlm_jinja_string *string, size_t from, size_t to) {
    if (from == 0 && to == string->length) return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = string};
    return make(run, (nlm_jinja_string){.data = string->data + from,
                                        .length = to - from,
                                        .marks = string->marks ? string->marks + from : NULL,
                                        .mark = string->mark,
                                        .is_markup = string->is_markup});
}

/* A string that is the end of the text that it was made in grows in place: templates gather long texts so. */
nlm_jinja_value nlm_jinja_concat(nlm_jinja_run *run, const nlm_jinja_string *a, const nlm_jinja_string *b) {
    if (a->length == 0) return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = b};
    if (b->length == 0) return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = a};
    nlm_jinja_text *text = a->end;
    if (!text || a->data + a->length != text->data + text->length) {
        text = nlm_jinja_alloc(run, 1, sizeof *text);
        if (!text) return nlm_jinja_undefined(NULL);
        nlm_jinja_add_string(run, text, a);
    }
    const size_t before = text->length - a->length;
    nlm_jinja_add_string(run, text, b);
    nlm_jinja_string string = string_of(text);
    string.data += before;
    string.length -= before;
    if (string.marks) string.marks += before;
    return make(run, string);
}

size_t nlm_jinja_count_characters(const char *data, size_t length) {
    size_t count = 0, bytes;
    for (size_t at = 0; at < length; at += bytes, count++) nlm_utf8_next(data + at, length - at, &bytes);
    return count;
}

size_t nlm_jinja_byte_of(const nlm_jinja_string *string, size_t index) {
    size_t at = 0, bytes;
    for (; index > 0 && at < string->length; index--, at += bytes) {
        nlm_utf8_next(string->data + at, string->length - at, &bytes);
    }
    return at;
}

/* ---- looking and cutting ------------------------------------------------------------------ */

bool nlm_jinja_is_blank(uint32_t code) {
    return (code >= '\t' && code <= '\r') || (code >= 0x1C && code <= ' ') || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
           code == 0x202F || code == 0x205F || code == 0x3000;
}

static bool is_in_set(uint32_t code, const nlm_jinja_string *set) {
    if (!set) return nlm_jinja_is_blank(code);
    size_t bytes;
    for (size_t at = 0; at < set->length; at += bytes) {
        if (nlm_utf8_next(set->data + at, set->length - at, &bytes) == code) return true;
    }
    return false;
}

nlm_jinja_value nlm_jinja_strip(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *set,
                                bool at_start, bool at_end) {
    size_t first = string->length, end = 0, bytes;
    const size_t per_character = 1 + (set ? set->length : 0);
    if (!nlm_jinja_spend(run, string->length / STEP_BYTES * per_character)) return nlm_jinja_undefined(NULL);
    for (size_t at = 0; at < string->length; at += bytes) {
        if (is_in_set(nlm_utf8_next(string->data + at, string->length - at, &bytes), set)) continue;
        if (first == string->length) first = at;
        end = at + bytes;
    }
    if (end == 0) return nlm_jinja_part(run, string, 0, 0);
    return nlm_jinja_part(run, string, at_start ? first : 0, at_end ? end : string->length);
}

size_t nlm_jinja_find(const nlm_jinja_string *string, size_t from, size_t to, const nlm_jinja_string *part,
                      bool is_last) {
    if (from > to || part->length > to - from) return SIZE_MAX;
    if (!is_last) {
        const char *found =
            part->length ? memmem(string->data + from, to - from, part->data, part->length) : string->data + from;
        return found ? (size_t)(found - string->data) : SIZE_MAX;
    }
    for (size_t at = to - part->length + 1; at-- > from;) {
        if (memcmp(string->data + at, part->data, part->length) == 0) return at;
    }
    return SIZE_MAX;
}

nlm_jinja_value nlm_jinja_escape(nlm_jinja_run *run, const nlm_jinja_string *string) {
    static const char plain[] = "&<>\"'";
    static const char *const escaped[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    nlm_jinja_text text = {0};
    for (size_t i = 0; i < string->length && !nlm_jinja_has_failed(run); i++) {
        const char *found = string->data[i] ? strchr(plain, string->data[i]) : NULL;
        if (found) {
            nlm_jinja_add_text(run, &text, escaped[found - plain], nlm_jinja_mark_at(string, i));
        } else {
            nlm_jinja_add_part(run, &text, string, i, i + 1);
        }
    }
    const nlm_jinja_value made = nlm_jinja_finish(run, &text);
    return nlm_jinja_markup(run, made.string);
}

nlm_jinja_value nlm_jinja_markup(nlm_jinja_run *run, const nlm_jinja_string *string) {
    nlm_jinja_string marked = *string;
    marked.is_markup = true;
    return make(run, marked);
}
