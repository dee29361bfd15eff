/* The filters tojson, as transformers defines it, and from_json. */
#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "text/jinja_run.h"
#include "text/utf8.h"

/* How json.dumps was asked to write. */
typedef struct writer {
    nlm_jinja_run *run;
    nlm_jinja_text *text;
    const nlm_jinja_string *indent; /* of one level, or NULL */
    const nlm_jinja_string *between_items, *behind_keys;
    bool is_ascii, sorts_keys;
    size_t level;
} writer;

static void put(writer *w, const char *text) {
    nlm_jinja_add_text(w->run, w->text, text, NLM_JINJA_TEMPLATE);
}

static void escape(writer *w, uint32_t code, uint8_t mark) {
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    char text[16];
    const char *found = code > 0 && code < 0x80 ? strchr(escaped, (char)code) : NULL;
    if (found) {
        snprintf(text, sizeof text, "\\%c", letters[found - escaped]);
    } else if (code < 0x10000) {
        snprintf(text, sizeof text, "\\u%04" PRIx32, code);
    } else {
        const uint32_t low = code - 0x10000;
        snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + (low >> 10), 0xDC00 + (low & 0x3FF));
    }
    nlm_jinja_add_text(w->run, w->text, text, mark);
}

static void write_string(writer *w, const nlm_jinja_string *string) {
    size_t plain = 0, bytes;
    put(w, "\"");
    for (size_t at = 0; at < string->length && !nlm_jinja_has_failed(w->run); at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        const bool is_plain = code >= ' ' && code != '"' && code != '\\' && (code < 0x7F + 1u || !w->is_ascii);
        if (is_plain) continue;
        nlm_jinja_add_part(w->run, w->text, string, plain, at);
        escape(w, code < NLM_UTF8_INVALID ? code : 0xFFFD, nlm_jinja_mark_at(string, at));
        plain = at + bytes;
    }
    nlm_jinja_add_part(w->run, w->text, string, plain, string->length);
    put(w, "\"");
}

static void new_line(writer *w) {
    if (!w->indent) return;
    put(w, "\n");
    for (size_t i = 0; i < w->level && !nlm_jinja_has_failed(w->run); i++) {
        nlm_jinja_add_string(w->run, w->text, w->indent);
    }
}

static void write_value(writer *w, nlm_jinja_value value);

static void write_key(writer *w, nlm_jinja_value key) {
    if (key.type == NLM_JINJA_STRING) {
        write_string(w, key.string);
    } else if (key.type == NLM_JINJA_NONE || nlm_jinja_is_number(key)) {
        put(w, "\"");
        write_value(w, key);
        put(w, "\"");
    } else {
        nlm_jinja_fail(w->run, "keys must be str, int, float, bool or None, not %s", nlm_jinja_type_name(key));
    }
}

static void write_dict(writer *w, const nlm_jinja_dict *dict) {
    const nlm_jinja_pair *pairs = dict->pairs;
    if (w->sorts_keys) pairs = nlm_jinja_sort_pairs(w->run, dict, false, true, false);
    if (!pairs && dict->count) return;
    put(w, "{");
    w->level++;
    for (size_t i = 0; i < dict->count && !nlm_jinja_has_failed(w->run); i++) {
        if (i > 0) nlm_jinja_add_string(w->run, w->text, w->between_items);
        new_line(w);
        write_key(w, pairs[i].key);
        nlm_jinja_add_string(w->run, w->text, w->behind_keys);
        write_value(w, pairs[i].value);
    }
    w->level--;
    if (dict->count) new_line(w);
    put(w, "}");
}

static void write_list(writer *w, const nlm_jinja_sequence *list) {
    put(w, "[");
    w->level++;
    for (size_t i = 0; i < list->count && !nlm_jinja_has_failed(w->run); i++) {
        if (i > 0) nlm_jinja_add_string(w->run, w->text, w->between_items);
        new_line(w);
        write_value(w, list->items[i]);
    }
    w->level--;
    if (list->count) new_line(w);
    put(w, "]");
}

static void write_number(writer *w, nlm_jinja_value value) {
    char text[400];
    if (value.type == NLM_JINJA_INT) {
        snprintf(text, sizeof text, "%" PRId64, value.integer);
    } else if (isfinite(value.number)) {
        nlm_jinja_print_float(text, sizeof text, value.number);
    } else {
        snprintf(text, sizeof text, "%s", isnan(value.number) ? "NaN" : value.number < 0 ? "-Infinity" : "Infinity");
    }
    put(w, text);
}

static void write_inside(writer *w, nlm_jinja_value value) {
    switch (value.type) {
        case NLM_JINJA_STRING: write_string(w, value.string); return;
        case NLM_JINJA_DICT: write_dict(w, value.dict); return;
        case NLM_JINJA_NONE: put(w, "null"); return;
        case NLM_JINJA_BOOL: put(w, value.boolean ? "true" : "false"); return;
        case NLM_JINJA_INT:
        case NLM_JINJA_FLOAT: write_number(w, value); return;
        case NLM_JINJA_SEQUENCE:
            if (value.sequence->kind > NLM_JINJA_TUPLE) break;
            write_list(w, value.sequence);
            return;
        default: break;
    }
    nlm_jinja_fail(w->run, "Object of type %s is not JSON serializable", nlm_jinja_type_name(value));
}

static void write_value(writer *w, nlm_jinja_value value) {
    if (!nlm_jinja_enter(w->run)) return;
    write_inside(w, value);
    nlm_jinja_exit(w->run);
}

/* None is as good as not given. */
static bool is_given(nlm_jinja_value value) {
    return value.type != NLM_JINJA_ABSENT && value.type != NLM_JINJA_NONE;
}

static const nlm_jinja_string *read_indent(nlm_jinja_run *run, nlm_jinja_value value) {
    if (value.type == NLM_JINJA_STRING) return value.string;
    const nlm_jinja_value space = nlm_jinja_string_static(run, " ", NLM_JINJA_TEMPLATE);
    return nlm_jinja_str(run, nlm_jinja_arithmetic(run, NLM_JINJA_STAR, space, value));
}

nlm_jinja_value nlm_jinja_to_json(nlm_jinja_run *run, nlm_jinja_call *call) {
    static const nlm_jinja_string comma = {.data = ", ", .length = 2}, colon = {.data = ": ", .length = 2};
    static const nlm_jinja_string comma_alone = {.data = ",", .length = 1};
    nlm_jinja_text text = {0};
    writer w = {.run = run, .text = &text, .between_items = &comma, .behind_keys = &colon};
    w.is_ascii = nlm_jinja_truth(run, call->a[0]);
    w.sorts_keys = nlm_jinja_truth(run, call->a[3]);
    if (is_given(call->a[1])) {
        w.indent = read_indent(run, call->a[1]);
        w.between_items = &comma_alone;
    }
    if (is_given(call->a[2])) {
        const nlm_jinja_sequence *separators = nlm_jinja_iterate(run, call->a[2]);
        if (separators->count != 2) return nlm_jinja_fail(run, "separators are two strings");
        w.between_items = nlm_jinja_need_string(run, separators->items[0], "a separator");
        w.behind_keys = nlm_jinja_need_string(run, separators->items[1], "a separator");
    }
    write_value(&w, call->self);
    return nlm_jinja_finish(run, &text);
}

nlm_jinja_value nlm_jinja_from_json(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_string *text = nlm_jinja_need_string(run, call->self, "what from_json reads");
    nlm_error why = NLM_ERROR_INIT;
    cJSON *item = NULL;
    if (nlm_jinja_has_failed(run)) return nlm_jinja_undefined(NULL);
    uint8_t mark = NLM_JINJA_TEMPLATE;
    for (size_t i = 0; i < text->length; i++) {
        if (nlm_jinja_mark_at(text, i) > mark) mark = nlm_jinja_mark_at(text, i);
    }
    if (nlm_json_parse("from_json", text->data, text->length, &item, &why) != NLM_OK) {
        return nlm_jinja_fail(run, "from_json: %s", why.msg);
    }
    if (!nlm_json_keep_digits(item, text->data, text->length)) {
        cJSON_Delete(item);
        return nlm_jinja_fail(run, "from_json: no memory");
    }
    const nlm_jinja_value value = nlm_jinja_from_cjson(run, item, mark);
    cJSON_Delete(item);
    return value;
}
