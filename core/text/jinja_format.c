/* "..." % values and "...".format(...) in chat templates: the forms of Python's that they use. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

#define WIDTH_MAX 1000

/* How one value is to be written. */
typedef struct spec {
    char fill[4];
    size_t fill_bytes;
    char align; /* '<', '>', '^'; 0: by the value */
    char sign;  /* '+', ' ', or 0 */
    bool is_grouped;
    int width, precision; /* -1: none */
    char type;            /* 0: by the value */
} spec;

/* A text under way, read from left to right. */
typedef struct reader {
    const nlm_jinja_string *format;
    size_t at;
} reader;

static char peek(const reader *r) {
    return r->at < r->format->length ? r->format->data[r->at] : 0;
}

static int read_number(reader *r) {
    int number = -1;
    for (; peek(r) >= '0' && peek(r) <= '9'; r->at++) {
        number = (number < 0 ? 0 : number) * 10 + (peek(r) - '0');
        if (number > WIDTH_MAX) number = WIDTH_MAX;
    }
    return number;
}

static void add_grouped(char *out, const char *digits) {
    const size_t whole = strcspn(digits, ".e");
    size_t n = 0;
    for (size_t i = 0; digits[i]; i++) {
        out[n++] = digits[i];
        if (i + 1 < whole && digits[i] != '-' && digits[i] != '+' && (whole - i - 1) % 3 == 0) out[n++] = ',';
    }
    out[n] = 0;
}

static bool write_number(nlm_jinja_run *run, const spec *s, nlm_jinja_value value, char *out, size_t capacity) {
    char pattern[16], text[WIDTH_MAX + 400];
    const int precision = s->precision < 0 ? 6 : s->precision;
    const char *sign = s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
    int64_t integer;
    if (strchr("feEgG%F", s->type) && s->type) {
        const double number = nlm_jinja_number(value) * (s->type == '%' ? 100 : 1);
        snprintf(pattern, sizeof pattern, "%%%s.*%c", sign, s->type == '%' ? 'f' : s->type);
        snprintf(text, sizeof text, pattern, precision, number);
        if (s->type == '%') strncat(text, "%", 2);
    } else if (nlm_jinja_as_int(value, &integer)) {
        const char *kind = s->type == 'x' ? PRIx64 : s->type == 'X' ? PRIX64 : s->type == 'o' ? PRIo64 : PRId64;
        snprintf(pattern, sizeof pattern, "%%%s%s", sign, kind);
        snprintf(text, sizeof text, pattern, integer);
    } else if (value.type == NLM_JINJA_FLOAT && (s->type == 'd' || s->type == 'i')) {
        if (!isfinite(value.number)) {
            nlm_jinja_fail(run, "%%%c format: %s is no integer", s->type, isnan(value.number) ? "NaN" : "infinity");
            return false;
        }
        snprintf(pattern, sizeof pattern, "%%%s.0f", sign);
        snprintf(text, sizeof text, pattern, trunc(value.number) + 0.0); /* -0 becomes 0 */
    } else if (value.type == NLM_JINJA_FLOAT) {
        nlm_jinja_print_float(text, sizeof text, value.number);
    } else {
        nlm_jinja_fail(run, "%%%c format: a real number is required, not %s", s->type, nlm_jinja_type_name(value));
        return false;
    }
    if (capacity < 2 * sizeof text) return false;
    if (s->is_grouped) {
        add_grouped(out, text);
    } else {
        memcpy(out, text, strlen(text) + 1);
    }
    return true;
}

/* Fills up to the width. */
static void add_padded(nlm_jinja_run *run, nlm_jinja_text *text, const spec *s, const nlm_jinja_string *value,
                       char align, uint8_t mark) {
    const size_t length = nlm_jinja_count_characters(value->data, value->length);
    const size_t fill = s->width > 0 && (size_t)s->width > length ? (size_t)s->width - length : 0;
    const size_t before = align == '>' ? fill : align == '^' ? fill / 2 : 0;
    for (size_t i = 0; i < before; i++) nlm_jinja_add(run, text, s->fill, s->fill_bytes, mark);
    nlm_jinja_add_string(run, text, value);
    for (size_t i = before; i < fill; i++) nlm_jinja_add(run, text, s->fill, s->fill_bytes, mark);
}

static void add_formatted(nlm_jinja_run *run, nlm_jinja_text *text, const spec *s, nlm_jinja_value value,
                          uint8_t mark) {
    char out[2 * (WIDTH_MAX + 400)];
    const bool is_text = s->type == 's' || s->type == 'r' || (s->type == 0 && !nlm_jinja_is_number(value)) ||
                         (s->type == 0 && value.type == NLM_JINJA_BOOL);
    if (!is_text) {
        if (!write_number(run, s, value, out, sizeof out)) return;
        const nlm_jinja_string number = {.data = out, .length = strlen(out), .mark = NLM_JINJA_TEMPLATE};
        const size_t sign = s->fill[0] == '0' && strchr("+- ", out[0]) ? 1 : 0;
        if (sign) { /* zeros stand behind it */
            spec rest = *s;
            rest.width--;
            const nlm_jinja_string digits = {.data = out + 1, .length = number.length - 1};
            nlm_jinja_add(run, text, out, 1, NLM_JINJA_TEMPLATE);
            add_padded(run, text, &rest, &digits, '>', mark);
            return;
        }
        add_padded(run, text, s, &number, s->align ? s->align : '>', mark);
        return;
    }
    nlm_jinja_text repr = {0};
    if (s->type == 'r') nlm_jinja_repr(run, &repr, value);
    const nlm_jinja_string *string =
        s->type == 'r' ? nlm_jinja_str(run, nlm_jinja_finish(run, &repr)) : nlm_jinja_str(run, value);
    if (s->precision >= 0) {
        string = nlm_jinja_str(run, nlm_jinja_part(run, string, 0, nlm_jinja_byte_of(string, (size_t)s->precision)));
    }
    add_padded(run, text, s, string, s->align ? s->align : '<', mark);
}

/* ---- % ------------------------------------------------------------------------------------ */

/* The values of a tuple, or the one that is none. */
typedef struct supply {
    nlm_jinja_value values;
    size_t used;
} supply;

static nlm_jinja_value next_value(nlm_jinja_run *run, supply *s) {
    const bool is_tuple = s->values.type == NLM_JINJA_SEQUENCE && s->values.sequence->kind == NLM_JINJA_TUPLE;
    const size_t count = is_tuple ? s->values.sequence->count : 1;
    if (s->used >= count) return nlm_jinja_fail(run, "not enough arguments for format string");
    s->used++;
    return is_tuple ? s->values.sequence->items[s->used - 1] : s->values;
}

static nlm_jinja_value named_value(nlm_jinja_run *run, reader *r, supply *s) {
    const size_t from = ++r->at;
    while (peek(r) != ')' && r->at < r->format->length) r->at++;
    const nlm_jinja_value name = nlm_jinja_part(run, r->format, from, r->at++);
    if (s->values.type != NLM_JINJA_DICT) return nlm_jinja_fail(run, "format requires a mapping");
    const nlm_jinja_value *found = nlm_jinja_find_key(run, s->values.dict, name);
    return found ? *found : nlm_jinja_fail(run, "a format names a key that is not there");
}

static void convert(nlm_jinja_run *run, reader *r, supply *values, nlm_jinja_text *text, uint8_t mark) {
    spec s = {.fill = " ", .fill_bytes = 1, .align = '>'};
    nlm_jinja_value value = {0};
    if (peek(r) == '(') value = named_value(run, r, values);
    for (; peek(r) && strchr("-+ 0#", peek(r)); r->at++) {
        if (peek(r) == '-') s.align = '<';
        if (peek(r) == '0') s.fill[0] = '0';
        if (peek(r) == '+' || peek(r) == ' ') s.sign = peek(r);
    }
    s.width = read_number(r);
    s.precision = -1;
    if (peek(r) == '.') {
        r->at++;
        s.precision = read_number(r);
        if (s.precision < 0) s.precision = 0;
    }
    s.type = peek(r);
    r->at++;
    if (s.type == '%') {
        nlm_jinja_add(run, text, "%", 1, mark);
        return;
    }
    if (s.type == 0 || !strchr("sdiuxXofeEgGFr", s.type)) {
        nlm_jinja_fail(run, "unsupported format character '%c'", s.type ? s.type : ' ');
        return;
    }
    if (value.type == NLM_JINJA_ABSENT) value = next_value(run, values);
    if (nlm_jinja_has_failed(run)) return;
    if (s.type != 's' && s.type != 'r' && !nlm_jinja_is_number(value)) {
        nlm_jinja_fail(run, "%%%c format: a real number is required, not %s", s.type, nlm_jinja_type_name(value));
        return;
    }
    if (s.type == 's' || s.type == 'r') s.fill[0] = ' ';
    add_formatted(run, text, &s, value, mark);
}

nlm_jinja_value nlm_jinja_percent(nlm_jinja_run *run, const nlm_jinja_string *format, nlm_jinja_value values) {
    nlm_jinja_text text = {0};
    reader r = {format, 0};
    supply given = {values, 0};
    while (r.at < format->length && !nlm_jinja_has_failed(run)) {
        const char *found = memchr(format->data + r.at, '%', format->length - r.at);
        const size_t to = found ? (size_t)(found - format->data) : format->length;
        nlm_jinja_add_part(run, &text, format, r.at, to);
        r.at = to + 1;
        if (found) convert(run, &r, &given, &text, nlm_jinja_mark_at(format, to));
    }
    const bool is_tuple = values.type == NLM_JINJA_SEQUENCE && values.sequence->kind == NLM_JINJA_TUPLE;
    const bool is_left = is_tuple
                             ? given.used < values.sequence->count
                             : given.used == 0 && values.type != NLM_JINJA_DICT && values.type != NLM_JINJA_SEQUENCE;
    if (is_left) return nlm_jinja_fail(run, "not all arguments converted during string formatting");
    return nlm_jinja_finish(run, &text);
}

/* ---- format() ----------------------------------------------------------------------------- */

static bool is_alignment(char c) {
    return c == '<' || c == '>' || c == '^';
}

static spec read_spec(reader *r) {
    spec s = {.fill = " ", .fill_bytes = 1, .precision = -1};
    size_t bytes = 1;
    if (r->at < r->format->length) nlm_utf8_next(r->format->data + r->at, r->format->length - r->at, &bytes);
    if (r->at + bytes < r->format->length && is_alignment(r->format->data[r->at + bytes])) {
        memcpy(s.fill, r->format->data + r->at, bytes);
        s.fill_bytes = bytes;
        r->at += bytes;
    }
    if (is_alignment(peek(r))) s.align = r->format->data[r->at++];
    if (peek(r) == '+' || peek(r) == '-' || peek(r) == ' ') s.sign = r->format->data[r->at++];
    if (s.sign == '-') s.sign = 0;
    if (peek(r) == '0' && !s.align) s.fill[0] = '0';
    s.width = read_number(r);
    if (peek(r) == ',') {
        s.is_grouped = true;
        r->at++;
    }
    if (peek(r) == '.') {
        r->at++;
        s.precision = read_number(r);
    }
    if (peek(r) && strchr("sdxXofeEgGF%", peek(r))) s.type = r->format->data[r->at++];
    return s;
}

/* The value that a field names: by number, by name, or the next; then .attributes and [items] of it. */
static nlm_jinja_value field_value(nlm_jinja_run *run, reader *r, const nlm_jinja_args *args, size_t *next) {
    const size_t from = r->at;
    const int number = read_number(r);
    nlm_jinja_value value = {0};
    while (peek(r) && !strchr(".[]:!}", peek(r))) r->at++;
    if (number >= 0 || from == r->at) {
        const size_t at = number >= 0 ? (size_t)number : (*next)++;
        if (at < args->count) value = args->items[at];
    } else {
        const nlm_jinja_value name = nlm_jinja_part(run, r->format, from, r->at);
        for (size_t i = 0; i < args->n_named; i++) {
            if (nlm_jinja_is_named(name, args->named[i].name)) value = args->named[i].value;
        }
    }
    if (value.type == NLM_JINJA_ABSENT) return nlm_jinja_fail(run, "a format names a value that is not given");
    while ((peek(r) == '.' || peek(r) == '[') && !nlm_jinja_has_failed(run)) {
        const size_t begin = ++r->at;
        while (peek(r) && !strchr(".[]:!}", peek(r))) r->at++;
        value = nlm_jinja_path(run, value, nlm_jinja_part(run, r->format, begin, r->at));
        if (peek(r) == ']') r->at++;
    }
    return value;
}

static void add_field(nlm_jinja_run *run, reader *r, const nlm_jinja_args *args, size_t *next, nlm_jinja_text *text,
                      uint8_t mark) {
    spec s = {.fill = " ", .fill_bytes = 1, .precision = -1, .width = -1};
    const nlm_jinja_value value = field_value(run, r, args, next);
    char as = 0;
    if (peek(r) == '!') {
        as = r->at + 1 < r->format->length ? r->format->data[r->at + 1] : 0;
        r->at += 2;
    }
    if (peek(r) == ':') {
        r->at++;
        s = read_spec(r);
    }
    if (as == 'r' || as == 's') s.type = as;
    if (nlm_jinja_has_failed(run)) return;
    if (peek(r) != '}') {
        nlm_jinja_fail(run, "a format has a field that is not understood");
        return;
    }
    r->at++;
    add_formatted(run, text, &s, value, mark);
}

nlm_jinja_value nlm_jinja_format(nlm_jinja_run *run, nlm_jinja_call *call) {
    nlm_jinja_text text = {0};
    const nlm_jinja_string *format = call->self.string;
    reader r = {format, 0};
    size_t next = 0;
    while (r.at < format->length && !nlm_jinja_has_failed(run)) {
        const char c = peek(&r);
        const bool is_double = r.at + 1 < format->length && format->data[r.at + 1] == c;
        if ((c == '{' || c == '}') && is_double) {
            nlm_jinja_add_part(run, &text, format, r.at, r.at + 1);
            r.at += 2;
        } else if (c == '{') {
            r.at++;
            add_field(run, &r, call->all, &next, &text, nlm_jinja_mark_at(format, r.at - 1));
        } else if (c == '}') {
            return nlm_jinja_fail(run, "Single '}' encountered in format string");
        } else {
            nlm_jinja_add_part(run, &text, format, r.at, r.at + 1);
            r.at++;
        }
    }
    return nlm_jinja_finish(run, &text);
}
