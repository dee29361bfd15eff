/* What cJSON takes for granted of a text, and the spelling of strings. */
#include "format/json.h"

#include <cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/status.h"
#include "base/utf8.h"

static nlm_status bad_at(const char *name, size_t at, const char *what, nlm_error *err) {
    return nlm_fail(err, NLM_BAD_FORMAT, name, "%s at byte %zu of its JSON", what, at);
}

/* cJSON hands strings on as they come, and ends them at a NUL, spelt or not: two keys would become one. */
static nlm_status check_text(const char *name, const char *text, size_t length, nlm_error *err) {
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        if (code >= NLM_UTF8_INVALID) return bad_at(name, at, "there is no valid UTF-8", err);
        if (code < 0x20 && !strchr("\t\n\r", (int)code)) return bad_at(name, at, "there is a control character", err);
        if (code == 0) return bad_at(name, at, "there is a NUL", err);
        if (code != '\\') continue;
        if (length - at >= 6 && memcmp(text + at, "\\u0000", 6) == 0) {
            return bad_at(name, at, "a string holds a NUL", err);
        }
        bytes = length - at >= 2 ? 2 : 1; /* what is escaped begins nothing itself */
    }
    return NLM_OK;
}

/* How many arrays and objects are open behind so many bytes. */
static size_t depth_at(const char *text, size_t length) {
    size_t depth = 0;
    bool is_string = false;
    for (size_t i = 0; i < length; i++) {
        if (is_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            is_string = !is_string;
        else if (!is_string && (text[i] == '[' || text[i] == '{'))
            depth++;
        else if (!is_string && (text[i] == ']' || text[i] == '}') && depth > 0)
            depth--;
    }
    return depth;
}

static bool is_blank(const char *text, const char *end) {
    while (text < end && strchr(" \t\n\r", *text)) text++;
    return text == end;
}

nlm_status nlm_json_parse(const char *name, const char *text, size_t length, cJSON **out, nlm_error *err) {
    *out = NULL;
    NLM_TRY(check_text(name, text, length, err));
    /* Terminated, since cJSON may look at the byte behind the last. */
    char *copy = malloc(length + 1);
    if (!copy) return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory for %zu bytes of JSON", length);
    if (length > 0) memcpy(copy, text, length);
    copy[length] = '\0';
    const char *end = copy;
    cJSON *root = cJSON_ParseWithLengthOpts(copy, length + 1, &end, 0);
    const size_t at = (size_t)(end - copy);
    const bool is_whole = root && is_blank(end, copy + length);
    const bool is_deep = !root && depth_at(copy, at) >= CJSON_NESTING_LIMIT;
    free(copy);
    if (is_whole) {
        *out = root;
        return NLM_OK;
    }
    cJSON_Delete(root);
    return bad_at(name, at,
                  root      ? "something follows the value"
                  : is_deep ? "arrays and objects are nested too deep"
                            : "there is no valid JSON",
                  err);
}

nlm_status nlm_json_read(const char *path, size_t max_bytes, cJSON **out, nlm_error *err) {
    nlm_file_map map;
    *out = NULL;
    NLM_TRY(nlm_file_read(path, &map, err));
    const nlm_status status =
        map.size > max_bytes
            ? nlm_fail(err, NLM_LIMIT, path, "'%s' has %zu bytes; at most %zu are read", path, map.size, max_bytes)
            : nlm_json_parse(path, map.data ? map.data : "", map.size, out, err);
    nlm_file_map_close(&map);
    return status;
}

/* ---- digits ------------------------------------------------------------------------------- */

typedef struct span {
    const char *at, *end;
} span;

/* The next number of the text, of which *rest is what follows. */
static span next_number(span *rest) {
    const char *at = rest->at;
    for (bool is_string = false; at < rest->end; at++) {
        if (is_string && *at == '\\')
            at++;
        else if (*at == '"')
            is_string = !is_string;
        else if (!is_string && (*at == '-' || (*at >= '0' && *at <= '9')))
            break;
    }
    span number = {at < rest->end ? at : rest->end, rest->end};
    while (at < rest->end && *at && strchr("+-.eE0123456789", *at)) at++;
    rest->at = number.end = at < rest->end ? at : rest->end;
    return number;
}

/* cJSON writes 15 digits where these are the number, nearly. */
static bool loses_digits(span number, double value) {
    int n_digits = 0;
    for (const char *at = number.at; at < number.end && *at != 'e' && *at != 'E'; at++) {
        if (*at >= '0' && *at <= '9' && (n_digits || *at != '0')) n_digits++;
    }
    return n_digits > 15 || !isfinite(value);
}

/* Numbers stand in the text in the order of the tree. */
static bool keep_numbers(cJSON *item, span *rest) {
    if (cJSON_IsNumber(item)) {
        const span number = next_number(rest);
        if (!loses_digits(number, item->valuedouble)) return true;
        const size_t length = (size_t)(number.end - number.at);
        char *text = cJSON_malloc(length + 1);
        if (!text) return false;
        memcpy(text, number.at, length);
        text[length] = '\0';
        item->type = (item->type & ~0xFF) | cJSON_Raw;
        item->valuestring = text;
        return true;
    }
    for (cJSON *child = item->child; child; child = child->next) {
        if (!keep_numbers(child, rest)) return false;
    }
    return true;
}

/* 16 digits, or a number that is none for a double: without either there is nothing to do. */
static bool may_lose_digits(span text) {
    int n = 0;
    for (const char *at = text.at; at < text.end; at++) {
        n = *at >= '0' && *at <= '9' ? n + 1 : *at == '.' ? n : 0;
        if (n > 15) return true;
        if ((*at == 'e' || *at == 'E') && at + 3 < text.end && at > text.at && at[-1] >= '0' && at[-1] <= '9')
            return true;
    }
    return false;
}

bool nlm_json_keep_digits(cJSON *root, const char *text, size_t length) {
    span rest = {text, text + length};
    return !may_lose_digits(rest) || keep_numbers(root, &rest);
}

bool nlm_json_is_number(const cJSON *item) {
    return cJSON_IsNumber(item) || cJSON_IsRaw(item);
}

/* ---- values ------------------------------------------------------------------------------- */

bool nlm_json_is_whole(const cJSON *item, uint64_t *out) {
    if (!cJSON_IsNumber(item)) return false;
    const double value = item->valuedouble;
    if (!(value >= 0 && value <= 0x1p53) || value != (double)(uint64_t)value) return false;
    *out = (uint64_t)value;
    return true;
}

nlm_status nlm_json_member(const char *name, const cJSON *object, const char *key, const cJSON **out,
                           nlm_error *err) {
    *out = NULL;
    for (const cJSON *item = object ? object->child : NULL; item; item = item->next) {
        if (!item->string || strcmp(item->string, key) != 0) continue;
        if (*out) return nlm_fail(err, NLM_BAD_FORMAT, name, "'%s' is there twice in one object", key);
        *out = item;
    }
    return NLM_OK;
}

void nlm_json_quote(nlm_str *out, const char *text, size_t length) {
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    nlm_str_puts(out, "\"");
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        if (code >= NLM_UTF8_INVALID) {
            nlm_str_puts(out, "\xEF\xBF\xBD");
        } else if (code != 0 && code < 0x80 && strchr(named, (int)code)) {
            nlm_str_printf(out, "\\%c", letters[strchr(named, (int)code) - named]);
        } else if (code < 0x20) {
            nlm_str_printf(out, "\\u%04x", code);
        } else {
            nlm_str_append(out, text + at, bytes);
        }
    }
    nlm_str_puts(out, "\"");
}
