/* What a model's file says of itself, as text. */
#include "base/status.h"
#include "session/runtime.h"
#include "session/text_out.h"

static void put_string(nlm_str *out, nlm_gguf_string text) {
    nlm_str_append(out, text.data, (size_t)text.length);
}

static void put_item(nlm_str *out, const nlm_gguf_entry *entry, uint64_t index) {
    if (entry->element_type == NLM_GGUF_STRING) {
        put_string(out, nlm_gguf_string_at(entry, index));
    } else {
        nlm_gguf_spell(out, entry, index);
    }
}

static void put_value(nlm_str *out, const nlm_gguf_entry *entry) {
    if (entry->type != NLM_GGUF_ARRAY) {
        put_item(out, entry, 0);
        return;
    }
    nlm_str_puts(out, "[");
    for (uint64_t i = 0; i < entry->count; i++) {
        if (i > 0) nlm_str_puts(out, ", ");
        put_item(out, entry, i);
    }
    nlm_str_puts(out, "]");
}

static nlm_status give(nlm_str *text, char *out_text, size_t capacity, size_t *out_length, nlm_error *err) {
    const nlm_status status = nlm_text_out(text, true, out_text, out_text ? capacity : 0, out_length, err);
    nlm_str_release(text);
    return status;
}

nlm_status nlm_model_metadata(const nlm_model *model, const char *key, char *out_text, size_t capacity,
                              size_t *out_length, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(key, error);
    NLM_NEEDS(out_length, error);
    const nlm_gguf *gguf = nlm_model_gguf(model);
    const nlm_gguf_entry *entry = nlm_gguf_find(gguf, key);
    if (!entry) return nlm_fail(error, NLM_NOT_FOUND, nlm_gguf_path(gguf), "the metadata has no key '%s'", key);
    if (entry->type == NLM_GGUF_ARRAY && entry->element_type == NLM_GGUF_STRING && !entry->strings) {
        return nlm_fail(error, NLM_UNSUPPORTED, nlm_gguf_path(gguf),
                        "'%s' is an array of strings, which a loaded model "
                        "does not keep",
                        key);
    }
    nlm_str text = {0};
    put_value(&text, entry);
    return give(&text, out_text, capacity, out_length, error);
}

nlm_status nlm_model_metadata_key(const nlm_model *model, size_t index, char *out_text, size_t capacity,
                                  size_t *out_length, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(out_length, error);
    const nlm_gguf *gguf = nlm_model_gguf(model);
    const size_t count = nlm_gguf_entry_count(gguf);
    if (index >= count) {
        return nlm_fail(error, NLM_NOT_FOUND, nlm_gguf_path(gguf), "entry %zu of %zu in the metadata", index, count);
    }
    nlm_str text = {0};
    put_string(&text, nlm_gguf_entry_at(gguf, index)->key);
    return give(&text, out_text, capacity, out_length, error);
}
