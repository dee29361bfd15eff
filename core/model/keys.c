/* Looking keys up, checking types and ranges, and saying what is wrong with them. */
#include "model/keys.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/status.h"

nlm_status nlm_keys_init(nlm_keys *keys, const nlm_gguf *gguf, nlm_arena *arena, nlm_error *err) {
    *keys = (nlm_keys){.gguf = gguf, .arena = arena};
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

static nlm_status check_i32(const nlm_keys *keys, const nlm_key *key, int64_t value, nlm_error *err) {
    if ((double)value >= key->min && (double)value <= key->max) return NLM_OK;
    return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, key->name, "is %" PRId64 "; expected %.0f to %.0f", value,
                         key->min, key->max);
}

/* An array of integers that are all the same. */
static bool is_uniform(const nlm_gguf_entry *entry) {
    const nlm_gguf_type type = entry->element_type;
    if (entry->count == 0 || type == NLM_GGUF_STRING || type == NLM_GGUF_F32 || type == NLM_GGUF_F64) return false;
    for (uint64_t i = 1; i < entry->count; i++) {
        if (nlm_gguf_array_i64(entry, i) != nlm_gguf_array_i64(entry, 0)) return false;
    }
    return true;
}

static nlm_status read_i32(const nlm_keys *keys, const nlm_key *key, int32_t *out, nlm_error *err) {
    char buffer[KEY_BYTES];
    uint64_t value;
    const nlm_gguf_entry *entry = find(keys, key->name);
    if (entry->type == NLM_GGUF_ARRAY) {
        if (!is_uniform(entry)) {
            return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, key->name,
                                 "is an array of different values; one for all layers is what is supported");
        }
        const int64_t each = nlm_gguf_array_i64(entry, 0);
        NLM_TRY(check_i32(keys, key, each, err));
        *out = (int32_t)each;
        return NLM_OK;
    }
    NLM_TRY(nlm_gguf_get_u64(keys->gguf, full_name(keys, key->name, buffer), &value, err));
    NLM_TRY(check_i32(keys, key, value <= INT64_MAX ? (int64_t)value : INT64_MAX, err));
    *out = (int32_t)value;
    return NLM_OK;
}

/* The elements of an array, which has one for each of n layers, from the arena. */
static nlm_status read_array(const nlm_keys *keys, const char *name, int32_t n, int32_t **out, nlm_error *err) {
    const nlm_gguf_entry *entry = find(keys, name);
    const nlm_gguf_type type = entry->element_type;
    if (type == NLM_GGUF_STRING || type == NLM_GGUF_F32 || type == NLM_GGUF_F64) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, name, "is an array of %s; expected integers",
                             nlm_gguf_type_name(type));
    }
    if (entry->count != (uint64_t)n) {
        return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, name, "has %" PRIu64 " values for %d layers", entry->count,
                             n);
    }
    *out = nlm_arena_array(keys->arena, (size_t)n, sizeof **out);
    if (*out) return NLM_OK;
    return nlm_keys_fail(keys, err, NLM_OUT_OF_MEMORY, name, "has %d values: no memory for them", n);
}

static nlm_status read_by_layer(const nlm_keys *keys, const nlm_key *key, int32_t n_layer, nlm_by_layer *out,
                                nlm_error *err) {
    const nlm_gguf_entry *entry = find(keys, key->name);
    *out = (nlm_by_layer){0};
    if (entry->type != NLM_GGUF_ARRAY) return read_i32(keys, key, &out->most, err);
    int32_t *values = NULL;
    bool is_uniform = true;
    NLM_TRY(read_array(keys, key->name, n_layer, &values, err));
    for (int32_t i = 0; i < n_layer; i++) {
        const int64_t value = nlm_gguf_array_i64(entry, (uint64_t)i);
        NLM_TRY(check_i32(keys, key, value, err));
        values[i] = (int32_t)value;
        if (values[i] > out->most) out->most = values[i];
        is_uniform = is_uniform && values[i] == values[0];
    }
    if (!is_uniform) out->values = values;
    return NLM_OK;
}

static nlm_status read_f32(const nlm_keys *keys, const nlm_key *key, float *out, nlm_error *err) {
    char buffer[KEY_BYTES];
    NLM_TRY(nlm_gguf_get_f32(keys->gguf, full_name(keys, key->name, buffer), out, err));
    if ((double)*out > key->min && (double)*out <= key->max) return NLM_OK;
    return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, key->name, "is %g; expected more than %g and at most %g",
                         (double)*out, key->min, key->max);
}

static nlm_status use_fallback(const nlm_keys *keys, const nlm_key *key, void *field, nlm_error *err) {
    if (isnan(key->fallback)) return nlm_keys_fail(keys, err, NLM_BAD_FORMAT, key->name, "is missing");
    switch (key->type) {
        case NLM_KEY_F32: *(float *)field = (float)key->fallback; break;
        case NLM_KEY_BOOL: *(bool *)field = key->fallback != 0; break;
        case NLM_KEY_BY_LAYER: *(nlm_by_layer *)field = (nlm_by_layer){.most = (int32_t)key->fallback}; break;
        default: *(int32_t *)field = (int32_t)key->fallback; break;
    }
    return NLM_OK;
}

nlm_status nlm_keys_read(const nlm_keys *keys, const nlm_key *table, nlm_hparams *out, nlm_error *err) {
    for (const nlm_key *key = table; key->name; key++) {
        char buffer[KEY_BYTES];
        void *field = (char *)out + key->offset;
        if (!nlm_keys_has(keys, key->name)) {
            NLM_TRY(use_fallback(keys, key, field, err));
            continue;
        }
        switch (key->type) {
            case NLM_KEY_F32: NLM_TRY(read_f32(keys, key, field, err)); break;
            case NLM_KEY_BOOL:
                NLM_TRY(nlm_gguf_get_bool(keys->gguf, full_name(keys, key->name, buffer), field, err));
                break;
            case NLM_KEY_BY_LAYER: NLM_TRY(read_by_layer(keys, key, out->n_layer, field, err)); break;
            default: NLM_TRY(read_i32(keys, key, field, err)); break;
        }
    }
    return NLM_OK;
}

nlm_status nlm_keys_read_string(const nlm_keys *keys, const char *name, nlm_gguf_string *out, nlm_error *err) {
    *out = (nlm_gguf_string){NULL, 0};
    if (!nlm_keys_has(keys, name)) return NLM_OK;
    char buffer[KEY_BYTES];
    return nlm_gguf_get_string(keys->gguf, full_name(keys, name, buffer), out, err);
}

nlm_status nlm_keys_read_bools(const nlm_keys *keys, const char *name, int32_t n, const int32_t **out,
                               nlm_error *err) {
    const nlm_gguf_entry *entry = find(keys, name);
    int32_t *values = NULL;
    *out = NULL;
    if (!entry || entry->type != NLM_GGUF_ARRAY) return NLM_OK;
    NLM_TRY(read_array(keys, name, n, &values, err));
    for (int32_t i = 0; i < n; i++) values[i] = nlm_gguf_array_i64(entry, (uint64_t)i) != 0;
    *out = values;
    return NLM_OK;
}

/* Any number or bool as a double; NAN for what is neither. */
static double number_of(const nlm_gguf *gguf, const char *key) {
    float real;
    uint64_t whole;
    if (nlm_gguf_get_u64(gguf, key, &whole, NULL) == NLM_OK) return (double)whole;
    if (nlm_gguf_get_f32(gguf, key, &real, NULL) == NLM_OK) return (double)real;
    return NAN;
}

nlm_status nlm_keys_refuse(const nlm_keys *keys, const nlm_key_refused *table, nlm_error *err) {
    for (const nlm_key_refused *refused = table; refused->name; refused++) {
        char buffer[KEY_BYTES];
        const char *key = full_name(keys, refused->name, buffer);
        if (!nlm_gguf_find(keys->gguf, key) || number_of(keys->gguf, key) == refused->harmless) continue;
        return nlm_keys_fail(keys, err, NLM_UNSUPPORTED, refused->name, "asks for %s, which is not supported",
                             refused->what);
    }
    return NLM_OK;
}
