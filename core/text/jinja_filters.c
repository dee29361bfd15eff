/* Filters of chat templates: on texts, numbers and any value. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

#define FILTER(name) static nlm_jinja_value name(nlm_jinja_run *run, nlm_jinja_call *call)

static bool is_given(nlm_jinja_value value) {
    return value.type != NLM_JINJA_ABSENT && value.type != NLM_JINJA_NONE;
}

static const nlm_jinja_string *text_of(nlm_jinja_run *run, const nlm_jinja_call *call) {
    return nlm_jinja_str(run, call->self);
}

static nlm_jinja_value string_value(const nlm_jinja_string *string) {
    return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = string};
}

/* ---- texts -------------------------------------------------------------------------------- */

FILTER(to_string) {
    return string_value(text_of(run, call));
}
FILTER(to_safe) {
    return nlm_jinja_markup(run, text_of(run, call));
}
FILTER(to_escaped) {
    const nlm_jinja_string *text = text_of(run, call);
    return text->is_markup ? string_value(text) : nlm_jinja_escape(run, text);
}
FILTER(to_lower) {
    return nlm_jinja_recase(run, text_of(run, call), NLM_JINJA_LOWER);
}
FILTER(to_upper) {
    return nlm_jinja_recase(run, text_of(run, call), NLM_JINJA_UPPER);
}
FILTER(to_title) {
    return nlm_jinja_recase(run, text_of(run, call), NLM_JINJA_TITLE_WORDS);
}
FILTER(to_capitalized) {
    return nlm_jinja_recase(run, text_of(run, call), NLM_JINJA_CAPITALIZE);
}

FILTER(trim) {
    const nlm_jinja_string *set =
        is_given(call->a[0]) ? nlm_jinja_need_string(run, call->a[0], "trim's chars") : NULL;
    return nlm_jinja_strip(run, text_of(run, call), set, true, true);
}

FILTER(replace) {
    const int64_t most = is_given(call->a[2]) ? nlm_jinja_need_int(run, call->a[2], "replace's count") : -1;
    return nlm_jinja_replace(run, text_of(run, call), nlm_jinja_str(run, call->a[0]), nlm_jinja_str(run, call->a[1]),
                             most);
}

FILTER(format) {
    if (call->all->n_named == 0) {
        nlm_jinja_value values = nlm_jinja_sequence_new(run, NLM_JINJA_TUPLE);
        for (size_t i = 0; i < call->all->count; i++) nlm_jinja_push(run, values, call->all->items[i]);
        return nlm_jinja_percent(run, text_of(run, call), values);
    }
    if (call->all->count > 0) return nlm_jinja_fail(run, "can't handle positional and keyword arguments at once");
    const nlm_jinja_value named = nlm_jinja_dict_new(run);
    for (size_t i = 0; i < call->all->n_named; i++) {
        nlm_jinja_put_named(run, named, call->all->named[i].name, call->all->named[i].value);
    }
    return nlm_jinja_percent(run, text_of(run, call), named);
}

static const nlm_jinja_string *indentation(nlm_jinja_run *run, nlm_jinja_value width) {
    if (width.type == NLM_JINJA_STRING) return width.string;
    if (width.type == NLM_JINJA_ABSENT) width = nlm_jinja_int(4);
    const nlm_jinja_value space = nlm_jinja_string_static(run, " ", NLM_JINJA_TEMPLATE);
    return nlm_jinja_str(run, nlm_jinja_arithmetic(run, NLM_JINJA_STAR, space, width));
}

/* The lines but the first, and empty ones if `blank`, begin with blanks; the first too if `first`. */
FILTER(indent) {
    static const nlm_jinja_string newline = {.data = "\n", .length = 1};
    const nlm_jinja_string *blanks = indentation(run, call->a[0]);
    const bool has_first = nlm_jinja_truth(run, call->a[1]), has_empty = nlm_jinja_truth(run, call->a[2]);
    const nlm_jinja_value ended = nlm_jinja_concat(run, text_of(run, call), &newline);
    const nlm_jinja_sequence *lines =
        nlm_jinja_iterate(run, nlm_jinja_split_lines(run, nlm_jinja_str(run, ended), false));
    nlm_jinja_text text = {0};
    for (size_t i = 0; i < lines->count && !nlm_jinja_has_failed(run); i++) {
        const nlm_jinja_string *line = lines->items[i].string;
        if (i > 0) nlm_jinja_add_string(run, &text, &newline);
        if (i == 0 ? has_first : has_empty || line->length > 0) nlm_jinja_add_string(run, &text, blanks);
        nlm_jinja_add_string(run, &text, line);
    }
    return nlm_jinja_finish(run, &text);
}

FILTER(count_words) {
    const nlm_jinja_string *text = text_of(run, call);
    int64_t count = 0;
    bool is_word = false;
    size_t bytes;
    for (size_t at = 0; at < text->length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text->data + at, text->length - at, &bytes);
        const bool was_word = is_word;
        is_word = code == '_';
        if (code < NLM_UTF8_INVALID) {
            const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
            is_word = is_word || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
                      (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
        }
        count += is_word && !was_word;
    }
    return nlm_jinja_int(count);
}

/* ---- numbers ------------------------------------------------------------------------------ */

/* A number that the whole text is, blanks around it and '_' between digits aside. */
static bool read_number(nlm_jinja_run *run, const nlm_jinja_string *string, int base, nlm_jinja_value *out) {
    char text[400], *end;
    size_t n = 0;
    const nlm_jinja_string *bare = nlm_jinja_str(run, nlm_jinja_strip(run, string, NULL, true, true));
    for (size_t i = 0; i < bare->length && n + 1 < sizeof text; i++) {
        const bool is_between = i > 0 && i + 1 < bare->length && bare->data[i - 1] != '_';
        if (bare->data[i] != '_' || !is_between) text[n++] = bare->data[i];
    }
    text[n] = 0;
    if (n == 0 || bare->length >= sizeof text || strlen(text) != n) return false;
    if (base > 0) {
        errno = 0;
        *out = nlm_jinja_int(strtoll(text, &end, base));
        return *end == 0 && errno == 0;
    }
    if (strpbrk(text, "xXpP(")) return false; /* C's, not Python's */
    *out = nlm_jinja_float(strtod(text, &end));
    return *end == 0;
}

static nlm_jinja_value truncated(double number, nlm_jinja_value otherwise) {
    const bool fits = number > -9.2e18 && number < 9.2e18;
    return fits ? nlm_jinja_int((int64_t)number) : otherwise;
}

FILTER(to_int) {
    const nlm_jinja_value otherwise = call->a[0].type == NLM_JINJA_ABSENT ? nlm_jinja_int(0) : call->a[0];
    int64_t base = 10, whole;
    nlm_jinja_value number;
    if (call->a[1].type != NLM_JINJA_ABSENT) base = nlm_jinja_need_int(run, call->a[1], "int's base");
    if (base < 2 || base > 36) return nlm_jinja_fail(run, "int() base must be >= 2 and <= 36");
    if (nlm_jinja_as_int(call->self, &whole)) return nlm_jinja_int(whole);
    if (call->self.type == NLM_JINJA_FLOAT) return truncated(call->self.number, otherwise);
    if (call->self.type == NLM_JINJA_UNDEFINED)
        return nlm_jinja_fail(run, "%s", call->self.why ? call->self.why : "");
    if (call->self.type != NLM_JINJA_STRING) return otherwise;
    if (read_number(run, call->self.string, (int)base, &number)) return number;
    if (read_number(run, call->self.string, 0, &number)) return truncated(number.number, otherwise);
    return otherwise;
}

FILTER(to_float) {
    const nlm_jinja_value otherwise = call->a[0].type == NLM_JINJA_ABSENT ? nlm_jinja_float(0) : call->a[0];
    nlm_jinja_value number;
    if (nlm_jinja_is_number(call->self)) return nlm_jinja_float(nlm_jinja_number(call->self));
    if (call->self.type == NLM_JINJA_UNDEFINED)
        return nlm_jinja_fail(run, "%s", call->self.why ? call->self.why : "");
    if (call->self.type != NLM_JINJA_STRING) return otherwise;
    return read_number(run, call->self.string, 0, &number) ? number : otherwise;
}

FILTER(to_rounded) {
    const int64_t precision =
        call->a[0].type == NLM_JINJA_ABSENT ? 0 : nlm_jinja_need_int(run, call->a[0], "precision");
    const bool is_ceil = nlm_jinja_is_named(call->a[1], "ceil"), is_floor = nlm_jinja_is_named(call->a[1], "floor");
    char text[400];
    if (!nlm_jinja_is_number(call->self)) {
        return nlm_jinja_fail(run, "type %s doesn't define __round__ method", nlm_jinja_type_name(call->self));
    }
    if (call->a[1].type != NLM_JINJA_ABSENT && !is_ceil && !is_floor && !nlm_jinja_is_named(call->a[1], "common")) {
        return nlm_jinja_fail(run, "method must be common, ceil or floor");
    }
    const double number = nlm_jinja_number(call->self), scale = pow(10, (double)precision);
    if (is_ceil || is_floor) {
        return nlm_jinja_float((is_ceil ? ceil(number * scale) : floor(number * scale)) / scale);
    }
    if (call->self.type != NLM_JINJA_FLOAT && precision >= 0) return call->self;
    if (precision < 0 || precision > 300) return nlm_jinja_fail(run, "round takes 0 to 300 decimals");
    if (!isfinite(number) || fabs(number) > 1e90) return call->self;
    snprintf(text, sizeof text, "%.*f", (int)precision, number);
    return nlm_jinja_float(strtod(text, NULL));
}

FILTER(to_absolute) {
    const nlm_jinja_value value = call->self;
    if (value.type == NLM_JINJA_FLOAT) return nlm_jinja_float(fabs(value.number));
    if (!nlm_jinja_is_number(value)) {
        return nlm_jinja_fail(run, "bad operand type for abs(): '%s'", nlm_jinja_type_name(value));
    }
    return nlm_jinja_number(value) < 0 ? nlm_jinja_arithmetic(run, NLM_JINJA_MINUS, nlm_jinja_int(0), value)
                                       : nlm_jinja_arithmetic(run, NLM_JINJA_PLUS, nlm_jinja_int(0), value);
}

/* ---- any value ---------------------------------------------------------------------------- */

FILTER(or_default) {
    const bool is_missing = call->self.type == NLM_JINJA_UNDEFINED ||
                            (nlm_jinja_truth(run, call->a[1]) && !nlm_jinja_truth(run, call->self));
    if (!is_missing) return call->self;
    return call->a[0].type == NLM_JINJA_ABSENT ? nlm_jinja_string_static(run, "", NLM_JINJA_TEMPLATE) : call->a[0];
}

FILTER(length) {
    return nlm_jinja_int((int64_t)nlm_jinja_length(run, call->self));
}

FILTER(attribute) {
    return nlm_jinja_attribute(run, call->self,
                               nlm_jinja_name(run, nlm_jinja_need_string(run, call->a[0], "a name")));
}

static const nlm_jinja_entry entries[] = {
    {"abs", to_absolute, 0, {NULL}},
    {"attr", attribute, 1, {"name"}},
    {"capitalize", to_capitalized, 0, {NULL}},
    {"count", length, 0, {NULL}},
    {"d", or_default, 0, {"default_value", "boolean"}},
    {"default", or_default, 0, {"default_value", "boolean"}},
    {"e", to_escaped, 0, {NULL}},
    {"escape", to_escaped, 0, {NULL}},
    {"float", to_float, 0, {"default"}},
    {"format", format, 0, {"*"}},
    {"from_json", nlm_jinja_from_json, 0, {NULL}},
    {"indent", indent, 0, {"width", "first", "blank"}},
    {"int", to_int, 0, {"default", "base"}},
    {"length", length, 0, {NULL}},
    {"lower", to_lower, 0, {NULL}},
    {"replace", replace, 2, {"old", "new", "count"}},
    {"round", to_rounded, 0, {"precision", "method"}},
    {"safe", to_safe, 0, {NULL}},
    {"string", to_string, 0, {NULL}},
    {"title", to_title, 0, {NULL}},
    {"tojson", nlm_jinja_to_json, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", trim, 0, {"chars"}},
    {"upper", to_upper, 0, {NULL}},
    {"wordcount", count_words, 0, {NULL}},
};

static const nlm_jinja_entry *find(const nlm_jinja_entry *table, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

const nlm_jinja_entry *nlm_jinja_find_filter(const char *name) {
    const nlm_jinja_entry *found = find(entries, sizeof entries / sizeof *entries, name);
    return found ? found : find(nlm_jinja_list_filters, nlm_jinja_list_filter_count, name);
}
