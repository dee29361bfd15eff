/* Requests as cJSON trees, after checks that cJSON leaves out. */
#include "nlm-server/json_in.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/utf8.h"
#include "format/json.h"

#define MAX_DEPTH 64

/* cJSON takes any bytes, numbers like 01, and "\u0000" as the end of a string; and its depth is a thousand. */
static nlm_status check_text(const char *text, size_t length, nlm_error *err) {
    int depth = 0;
    bool is_string = false;
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        if (code >= NLM_UTF8_INVALID) {
            return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu is not UTF-8", at);
        }
        if (code == 0) return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu is 0", at);
        if (is_string && code < 0x20) {
            return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu is a control character within a string", at);
        }
        if (is_string && code == '\\') {
            if (length - at >= 6 && memcmp(text + at + 1, "u0000", 5) == 0) {
                return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu: \\u0000 is not for text", at);
            }
            bytes = 2;
        } else if (code == '"') {
            is_string = !is_string;
        } else if (!is_string && (code == '{' || code == '[') && ++depth > MAX_DEPTH) {
            return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu: values are nested more than %d deep", at,
                            MAX_DEPTH);
        } else if (!is_string && (code == '}' || code == ']')) {
            depth--;
        } else if (!is_string && code > 0x7E) {
            return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu is no JSON", at);
        }
    }
    return NLM_OK;
}

/* Two readers would read it in two ways. Siblings are compared with those before: a long object is refused. */
static nlm_status check_keys(const cJSON *item, nlm_error *err) {
    size_t n = 0;
    for (const cJSON *child = item->child; child; child = child->next) {
        if (child->child) NLM_TRY(check_keys(child, err));
        if (!cJSON_IsObject(item)) continue;
        if (++n > 4096) return nlm_fail(err, NLM_BAD_FORMAT, "body", "an object has more than 4096 keys");
        for (const cJSON *before = item->child; before != child; before = before->next) {
            if (strcmp(before->string, child->string) != 0) continue;
            return nlm_fail(err, NLM_BAD_FORMAT, "body", "the key '%s' is given twice", child->string);
        }
    }
    return NLM_OK;
}

nlm_status json_parse(const char *text, size_t length, cJSON **out, nlm_error *err) {
    const char *end = NULL;
    *out = NULL;
    NLM_TRY(check_text(text, length, err));
    cJSON *root = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    if (!root) {
        return nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu: this is not JSON",
                        end ? (size_t)(end - text) : (size_t)0);
    }
    while (end < text + length && strchr(" \t\r\n", *end)) end++;
    nlm_status status = NLM_OK;
    if (end != text + length) {
        status = nlm_fail(err, NLM_BAD_FORMAT, "body", "byte %zu: something follows the JSON", (size_t)(end - text));
    } else if (!cJSON_IsObject(root)) {
        status = nlm_fail(err, NLM_BAD_FORMAT, "body", "the body is JSON, but no object");
    } else {
        status = check_keys(root, err);
    }
    if (status == NLM_OK && !nlm_json_keep_digits(root, text, length)) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "body", "no memory for the request");
    }
    if (status == NLM_OK)
        *out = root;
    else
        cJSON_Delete(root);
    return status;
}

nlm_status json_get(const cJSON *object, const char *key, int types, const char *expected, const cJSON **out,
                    nlm_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    *out = NULL;
    if (!item || cJSON_IsNull(item)) return NLM_OK;
    if (cJSON_IsRaw(item)) types = types & cJSON_Number ? cJSON_Raw : 0;
    if ((item->type & 0xFF & types) == 0)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has to be %s", key, expected);
    *out = item;
    return NLM_OK;
}

nlm_status json_get_number(const cJSON *object, const char *key, double min, double max, double *out,
                           nlm_error *err) {
    const cJSON *item;
    NLM_TRY(json_get(object, key, cJSON_Number, "a number", &item, err));
    if (!item) return NLM_OK;
    if (!(item->valuedouble >= min && item->valuedouble <= max)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' is %g; expected %g to %g", key, item->valuedouble, min,
                        max);
    }
    *out = item->valuedouble;
    return NLM_OK;
}

nlm_status json_get_int(const cJSON *object, const char *key, int64_t min, int64_t max, int64_t *out,
                        nlm_error *err) {
    const cJSON *item;
    NLM_TRY(json_get(object, key, cJSON_Number, "an integer", &item, err));
    if (!item) return NLM_OK;
    const double value = item->valuedouble;
    char *end = NULL;
    errno = 0;
    const long long exact = cJSON_IsRaw(item) ? strtoll(item->valuestring, &end, 10) : 0;
    if (value != floor(value) || (end && *end)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' is %g; expected an integer", key, value);
    }
    const bool is_within =
        end ? errno == 0 && exact >= min && exact <= max : value >= (double)min && value <= (double)max;
    if (!is_within) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' is %.17g; expected %lld to %lld", key, value,
                        (long long)min, (long long)max);
    }
    *out = end ? exact : (int64_t)value;
    return NLM_OK;
}

nlm_status json_get_bool(const cJSON *object, const char *key, bool *out, nlm_error *err) {
    const cJSON *item;
    NLM_TRY(json_get(object, key, cJSON_True | cJSON_False, "true or false", &item, err));
    if (item) *out = cJSON_IsTrue(item);
    return NLM_OK;
}

nlm_status json_get_string(const cJSON *object, const char *key, const char **out, nlm_error *err) {
    const cJSON *item;
    NLM_TRY(json_get(object, key, cJSON_String, "a string", &item, err));
    if (item) *out = item->valuestring;
    return NLM_OK;
}
