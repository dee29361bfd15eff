#include "model/keys.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/status.h"

nlm_status nlm_keys_init(nlm_keys *keys, const nlm_gguf *gguf, nlm_error *err) {
    *keys = (nlm_keys){.gguf = gguf};
    const char *path = nlm_gguf_path(gguf);
    if (!nlm_gguf_find(gguf, "general.architecture")) {
        return nlm_fail(err, NLM_BAD_FORMAT, path, "key 'general.architecture' is missing: this file holds no model");
    }
    nlm_gguf_string name;
    NLM_TRY(nlm_gguf_get_string(gguf, "general.architecture", &name, err));
    if (name.length == 0 || name.length >= sizeof keys->architecture || memchr(name.data, 0, name.length)) {
        return nlm_fail(err, NLM_BAD_FORMAT, path,
                        "'general.architecture' is a string of %" PRIu64 " bytes; expected a short name as 'llama'",
                        name.length);
    }
    memcpy(keys->architecture, name.data, name.length);
    return NLM_OK;
}

#define KEY_BYTES 160

static const char *full_name(const nlm_keys *keys, const char *name, char *buffer) {
    snprintf(buffer, KEY_BYTES, "%s.%s", keys->architecture, name);
    return buffer;
}

nlm_status nlm_keys_fail(const nlm_keys *keys, nlm_error *err, nlm_status code, const char *name, const char *format,
                         ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return nlm_fail(err, code, nlm_gguf_path(keys->gguf), "'%s.%s' %s", keys->architecture, name, message);
}

static const nlm_gguf_entry *find(const nlm_keys *keys, const char *name) {
    char buffer[KEY_BYTES];
    return nlm_gguf_find(keys->gguf, full_name(keys, name, buffer));
}

bool nlm_keys_has(const nlm_keys *keys, const char *name) {
    return find(keys, name) != NULL;
}

static nlm_status read_one_i32(const nlm_keys *keys, const nlm_key_i32 *key, int32_t *out, nlm_error *err) {
    const nlm_gguf_entry *entry = find(keys, key->name);
    if (!entry) {
        if (key->fallback == NLM_KEY_REQUIRED)
            return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, key->name, "is missing");
        *out = key->fallback;
        return NLM_OK;
    }
    if (entry->type == NLM_GGUF_ARRAY) {
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, key->name,
                             "is an array; one value for all layers is what is supported");
    }
    char buffer[KEY_BYTES];
    uint64_t value;
    NLM_TRY(nlm_gguf_get_u64(keys->gguf, full_name(keys, key->name, buffer), &value, err));
    if (value > (uint64_t)key->max || (int64_t)value < key->min) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, key->name, "is %" PRIu64 "; expected %d to %d", value,
                             key->min, key->max);
    }
    *out = (int32_t)value;
    return NLM_OK;
}

nlm_status nlm_keys_read_i32(const nlm_keys *keys, const nlm_key_i32 *table, size_t count, nlm_hparams *out,
                             nlm_error *err) {
    for (size_t i = 0; i < count; i++) {
        int32_t value = 0;
        NLM_TRY(read_one_i32(keys, &table[i], &value, err));
        memcpy((char *)out + table[i].offset, &value, sizeof value);
    }
    return NLM_OK;
}

nlm_status nlm_keys_read_f32(const nlm_keys *keys, const char *name, float min, float max, float fallback, float *out,
                             nlm_error *err) {
    if (!nlm_keys_has(keys, name)) {
        if (isnan(fallback)) return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, name, "is missing");
        *out = fallback;
        return NLM_OK;
    }
    char buffer[KEY_BYTES];
    float value;
    NLM_TRY(nlm_gguf_get_f32(keys->gguf, full_name(keys, name, buffer), &value, err));
    if (!(value > min && value <= max)) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, name, "is %g; expected more than %g and at most %g",
                             (double)value, (double)min, (double)max);
    }
    *out = value;
    return NLM_OK;
}

nlm_status nlm_keys_read_bool(const nlm_keys *keys, const char *name, bool fallback, bool *out, nlm_error *err) {
    *out = fallback;
    if (!nlm_keys_has(keys, name)) return NLM_OK;
    char buffer[KEY_BYTES];
    return nlm_gguf_get_bool(keys->gguf, full_name(keys, name, buffer), out, err);
}

nlm_status nlm_keys_read_string(const nlm_keys *keys, const char *name, nlm_gguf_string *out, nlm_error *err) {
    *out = (nlm_gguf_string){NULL, 0};
    if (!nlm_keys_has(keys, name)) return NLM_OK;
    char buffer[KEY_BYTES];
    return nlm_gguf_get_string(keys->gguf, full_name(keys, name, buffer), out, err);
}

/* Any number or bool as a double; NAN for what is neither. */
static double number_of(const nlm_gguf *gguf, const char *key) {
    float real;
    uint64_t whole;
    if (nlm_gguf_get_u64(gguf, key, &whole, NULL) == NLM_OK) return (double)whole;
    if (nlm_gguf_get_f32(gguf, key, &real, NULL) == NLM_OK) return (double)real;
    return NAN;
}

nlm_status nlm_keys_refuse(const nlm_keys *keys, const nlm_key_refused *table, size_t count, nlm_error *err) {
    for (size_t i = 0; i < count; i++) {
        char buffer[KEY_BYTES];
        const char *key = full_name(keys, table[i].name, buffer);
        if (!nlm_gguf_find(keys->gguf, key) || number_of(keys->gguf, key) == table[i].harmless) continue;
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, table[i].name, "asks for %s, which is not supported",
                             table[i].what);
    }
    return NLM_OK;
}
