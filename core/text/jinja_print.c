/* Values of chat templates as text: Python's str() and repr(). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

/* The fewest digits that read back as the number; an exponent from 1e16 and below 1e-4. */
void nlm_jinja_print_float(char *out, size_t capacity, double number) {
    char digits[40];
    if (isnan(number) || isinf(number)) {
        snprintf(out, capacity, "%s", isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do {
        snprintf(digits, sizeof digits, "%.*e", precision, number);
    } while (strtod(digits, NULL) != number && precision++ < 17);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, capacity, "%s", digits);
    } else {
        const int decimals = precision > exponent ? precision - exponent : 0;
        snprintf(out, capacity, decimals ? "%.*f" : "%.*f.0", decimals, number);
    }
}

/* ---- repr --------------------------------------------------------------------------------- */

static bool is_shown(uint32_t code) {
    if (code >= NLM_UTF8_INVALID) return false;
    if (code < 0x7F) return code >= ' ';
    switch (utf8proc_category((utf8proc_int32_t)code)) {
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_ZS: return false;
        default: return true;
    }
}

static void escape(char *out, size_t capacity, uint32_t code) {
    const char *const format = code < 0x100 ? "\\x%02" PRIx32 : code < 0x10000 ? "\\u%04" PRIx32 : "\\U%08" PRIx32;
    if (code >= NLM_UTF8_INVALID) {
        snprintf(out, capacity, "\\x%02" PRIx32, code - NLM_UTF8_INVALID);
    } else if (code == '\n' || code == '\r' || code == '\t') {
        snprintf(out, capacity, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    } else {
        snprintf(out, capacity, format, code);
    }
}

static void repr_string(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string) {
    const bool has_single = memchr(string->data, '\'', string->length) != NULL;
    const char quote = has_single && !memchr(string->data, '"', string->length) ? '"' : '\'';
    const uint8_t around = NLM_JINJA_TEMPLATE;
    size_t bytes;
    nlm_jinja_add(run, text, &quote, 1, around);
    for (size_t at = 0; at < string->length && !nlm_jinja_has_failed(run); at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        char escaped[16];
        if (code == '\\' || code == (uint32_t)quote) {
            nlm_jinja_add_text(run, text, "\\", nlm_jinja_mark_at(string, at));
        }
        if (is_shown(code)) {
            nlm_jinja_add_part(run, text, string, at, at + bytes);
        } else {
            escape(escaped, sizeof escaped, code);
            nlm_jinja_add_text(run, text, escaped, nlm_jinja_mark_at(string, at));
        }
    }
    nlm_jinja_add(run, text, &quote, 1, around);
}

static void repr_sequence(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_sequence *s) {
    static const char *const opens[] = {"[", "(", "range(", "dict_items([", "<generator object>"};
    static const char *const closes[] = {"]", ")", ")", "])", ""};
    const size_t count = s->kind == NLM_JINJA_GENERATOR ? 0 : s->count;
    nlm_jinja_add_text(run, text, opens[s->kind], NLM_JINJA_TEMPLATE);
    for (size_t i = 0; i < count && !nlm_jinja_has_failed(run); i++) {
        if (i > 0) nlm_jinja_add_text(run, text, ", ", NLM_JINJA_TEMPLATE);
        nlm_jinja_repr(run, text, s->items[i]);
    }
    if (s->kind == NLM_JINJA_TUPLE && count == 1) nlm_jinja_add_text(run, text, ",", NLM_JINJA_TEMPLATE);
    nlm_jinja_add_text(run, text, closes[s->kind], NLM_JINJA_TEMPLATE);
}

static void repr_dict(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_dict *dict) {
    nlm_jinja_add_text(run, text, "{", NLM_JINJA_TEMPLATE);
    for (size_t i = 0; i < dict->count && !nlm_jinja_has_failed(run); i++) {
        if (i > 0) nlm_jinja_add_text(run, text, ", ", NLM_JINJA_TEMPLATE);
        nlm_jinja_repr(run, text, dict->pairs[i].key);
        nlm_jinja_add_text(run, text, ": ", NLM_JINJA_TEMPLATE);
        nlm_jinja_repr(run, text, dict->pairs[i].value);
    }
    nlm_jinja_add_text(run, text, "}", NLM_JINJA_TEMPLATE);
}

static void repr_inside(nlm_jinja_run *run, nlm_jinja_text *text, nlm_jinja_value value) {
    char number[400]; /* 1e308 has 309 digits */
    const char *plain = number;
    switch (value.type) {
        case NLM_JINJA_STRING: repr_string(run, text, value.string); return;
        case NLM_JINJA_SEQUENCE: repr_sequence(run, text, value.sequence); return;
        case NLM_JINJA_DICT: repr_dict(run, text, value.dict); return;
        case NLM_JINJA_INT: snprintf(number, sizeof number, "%" PRId64, value.integer); break;
        case NLM_JINJA_FLOAT: nlm_jinja_print_float(number, sizeof number, value.number); break;
        case NLM_JINJA_BOOL: plain = value.boolean ? "True" : "False"; break;
        case NLM_JINJA_UNDEFINED: plain = "Undefined"; break;
        case NLM_JINJA_NAMESPACE: plain = "<Namespace>"; break;
        case NLM_JINJA_FUNCTION: plain = "<function>"; break;
        case NLM_JINJA_LOOP: plain = "<LoopContext>"; break;
        default: plain = "None"; break;
    }
    nlm_jinja_add_text(run, text, plain, NLM_JINJA_TEMPLATE);
}

void nlm_jinja_repr(nlm_jinja_run *run, nlm_jinja_text *text, nlm_jinja_value value) {
    if (!nlm_jinja_enter(run)) return;
    repr_inside(run, text, value);
    nlm_jinja_exit(run);
}

void nlm_jinja_print(nlm_jinja_run *run, nlm_jinja_text *text, nlm_jinja_value value) {
    if (value.type == NLM_JINJA_STRING) {
        nlm_jinja_add_string(run, text, value.string);
    } else if (value.type != NLM_JINJA_UNDEFINED && value.type != NLM_JINJA_ABSENT) {
        nlm_jinja_repr(run, text, value);
    }
}

const nlm_jinja_string *nlm_jinja_str(nlm_jinja_run *run, nlm_jinja_value value) {
    static const nlm_jinja_string empty = {.data = ""};
    if (value.type == NLM_JINJA_STRING) return value.string;
    nlm_jinja_text text = {0};
    nlm_jinja_print(run, &text, value);
    const nlm_jinja_value made = nlm_jinja_finish(run, &text);
    return made.type == NLM_JINJA_STRING ? made.string : &empty;
}
