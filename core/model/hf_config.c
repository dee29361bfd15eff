/* config.json: what its keys say in the words of GGUF, and the other way. */
#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/json.h"
#include "model/hf_config.h"

#define CONFIG_BYTES    ((size_t)1 << 24) /* at most; published ones have a few thousand */
#define ROPE_PARAMETERS "rope_parameters" /* where transformers 5 keeps rope_theta */

/* ---- members ------------------------------------------------------------------------------ */

nlm_status nlm_hf_fail(const nlm_hf_config *config, nlm_error *err, nlm_status code, const char *key,
                       const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return nlm_fail(err, code, config->path, "'%s' %s", key, message);
}

nlm_status nlm_hf_member(const nlm_hf_config *config, const char *key, const cJSON **out, nlm_error *err) {
    const cJSON *rope;
    NLM_TRY(nlm_json_member(config->path, config->root, key, out, err));
    if (*out && !cJSON_IsNull(*out)) return NLM_OK;
    *out = NULL;
    NLM_TRY(nlm_json_member(config->path, config->root, ROPE_PARAMETERS, &rope, err));
    if (cJSON_IsObject(rope)) NLM_TRY(nlm_json_member(config->path, rope, key, out, err));
    if (cJSON_IsNull(*out)) *out = NULL;
    return NLM_OK;
}

enum { KEY_BYTES = 160 };

static const char *full_name(const nlm_hf_config *config, const char *name, char *buffer) {
    snprintf(buffer, KEY_BYTES, "%s.%s", config->kind->architecture, name);
    return buffer;
}

void nlm_hf_write_u32(const nlm_hf_config *config, const char *name, uint32_t value) {
    char buffer[KEY_BYTES];
    nlm_gguf_writer_u32(config->out, full_name(config, name, buffer), value);
}

void nlm_hf_write_f32(const nlm_hf_config *config, const char *name, float value) {
    char buffer[KEY_BYTES];
    nlm_gguf_writer_f32(config->out, full_name(config, name, buffer), value);
}

void nlm_hf_write_text(const nlm_hf_config *config, const char *name, const char *value) {
    char buffer[KEY_BYTES];
    nlm_gguf_writer_string(config->out, full_name(config, name, buffer), value, strlen(value));
}

/* ---- from config.json --------------------------------------------------------------------- */

/* Class `index` of all that are known; NULL beyond the last. */
static const nlm_hf_class *class_at(size_t index, const nlm_model_family **family) {
    for (size_t i = 0; (*family = nlm_family_at(i)); i++) {
        const nlm_hf_class *kinds = (*family)->hf ? (*family)->hf->classes : NULL;
        for (; kinds && kinds->name; kinds++) {
            if (index-- == 0) return kinds;
        }
    }
    return NULL;
}

static nlm_status unknown_class(const nlm_hf_config *config, const char *name, nlm_error *err) {
    nlm_str known = {0};
    const nlm_model_family *family;
    const nlm_hf_class *kind;
    for (size_t i = 0; (kind = class_at(i, &family)); i++) {
        nlm_str_printf(&known, "%s'%s'", known.length ? ", " : "", kind->name);
    }
    const nlm_status status =
        nlm_hf_fail(config, err, NLM_UNSUPPORTED, "architectures",
                    "names '%s', which is not supported; these are: %s", name, known.data ? known.data : "");
    nlm_str_release(&known);
    return status;
}

/* The family and the class that `architectures` names. */
static nlm_status find_class(nlm_hf_config *config, nlm_error *err) {
    const cJSON *list;
    NLM_TRY(nlm_hf_member(config, "architectures", &list, err));
    const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
    if (!cJSON_IsString(first)) {
        return nlm_hf_fail(config, err, NLM_BAD_FORMAT, "architectures", "is no list of names: what model is this?");
    }
    for (size_t i = 0; (config->kind = class_at(i, &config->family)); i++) {
        if (strcmp(config->kind->name, first->valuestring) == 0) return NLM_OK;
    }
    return unknown_class(config, first->valuestring, err);
}

/* Any number or bool as a double; NAN for what is neither. */
static double number_of(const cJSON *item) {
    if (cJSON_IsBool(item)) return cJSON_IsTrue(item) ? 1 : 0;
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static nlm_status refuse_keys(const nlm_hf_config *config, nlm_error *err) {
    for (const nlm_key_refused *refused = config->family->hf->refused; refused->name; refused++) {
        const cJSON *item;
        NLM_TRY(nlm_hf_member(config, refused->name, &item, err));
        if (!item || number_of(item) == refused->harmless) continue;
        return nlm_hf_fail(config, err, NLM_UNSUPPORTED, refused->name, "asks for %s, which is not supported",
                           refused->what);
    }
    const cJSON *act;
    NLM_TRY(nlm_hf_member(config, "hidden_act", &act, err));
    if (!act || (cJSON_IsString(act) && strcmp(act->valuestring, "silu") == 0)) return NLM_OK;
    return nlm_hf_fail(config, err, NLM_UNSUPPORTED, "hidden_act", "is %s; 'silu' is what is supported",
                       cJSON_IsString(act) ? act->valuestring : "no name");
}

static nlm_status import_f32(nlm_hf_config *config, const nlm_key *key, const cJSON *item, float *field,
                             nlm_error *err) {
    const double value = number_of(item);
    if (!(value > key->min && value <= key->max)) {
        return nlm_hf_fail(config, err, NLM_BAD_FORMAT, key->hf_name,
                           "is %g; expected a number of more than %g and at most %g", value, key->min, key->max);
    }
    *field = (float)value;
    nlm_hf_write_f32(config, key->name, *field);
    return NLM_OK;
}

static nlm_status import_i32(nlm_hf_config *config, const nlm_key *key, const cJSON *item, int32_t *field,
                             nlm_error *err) {
    uint64_t value;
    if (!nlm_json_is_whole(item, &value) || (double)value < key->min || (double)value > key->max) {
        return nlm_hf_fail(config, err, NLM_BAD_FORMAT, key->hf_name, "is no whole number of %.0f to %.0f", key->min,
                           key->max);
    }
    *field = (int32_t)value;
    nlm_hf_write_u32(config, key->name, (uint32_t)value);
    return NLM_OK;
}

static nlm_status import_key(nlm_hf_config *config, const nlm_key *key, nlm_error *err) {
    const cJSON *item;
    void *field = (char *)&config->read + key->offset; /* of what differs by layer, the greatest comes first */
    NLM_TRY(nlm_hf_member(config, key->hf_name, &item, err));
    if (!item) {
        if (!isnan(key->fallback)) return NLM_OK;
        return nlm_hf_fail(config, err, NLM_BAD_FORMAT, key->hf_name, "is missing");
    }
    return key->type == NLM_KEY_F32 ? import_f32(config, key, item, field, err)
                                    : import_i32(config, key, item, field, err);
}

static nlm_status import_all(nlm_hf_config *config, nlm_error *err) {
    if (!cJSON_IsObject(config->root)) return nlm_fail(err, NLM_BAD_FORMAT, config->path, "it is no JSON object");
    NLM_TRY(find_class(config, err));
    NLM_TRY(refuse_keys(config, err));
    const char *architecture = config->kind->architecture;
    nlm_gguf_writer_string(config->out, "general.architecture", architecture, strlen(architecture));
    for (const nlm_key *key = config->family->keys; key->name; key++) {
        if (key->hf_name) NLM_TRY(import_key(config, key, err));
    }
    const cJSON *tie;
    NLM_TRY(nlm_hf_member(config, "tie_word_embeddings", &tie, err));
    config->is_tied = cJSON_IsTrue(tie);
    config->is_untied = cJSON_IsFalse(tie);
    return config->family->hf->import(config, err);
}

nlm_status nlm_hf_config_import(const char *folder, nlm_arena *arena, nlm_gguf_writer *w, nlm_hf_config *out,
                                nlm_error *err) {
    *out = (nlm_hf_config){.arena = arena, .out = w};
    cJSON *root = NULL;
    out->path = nlm_arena_printf(arena, "%s/" NLM_HF_CONFIG_JSON, folder);
    if (!out->path) return nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory");
    NLM_TRY(nlm_json_read(out->path, CONFIG_BYTES, &root, err));
    out->root = root;
    const nlm_status status = import_all(out, err);
    out->root = NULL;
    cJSON_Delete(root);
    return status;
}

/* ---- to config.json ----------------------------------------------------------------------- */

void nlm_hf_put(nlm_str *out, const char *key, const char *format, ...) {
    char value[256];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    nlm_str_printf(out, "%s\n  \"%s\": %s", out->length > 1 ? "," : "", key, value);
}

void nlm_hf_put_f32(nlm_str *out, const char *key, float value) {
    const nlm_gguf_entry entry = {
        .type = NLM_GGUF_F32, .element_type = NLM_GGUF_F32, .count = 1, .data = &value, .bytes = sizeof value};
    nlm_str text = {0};
    nlm_gguf_spell(&text, &entry, 0);
    if (text.has_failed) out->has_failed = true;
    if (text.data) nlm_hf_put(out, key, "%s", text.data);
    nlm_str_release(&text);
}

int32_t nlm_hf_layers_with(const nlm_model *model, const char *name) {
    int32_t count = 0;
    for (int32_t i = 0; i < nlm_model_hparams(model)->n_layer; i++) {
        char full[96];
        snprintf(full, sizeof full, "blk.%d.%s", i, name);
        count += nlm_gguf_find_tensor(nlm_model_gguf(model), full) != NULL;
    }
    return count;
}

static nlm_status export_key(const nlm_model *model, const nlm_key *key, nlm_str *out, nlm_error *err) {
    const void *field = (const char *)nlm_model_hparams(model) + key->offset;
    const nlm_by_layer *by_layer = field;
    switch (key->type) {
        case NLM_KEY_F32: nlm_hf_put_f32(out, key->hf_name, *(const float *)field); return NLM_OK;
        case NLM_KEY_BY_LAYER:
            if (by_layer->values) {
                return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(nlm_model_gguf(model)),
                                "'%s' differs from layer to layer; config.json has one '%s' for all", key->name,
                                key->hf_name);
            }
            nlm_hf_put(out, key->hf_name, "%" PRId32, by_layer->most);
            return NLM_OK;
        default: nlm_hf_put(out, key->hf_name, "%" PRId32, *(const int32_t *)field); return NLM_OK;
    }
}

/* Tokens that begin and end a text, where the file names them. */
static void export_ids(const nlm_gguf *gguf, nlm_str *out) {
    static const char *const keys[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                          {"eos_token_id", "tokenizer.ggml.eos_token_id"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint64_t id;
        if (nlm_gguf_get_u64(gguf, keys[i][1], &id, NULL) == NLM_OK)
            nlm_hf_put(out, keys[i][0], "%" PRIu64, id);
        else
            nlm_hf_put(out, keys[i][0], "null");
    }
    nlm_hf_put(out, "pad_token_id", "null");
}

static const nlm_hf_class *class_of(const nlm_hf *hf, const char *architecture, bool has_window) {
    for (const nlm_hf_class *kind = hf ? hf->classes : NULL; kind && kind->name; kind++) {
        if (kind->has_window == has_window && strcmp(kind->architecture, architecture) == 0) return kind;
    }
    return NULL;
}

static nlm_status find_export_class(const nlm_model *model, const nlm_model_family **family,
                                    const nlm_hf_class **kind, nlm_error *err) {
    const nlm_gguf *gguf = nlm_model_gguf(model);
    const bool has_window = nlm_model_hparams(model)->sliding_window.most > 0;
    nlm_arena arena = {0};
    nlm_keys keys;
    NLM_TRY(nlm_keys_init(&keys, gguf, &arena, err));
    *family = nlm_family_find(keys.architecture);
    *kind = *family ? class_of((*family)->hf, keys.architecture, has_window) : NULL;
    if (*kind) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf), "transformers has no class for a '%s'%s",
                    keys.architecture, has_window ? " with a window in all of its layers" : "");
}

nlm_status nlm_hf_config_export(const nlm_model *model, const char *dtype_name, nlm_str *out,
                                const nlm_model_family **family, nlm_error *err) {
    const nlm_gguf *gguf = nlm_model_gguf(model);
    const nlm_hf_class *kind = NULL;
    NLM_TRY(find_export_class(model, family, &kind, err));
    nlm_str_puts(out, "{");
    nlm_hf_put(out, "architectures", "[\"%s\"]", kind->name);
    nlm_hf_put(out, "model_type", "\"%s\"", kind->model_type);
    nlm_hf_put(out, "torch_dtype", "\"%s\"", dtype_name);
    nlm_hf_put(out, "hidden_act", "\"silu\"");
    nlm_hf_put(out, "vocab_size", "%" PRId32, nlm_model_hparams(model)->n_vocab);
    nlm_hf_put(out, "tie_word_embeddings", nlm_gguf_find_tensor(gguf, "output.weight") ? "false" : "true");
    export_ids(gguf, out);
    for (const nlm_key *key = (*family)->keys; key->name; key++) {
        if (key->hf_name) NLM_TRY(export_key(model, key, out, err));
    }
    NLM_TRY((*family)->hf->export(model, kind, out, err));
    nlm_str_puts(out, "\n}\n");
    return out->has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "out of memory") : NLM_OK;
}
