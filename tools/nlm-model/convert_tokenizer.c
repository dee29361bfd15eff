/* The tokenizer of a model that is converted: tokenizer.json in a folder, metadata in a GGUF. */
#include "convert_tokenizer.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/status.h"
#include "format/json.h"
#include "text/tokenizer_json.h"

#include <cJSON.h>
#include <string.h>

#define PREFIX   "tokenizer."
#define TOKENS   "tokenizer.ggml.tokens"
#define MODEL    "tokenizer.ggml.model"
#define NO_MODEL "none"
#define TEMPLATE "tokenizer.chat_template"

#define TEMPLATE_FILE "chat_template.jinja"

enum { TYPE_UNUSED = 5 };

static bool is_key(const nlm_gguf_entry *entry, const char *key) {
    return entry->key.length == strlen(key) && memcmp(entry->key.data, key, strlen(key)) == 0;
}

/* Of an array with one item for each token, one with n_vocab of them: a model may have rows for tokens to come. The
 * names are those that converters to GGUF give them. */
static nlm_status pad_entry(nlm_arena *arena, const nlm_gguf_entry *entry, uint64_t n_vocab, nlm_gguf_writer *w,
                            nlm_error *err) {
    const size_t element = entry->strings ? sizeof *entry->strings : sizeof(int32_t);
    char *items = nlm_arena_array(arena, (size_t)n_vocab, element);
    char *key = nlm_arena_strndup(arena, entry->key.data, (size_t)entry->key.length);
    if (!items || !key) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "no memory for the tokenizer");
    memcpy(items, entry->strings ? (const void *)entry->strings : entry->data, (size_t)entry->count * element);
    for (uint64_t i = entry->count; i < n_vocab; i++) {
        if (entry->strings) {
            const char *name = nlm_arena_printf(arena, "[PAD%llu]", (unsigned long long)i);
            if (!name) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "no memory for the tokenizer");
            ((nlm_gguf_string *)(void *)items)[i] = (nlm_gguf_string){name, strlen(name)};
        } else if (entry->element_type == NLM_GGUF_I32) {
            ((int32_t *)(void *)items)[i] = TYPE_UNUSED;
        }
    }
    if (entry->strings)
        nlm_gguf_writer_strings(w, key, (const nlm_gguf_string *)(void *)items, n_vocab);
    else
        nlm_gguf_writer_array(w, key, entry->element_type, items, n_vocab);
    return NLM_OK;
}

/* Names, types and scores stand in arrays as long as the vocabulary. */
static bool is_of_tokens(const nlm_gguf_entry *entry) {
    return is_key(entry, TOKENS) || is_key(entry, "tokenizer.ggml.token_type") ||
           is_key(entry, "tokenizer.ggml.scores");
}

static nlm_status copy_entries(const nlm_gguf *from, uint64_t n_vocab, nlm_gguf_writer *w, nlm_error *err) {
    nlm_arena arena = {0};
    nlm_status status = NLM_OK;
    for (size_t i = 0; i < nlm_gguf_entry_count(from) && status == NLM_OK; i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(from, i);
        if (entry->key.length < strlen(PREFIX) || memcmp(entry->key.data, PREFIX, strlen(PREFIX)) != 0) continue;
        if (is_of_tokens(entry) && entry->count < n_vocab)
            status = pad_entry(&arena, entry, n_vocab, w, err);
        else
            nlm_gguf_writer_entry(w, entry);
    }
    nlm_arena_release(&arena);
    return status;
}

/* ---- the chat template ------------------------------------------------------------------------ */

static nlm_status export_template(const nlm_gguf *gguf, const char *folder, nlm_error *err) {
    nlm_gguf_string text;
    nlm_str path = {0};
    if (nlm_gguf_get_string(gguf, TEMPLATE, &text, NULL) != NLM_OK) return NLM_OK;
    nlm_str_printf(&path, "%s/" TEMPLATE_FILE, folder);
    const nlm_status status = path.has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory")
                                              : nlm_file_write(path.data, text.data, (size_t)text.length, err);
    nlm_str_release(&path);
    return status;
}

/* ---- the tokenizer ---------------------------------------------------------------------------- */

nlm_status import_tokenizer(const char *folder, uint64_t n_vocab, nlm_gguf_writer *w, nlm_str *note, nlm_error *err) {
    nlm_str path = {0};
    nlm_gguf *tokenizer = NULL;
    nlm_str_printf(&path, "%s/tokenizer.json", folder);
    if (path.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory");
    nlm_error why = NLM_ERROR_INIT;
    nlm_status status = nlm_tokenizer_json_read(path.data, &tokenizer, &why);
    nlm_str_release(&path);
    if (status == NLM_UNSUPPORTED || status == NLM_NOT_FOUND) {
        nlm_str_printf(note, "note: without a tokenizer: %s\n", why.msg);
        nlm_gguf_writer_string(w, MODEL, NO_MODEL, strlen(NO_MODEL));
        return NLM_OK;
    }
    if (status != NLM_OK) {
        nlm_error_give(err, &why);
        return status;
    }
    status = copy_entries(tokenizer, n_vocab, w, err);
    nlm_gguf_close(tokenizer);
    return status;
}

nlm_status export_tokenizer(const nlm_gguf *gguf, const char *folder, nlm_str *note, nlm_error *err) {
    nlm_gguf_string model;
    nlm_str path = {0};
    nlm_error why = NLM_ERROR_INIT;
    if (!nlm_gguf_find(gguf, TOKENS) || nlm_gguf_get_string(gguf, MODEL, &model, NULL) != NLM_OK) {
        nlm_str_puts(note, "note: without a tokenizer.json: the file has no tokens\n");
        return NLM_OK;
    }
    nlm_str_printf(&path, "%s/tokenizer.json", folder);
    if (path.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory");
    const nlm_status status = nlm_tokenizer_json_write(gguf, path.data, &why);
    nlm_str_release(&path);
    if (status == NLM_OK) return export_template(gguf, folder, err);
    if (status != NLM_UNSUPPORTED) {
        nlm_error_give(err, &why);
        return status;
    }
    nlm_str_printf(note, "note: without a tokenizer.json: %s\n", why.msg);
    return NLM_OK;
}
