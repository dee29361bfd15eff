/* JSON written as it comes. */
#include "common/json.h"

#include "base/file.h"
#include "base/printable.h"
#include "base/status.h"
#include "base/str.h"
#include "text/utf8.h"

#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Hands `item` over to the innermost open value. */
static void add(nlm_json *json, const char *key, cJSON *item) {
    if (!item || json->depth == 0) {
        cJSON_Delete(item);
        json->has_failed = true;
        return;
    }
    cJSON *parent = json->open[json->depth - 1];
    const cJSON_bool is_added = key ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item);
    if (is_added) return;
    cJSON_Delete(item);
    json->has_failed = true;
}

static void begin(nlm_json *json, const char *key, cJSON *item) {
    if (json->depth > 0) add(json, key, item);
    if (json->has_failed || !item || json->depth == NLM_JSON_DEPTH) {
        if (json->depth == 0) cJSON_Delete(item);
        json->has_failed = true;
        return;
    }
    json->open[json->depth++] = item;
}

void nlm_json_begin_object(nlm_json *json, const char *key) {
    if (!json->has_failed) begin(json, key, cJSON_CreateObject());
}

void nlm_json_begin_array(nlm_json *json, const char *key) {
    if (!json->has_failed) begin(json, key, cJSON_CreateArray());
}

void nlm_json_end(nlm_json *json) {
    if (json->depth > 1) json->depth--;
}

void nlm_json_string(nlm_json *json, const char *key, const char *text) {
    nlm_json_text(json, key, text, strlen(text));
}

void nlm_json_text(nlm_json *json, const char *key, const char *data, size_t length) {
    nlm_str clean = {0};
    nlm_str_puts(&clean, "");
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(data + at, length - at, &bytes);
        if (code == 0 || code >= NLM_UTF8_INVALID)
            nlm_str_puts(&clean, "\xEF\xBF\xBD");
        else
            nlm_str_append(&clean, data + at, bytes);
    }
    if (clean.has_failed) json->has_failed = true;
    if (!json->has_failed) add(json, key, cJSON_CreateString(clean.data));
    nlm_str_release(&clean);
}

/* Also for integers: cJSON's own numbers are doubles, which do not hold every 64-bit one. */
void nlm_json_raw(nlm_json *json, const char *key, const char *text) {
    if (!json->has_failed) add(json, key, cJSON_CreateRaw(text));
}

void nlm_json_u64(nlm_json *json, const char *key, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    nlm_json_raw(json, key, text);
}

void nlm_json_i64(nlm_json *json, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    nlm_json_raw(json, key, text);
}

void nlm_json_f64(nlm_json *json, const char *key, double value) {
    if (!json->has_failed) add(json, key, isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

void nlm_json_bool(nlm_json *json, const char *key, bool value) {
    if (!json->has_failed) add(json, key, cJSON_CreateBool(value));
}

/* cJSON escapes the control characters below U+0020; the others may stand raw in JSON, but a terminal acts on them.
 */
static void print_text(FILE *file, const char *text) {
    const size_t length = strlen(text);
    for (size_t at = 0, bytes; at < length; at += bytes) {
        const uint32_t code = nlm_utf8_next(text + at, length - at, &bytes);
        if (code >= 0x7F && nlm_is_control(code))
            fprintf(file, "\\u%04x", code);
        else
            fwrite(text + at, 1, bytes, file);
    }
}

nlm_status nlm_json_print(const nlm_json *json, FILE *file, nlm_error *err) {
    char *text = json->has_failed || json->depth == 0 ? NULL : cJSON_Print(json->open[0]);
    if (!text) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory for the JSON text");
    print_text(file, text);
    fputc('\n', file);
    cJSON_free(text);
    return NLM_OK;
}

nlm_status nlm_json_write(const nlm_json *json, const char *path, nlm_error *err) {
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for the JSON text");
    nlm_status status = nlm_json_print(json, memory, err);
    const bool has_failed = ferror(memory) != 0;
    if ((fclose(memory) != 0 || has_failed) && status == NLM_OK) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for the JSON text");
    }
    if (status == NLM_OK) status = nlm_file_write(path, text, length, err);
    free(text);
    return status;
}

void nlm_json_release(nlm_json *json) {
    if (json->depth > 0) cJSON_Delete(json->open[0]);
    *json = (nlm_json){0};
}
