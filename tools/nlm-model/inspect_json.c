/* A model file as JSON. */
#include "inspect.h"
#include "show.h"

#include <math.h>

#define ARRAY_ITEMS 16u

static void add_text(nlm_json *json, const char *key, nlm_gguf_string text) {
    nlm_json_text(json, key, text.data, (size_t)text.length);
}

/* As the file's other readers spell it: JSON has the same numbers, but for those that are not finite. */
static void add_item(nlm_json *json, const char *key, const nlm_gguf_entry *entry, uint64_t index) {
    if (entry->element_type == NLM_GGUF_STRING) {
        add_text(json, key, nlm_gguf_string_at(entry, index));
        return;
    }
    nlm_str text = {0};
    nlm_gguf_spell(&text, entry, index);
    if (text.has_failed) json->has_failed = true;
    if (!text.has_failed) nlm_json_raw(json, key, isfinite(nlm_gguf_array_f64(entry, index)) ? text.data : "null");
    nlm_str_release(&text);
}

/* A list, since keys that are no UTF-8 may become the same text. */
static void add_metadata(nlm_json *json, const nlm_gguf *gguf) {
    nlm_json_begin_array(json, "metadata");
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(gguf, i);
        nlm_json_begin_object(json, NULL);
        add_text(json, "key", entry->key);
        nlm_json_string(json, "type", nlm_gguf_type_name(entry->type));
        if (entry->type == NLM_GGUF_ARRAY) {
            nlm_json_string(json, "element_type", nlm_gguf_type_name(entry->element_type));
            nlm_json_u64(json, "count", entry->count);
            nlm_json_begin_array(json, "first");
            for (uint64_t item = 0; item < entry->count && item < ARRAY_ITEMS; item++) {
                add_item(json, NULL, entry, item);
            }
            nlm_json_end(json);
        } else {
            add_item(json, "value", entry, 0);
        }
        nlm_json_end(json);
    }
    nlm_json_end(json);
}

static void add_type(nlm_json *json, uint32_t type) {
    nlm_str name = {0};
    show_tensor_type(&name, type);
    if (name.data) nlm_json_string(json, "type", name.data);
    if (name.has_failed) json->has_failed = true;
    nlm_str_release(&name);
}

static void add_types(nlm_json *json, const model_summary *s) {
    nlm_json_begin_array(json, "types");
    for (size_t i = 0; i < s->type_count; i++) {
        nlm_json_begin_object(json, NULL);
        add_type(json, s->types[i].type);
        nlm_json_bool(json, "supported", s->types[i].is_supported);
        nlm_json_u64(json, "tensors", s->types[i].tensors);
        nlm_json_u64(json, "parameters", s->types[i].parameters);
        nlm_json_u64(json, "bytes", s->types[i].bytes);
        nlm_json_end(json);
    }
    nlm_json_end(json);
}

static void add_model(nlm_json *json, const model_summary *s) {
    add_text(json, "architecture", s->architecture);
    add_text(json, "name", s->name);
    add_text(json, "tokenizer", s->tokenizer);
    nlm_json_u64(json, "parameters", s->parameters);
    nlm_json_u64(json, "context_length", s->context_length);
    nlm_json_u64(json, "vocabulary", s->vocabulary);
    nlm_json_u64(json, "layers", s->layers);
    nlm_json_u64(json, "embedding", s->embedding);
    nlm_json_begin_object(json, "memory");
    nlm_json_u64(json, "weight_bytes", s->weight_bytes);
    nlm_json_u64(json, "kv_bytes_per_token_f16", s->kv_bytes_per_token);
    nlm_json_u64(json, "state_bytes_per_sequence", s->state_bytes_per_sequence);
    nlm_json_end(json);
}

static void add_tensors(nlm_json *json, const nlm_gguf *gguf) {
    nlm_json_begin_array(json, "tensors");
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        nlm_json_begin_object(json, NULL);
        add_text(json, "name", tensor->name);
        add_type(json, tensor->type);
        nlm_json_bool(json, "supported", tensor->is_supported);
        nlm_json_begin_array(json, "shape");
        for (uint32_t d = tensor->n_dims; d > 0; d--) nlm_json_u64(json, NULL, tensor->dims[d - 1]);
        nlm_json_end(json);
        nlm_json_u64(json, "offset", tensor->offset);
        nlm_json_u64(json, "bytes", tensor->bytes);
        nlm_json_end(json);
    }
    nlm_json_end(json);
}

void inspect_as_json(nlm_json *json, const nlm_gguf *gguf, const model_summary *summary, bool with_tensors) {
    nlm_json_begin_object(json, NULL);
    nlm_json_string(json, "path", nlm_gguf_path(gguf));
    nlm_json_u64(json, "gguf_version", nlm_gguf_version(gguf));
    nlm_json_u64(json, "file_bytes", nlm_gguf_file_bytes(gguf));
    nlm_json_u64(json, "alignment", nlm_gguf_alignment(gguf));
    add_model(json, summary);
    add_types(json, summary);
    add_metadata(json, gguf);
    nlm_json_u64(json, "tensor_count", nlm_gguf_tensor_count(gguf));
    if (with_tensors) add_tensors(json, gguf);
}
