/* What filters and methods of chat templates both do with strings. */
#include <string.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

const char *nlm_jinja_name(nlm_jinja_run *run, const nlm_jinja_string *string) {
    char *name = nlm_jinja_alloc(run, string->length + 1, 1);
    if (!name || memchr(string->data, 0, string->length)) return "";
    memcpy(name, string->data, string->length);
    return name;
}

static bool ends_line(uint32_t code) {
    return (code >= '\n' && code <= '\r') || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
           code == 0x2029;
}

nlm_jinja_value nlm_jinja_split_lines(nlm_jinja_run *run, const nlm_jinja_string *string, bool keeps_ends) {
    const nlm_jinja_value lines = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    size_t begin = 0, bytes;
    for (size_t at = 0; at < string->length && !nlm_jinja_has_failed(run); at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        if (!ends_line(code)) continue;
        if (code == '\r' && at + 1 < string->length && string->data[at + 1] == '\n') bytes = 2;
        nlm_jinja_push(run, lines, nlm_jinja_part(run, string, begin, keeps_ends ? at + bytes : at));
        begin = at + bytes;
    }
    if (begin < string->length) nlm_jinja_push(run, lines, nlm_jinja_part(run, string, begin, string->length));
    return lines;
}

/* An empty `old` stands before each character and at the end. */
static nlm_jinja_value put_between(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *with,
                                   int64_t most) {
    nlm_jinja_text text = {0};
    size_t bytes;
    for (size_t at = 0; !nlm_jinja_has_failed(run); at += bytes) {
        if (most-- != 0) nlm_jinja_add_string(run, &text, with);
        if (at >= string->length) break;
        nlm_utf8_next(string->data + at, string->length - at, &bytes);
        nlm_jinja_add_part(run, &text, string, at, at + bytes);
    }
    return nlm_jinja_finish(run, &text);
}

nlm_jinja_value nlm_jinja_replace(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *old,
                                  const nlm_jinja_string *with, int64_t most) {
    if (old->length == 0) return put_between(run, string, with, most);
    nlm_jinja_text text = {0};
    size_t at = 0;
    while (most-- != 0 && nlm_jinja_spend(run, 1)) {
        const size_t found = nlm_jinja_find(string, at, string->length, old, false);
        if (found == SIZE_MAX) break;
        nlm_jinja_add_part(run, &text, string, at, found);
        nlm_jinja_add_string(run, &text, with);
        at = found + old->length;
    }
    if (at == 0) return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = string};
    nlm_jinja_add_part(run, &text, string, at, string->length);
    return nlm_jinja_finish(run, &text);
}

nlm_jinja_value nlm_jinja_join(nlm_jinja_run *run, const nlm_jinja_string *separator,
                               const nlm_jinja_sequence *items) {
    nlm_jinja_text text = {0};
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        if (i > 0) nlm_jinja_add_string(run, &text, separator);
        nlm_jinja_add_string(run, &text, nlm_jinja_str(run, items->items[i]));
    }
    return nlm_jinja_finish(run, &text);
}
