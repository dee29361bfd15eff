/* Values, keys and commas. */
#include "nlm-server/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

json_out json_begin(nlm_str *text) {
    return (json_out){.text = text};
}

static void put_text(nlm_str *out, const char *text, size_t length) {
    size_t from = 0;
    nlm_str_append(out, "\"", 1);
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        const bool is_plain = code >= 0x20 && code != '"' && code != '\\' && code != 0x7F && code < NLM_UTF8_INVALID;
        if (is_plain) continue;
        nlm_str_append(out, text + from, at - from);
        from = at + bytes;
        switch (code) {
            case '"': nlm_str_append(out, "\\\"", 2); break;
            case '\\': nlm_str_append(out, "\\\\", 2); break;
            case '\n': nlm_str_append(out, "\\n", 2); break;
            case '\r': nlm_str_append(out, "\\r", 2); break;
            case '\t': nlm_str_append(out, "\\t", 2); break;
            default: nlm_str_printf(out, "\\u%04x", code < NLM_UTF8_INVALID ? code : 0xFFFD); break;
        }
    }
    nlm_str_append(out, text + from, length - from);
    nlm_str_append(out, "\"", 1);
}

static void begin_value(json_out *j, const char *key) {
    const uint64_t bit = UINT64_C(1) << j->depth;
    if (j->depth > 0 && (j->has_item & bit)) nlm_str_append(j->text, ",", 1);
    j->has_item |= bit;
    if (!key) return;
    put_text(j->text, key, strlen(key));
    nlm_str_append(j->text, ":", 1);
}

static void open_level(json_out *j, const char *key, const char *brace) {
    begin_value(j, key);
    nlm_str_append(j->text, brace, 1);
    if (j->depth < 63) j->depth++;
    j->has_item &= ~(UINT64_C(1) << j->depth);
}

static void close_level(json_out *j, const char *brace) {
    nlm_str_append(j->text, brace, 1);
    if (j->depth > 0) j->depth--;
}

void json_object(json_out *j, const char *key) {
    open_level(j, key, "{");
}

void json_array(json_out *j, const char *key) {
    open_level(j, key, "[");
}

void json_end_object(json_out *j) {
    close_level(j, "}");
}

void json_end_array(json_out *j) {
    close_level(j, "]");
}

void json_bytes(json_out *j, const char *key, const char *text, size_t length) {
    begin_value(j, key);
    put_text(j->text, text ? text : "", text ? length : 0);
}

void json_string(json_out *j, const char *key, const char *text) {
    json_bytes(j, key, text, strlen(text));
}

void json_raw(json_out *j, const char *key, const char *text) {
    begin_value(j, key);
    nlm_str_puts(j->text, text);
}

void json_u64(json_out *j, const char *key, uint64_t value) {
    begin_value(j, key);
    nlm_str_printf(j->text, "%" PRIu64, value);
}

void json_i64(json_out *j, const char *key, int64_t value) {
    begin_value(j, key);
    nlm_str_printf(j->text, "%" PRId64, value);
}

void json_f64(json_out *j, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    json_raw(j, key, isfinite(value) ? text : "null");
}

void json_bool(json_out *j, const char *key, bool value) {
    json_raw(j, key, value ? "true" : "false");
}

void json_null(json_out *j, const char *key) {
    json_raw(j, key, "null");
}
