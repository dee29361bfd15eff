/* tokenizer.json into the metadata of a GGUF. */
#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "format/json.h"
#include "text/pre_json.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_json_internal.h"

#define KEY            "tokenizer.ggml."
#define MAX_FILE_BYTES ((size_t)256 << 20)
#define MAX_HOLES      65536u /* ids that no token has, beside as many as there are tokens */

typedef struct reading {
    const char *name; /* of the file */
    const cJSON *root, *model, *vocab, *added, *config;
    nlm_gguf_string chat; /* the template; data NULL: there is none */
    nlm_arena arena;
    nlm_json_steps steps;
    const char *pre; /* byte-level: tokenizer.ggml.pre */
    size_t count;
    nlm_gguf_string *texts; /* by id; a length of 0 and data of NULL: no token yet */
    int32_t *types;
    float *scores;
    nlm_piece_map ids;
    nlm_gguf_string *merges;
    size_t merge_count;
    nlm_str merged; /* scratch */
    int32_t unknown;
} reading;

static nlm_status out_of_memory(const reading *r, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, r->name, "no memory for its vocabulary");
}

static int32_t find_id(const reading *r, const char *text) {
    return text ? nlm_piece_map_find(&r->ids, text, strlen(text)) : -1;
}

/* What changes ids and is not done here. */
static nlm_status check_model(const reading *r, nlm_error *err) {
    const char *type = nlm_json_text_of(r->model, "type");
    if (type && strcmp(type, "BPE") != 0) {
        return nlm_fail(err, NLM_UNSUPPORTED, r->name, "its model is '%.64s'; only BPE is known", type);
    }
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const char *text = nlm_json_text_of(r->model, affixes[i]);
        if (text && *text) {
            return nlm_fail(err, NLM_UNSUPPORTED, r->name, "its model has a %s, which is not supported", affixes[i]);
        }
    }
    const cJSON *dropout = nlm_json_given(r->model, "dropout");
    if (dropout && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0)) {
        return nlm_fail(err, NLM_UNSUPPORTED, r->name, "its model has dropout, which is not supported");
    }
    if (cJSON_IsObject(r->vocab) && r->vocab->child) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, r->name, "its model has no vocab: an object of tokens and ids was expected");
}

/* A member "id" of 0 and more. */
static nlm_status read_id(const reading *r, const cJSON *item, const char *text, int32_t *out, nlm_error *err) {
    uint64_t id;
    if (!nlm_json_is_whole(item, &id) || id > INT32_MAX / 4) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "the id of the token '%.64s' is none", text);
    }
    *out = (int32_t)id;
    return NLM_OK;
}

static nlm_status read_added(const reading *r, const cJSON *item, const char **out_text, int32_t *out_id,
                             nlm_error *err) {
    *out_text = nlm_json_text_of(item, "content");
    if (!*out_text || !**out_text) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "one of its added_tokens has no content");
    }
    return read_id(r, cJSON_GetObjectItemCaseSensitive(item, "id"), *out_text, out_id, err);
}

/* How many ids there are: the largest, and 1. */
static nlm_status count_ids(reading *r, nlm_error *err) {
    int32_t id = 0, largest = 0;
    size_t entries = 0;
    const char *text;
    for (const cJSON *item = r->vocab->child; item; item = item->next, entries++) {
        NLM_TRY(read_id(r, item, item->string, &id, err));
        if (id > largest) largest = id;
    }
    for (const cJSON *item = r->added ? r->added->child : NULL; item; item = item->next, entries++) {
        NLM_TRY(read_added(r, item, &text, &id, err));
        if (id > largest) largest = id;
    }
    r->count = (size_t)largest + 1;
    if (r->count <= 2 * entries + MAX_HOLES) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, r->name, "it has %zu tokens, and one with the id %d", entries, largest);
}

static nlm_status put_token(reading *r, const char *text, int32_t id, int32_t type, nlm_error *err) {
    const size_t length = strlen(text);
    const int32_t before = nlm_piece_map_find(&r->ids, text, length);
    nlm_gguf_string *slot = &r->texts[id];
    const bool is_free = before < 0 && !slot->data;
    if (!is_free && before != id) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "the token '%.64s' or its id %d comes twice", text, id);
    }
    r->types[id] = type;
    if (!is_free) return NLM_OK;
    *slot = (nlm_gguf_string){text, length};
    return nlm_piece_map_add(&r->ids, (nlm_bytes){text, (uint32_t)length}, id) ? NLM_OK : out_of_memory(r, err);
}

static bool is_byte_name(const char *text) {
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strspn(text + 3, "0123456789ABCDEF") == 2;
}

static nlm_status read_vocab(reading *r, nlm_error *err) {
    int32_t id = 0;
    for (const cJSON *item = r->vocab->child; item; item = item->next) {
        NLM_TRY(read_id(r, item, item->string, &id, err));
        const bool is_byte = r->steps.is_spm && is_byte_name(item->string);
        NLM_TRY(put_token(r, item->string, id, is_byte ? NLM_TOKEN_BYTE : NLM_TOKEN_NORMAL, err));
    }
    return NLM_OK;
}

static bool has_prefix(const nlm_json_steps *steps) {
    return steps->is_spm && (steps->prepends || strcmp(steps->scheme, "never") != 0);
}

/* They are cut out of texts before anything else; with blanks around them, or as words alone, only nearly so here. */
static nlm_status read_added_tokens(reading *r, nlm_error *err) {
    static const char *const conditions[] = {"single_word", "lstrip", "rstrip"};
    for (const cJSON *item = r->added ? r->added->child : NULL; item; item = item->next) {
        const char *text;
        int32_t id = 0;
        NLM_TRY(read_added(r, item, &text, &id, err));
        for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
            if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, conditions[i]))) continue;
            return nlm_fail(err, NLM_UNSUPPORTED, r->name, "its added token '%.64s' has %s, which is not supported",
                            text, conditions[i]);
        }
        /* Bytes are in the list too where the package itself learned the vocabulary. */
        const bool is_byte = r->steps.is_spm && is_byte_name(text);
        const bool is_special = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "special"));
        /* The package begins anew behind it, with a space in front; SentencePiece, and nlm, do not. */
        if (!is_special && !is_byte && has_prefix(&r->steps)) {
            return nlm_fail(
                err, NLM_UNSUPPORTED, r->name,
                "its added token '%.64s' is not special, which is not supported where texts get a space in "
                "front",
                text);
        }
        const int32_t type = is_byte ? NLM_TOKEN_BYTE : is_special ? NLM_TOKEN_CONTROL : NLM_TOKEN_USER_DEFINED;
        NLM_TRY(put_token(r, text, id, type, err));
    }
    return NLM_OK;
}

/* Ids that no token has are those of tokens that no text gives. */
static nlm_status fill_holes(reading *r, nlm_error *err) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->texts[i].data) continue;
        const char *text = nlm_arena_printf(&r->arena, "[unused id %zu]", i);
        if (!text) return out_of_memory(r, err);
        NLM_TRY(put_token(r, text, (int32_t)i, NLM_TOKEN_UNUSED, err));
    }
    return NLM_OK;
}

static nlm_status read_tokens(reading *r, nlm_error *err) {
    NLM_TRY(count_ids(r, err));
    r->texts = nlm_arena_array(&r->arena, r->count, sizeof *r->texts);
    r->types = nlm_arena_array(&r->arena, r->count, sizeof *r->types);
    r->scores = nlm_arena_array(&r->arena, r->count, sizeof *r->scores);
    if (!r->texts || !r->types || !r->scores || !nlm_piece_map_reserve(&r->ids, r->count)) {
        return out_of_memory(r, err);
    }
    NLM_TRY(read_vocab(r, err));
    NLM_TRY(read_added_tokens(r, err));
    NLM_TRY(fill_holes(r, err));
    r->unknown = find_id(r, nlm_json_text_of(r->model, "unk_token"));
    if (r->unknown >= 0 && r->steps.is_spm) r->types[r->unknown] = NLM_TOKEN_UNKNOWN;
    return NLM_OK;
}

/* "left right", or a list of both. */
static bool halve(const cJSON *item, const char **left, const char **right, nlm_arena *arena) {
    if (cJSON_IsArray(item)) {
        *left = cJSON_GetStringValue(item->child);
        *right = item->child ? cJSON_GetStringValue(item->child->next) : NULL;
        return *left && *right && !item->child->next->next && !strchr(*left, ' ') && !strchr(*right, ' ');
    }
    const char *text = cJSON_GetStringValue(item);
    const char *blank = text ? strchr(text, ' ') : NULL;
    if (!blank || strchr(blank + 1, ' ')) return false;
    *left = nlm_arena_strndup(arena, text, (size_t)(blank - text));
    *right = blank + 1;
    return *left != NULL;
}

/* Words begin at U+2581 where Metaspace splits. Here they go on, and must not merge across it. */
static bool crosses_words(const reading *r, const char *merged) {
    return r->steps.splits && strstr(merged + 1, NLM_SPACE_MARK) != NULL;
}

static nlm_status read_merge(reading *r, const cJSON *item, size_t index, nlm_error *err) {
    const char *left, *right;
    if (!halve(item, &left, &right, &r->arena)) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "its merge %zu is not two tokens without blanks", index);
    }
    const size_t bytes = strlen(left) + 1 + strlen(right) + 1;
    char *text = nlm_arena_alloc(&r->arena, bytes);
    r->merged.length = 0;
    nlm_str_puts(&r->merged, left);
    nlm_str_puts(&r->merged, right);
    if (!text || r->merged.has_failed) return out_of_memory(r, err);
    snprintf(text, bytes, "%s %s", left, right);
    const char *merged = r->merged.data;
    const int32_t id = find_id(r, merged);
    if (!*left || !*right || id < 0 || find_id(r, left) < 0 || find_id(r, right) < 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "its merge %zu, '%.64s', names what is no token", index, text);
    }
    if (crosses_words(r, merged)) {
        return nlm_fail(err, NLM_UNSUPPORTED, r->name,
                        "its token '%.64s' has U+2581 within, where its pre_tokenizer Metaspace splits", merged);
    }
    r->merges[index] = (nlm_gguf_string){text, bytes - 1};
    if (r->scores[id] == 0) r->scores[id] = -(float)index;
    return NLM_OK;
}

static nlm_status read_merges(reading *r, nlm_error *err) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(r->model, "merges");
    if (!cJSON_IsArray(list)) return nlm_fail(err, NLM_BAD_FORMAT, r->name, "its model has no list of merges");
    for (const cJSON *item = list->child; item; item = item->next) r->merge_count++;
    r->merges = nlm_arena_array(&r->arena, r->merge_count, sizeof *r->merges);
    if (!r->merges) return out_of_memory(r, err);
    size_t index = 0;
    for (const cJSON *item = list->child; item; item = item->next) NLM_TRY(read_merge(r, item, index++, err));
    return NLM_OK;
}

/* SentencePiece's: every byte has a token, so that nothing is unknown. */
static nlm_status check_spm(const reading *r, nlm_error *err) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < r->count; i++) n_bytes += r->types[i] == NLM_TOKEN_BYTE;
    const bool falls_back = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r->model, "byte_fallback"));
    if (!falls_back || n_bytes != 256) {
        return nlm_fail(
            err, NLM_UNSUPPORTED, r->name,
            "it has no byte_fallback with tokens <0x00> to <0xFF>, which other vocabularies of this kind have");
    }
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r->model, "ignore_merges"))) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, r->name, "it has ignore_merges, which is supported for ByteLevel alone");
}

/* The rule that cuts as its pre_tokenizer does. */
static nlm_status find_pre(reading *r, nlm_error *err) {
    const bool ignores = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r->model, "ignore_merges"));
    const nlm_json_steps *steps = &r->steps;
    r->pre = nlm_pre_json_find(steps->pre, steps->pre_count, steps->has_nfc, ignores);
    if (r->pre) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, r->name,
                    "no known rule cuts as its pre_tokenizer does ('%.256s', with%s NFC, with%s ignore_merges)",
                    steps->pre[0], steps->has_nfc ? "" : "out", ignores ? "" : "out");
}

/* A byte without a token is left out, or would be the unknown token. */
static nlm_status check_bytes(const reading *r, nlm_error *err) {
    bool is_there[256] = {false};
    for (size_t i = 0; i < r->count; i++) {
        char byte;
        uint32_t length;
        const nlm_bytes text = {r->texts[i].data, (uint32_t)r->texts[i].length};
        if (text.length <= 2 && nlm_bpe_bytes(text, NULL, &length) && length == 1) {
            nlm_bpe_bytes(text, &byte, &length);
            is_there[(unsigned char)byte] = true;
        }
    }
    for (size_t i = 0; i < 256; i++) {
        if (is_there[i] || r->unknown < 0) continue;
        return nlm_fail(err, NLM_UNSUPPORTED, r->name, "it has an unk_token for the bytes that have no token");
    }
    return NLM_OK;
}

static void put_text(nlm_gguf_writer *w, const char *key, const char *text) {
    nlm_gguf_writer_string(w, key, text, strlen(text));
}

static void put_id(nlm_gguf_writer *w, const char *key, int32_t id) {
    nlm_gguf_writer_u32(w, key, id < 0 ? UINT32_MAX : (uint32_t)id);
}

/* Under a key of tokenizer_config.json: the text of a token, or an object with it. */
static int32_t configured(const reading *r, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->config, key);
    return find_id(r, cJSON_IsObject(item) ? nlm_json_text_of(item, "content") : cJSON_GetStringValue(item));
}

static int32_t find_named(const reading *r, const char *const *names) {
    for (; *names; names++) {
        const int32_t id = find_id(r, *names);
        if (id >= 0 && r->types[id] == NLM_TOKEN_CONTROL) return id;
    }
    return -1;
}

static nlm_status put_ends(const reading *r, nlm_gguf_writer *w, nlm_error *err) {
    static const char *const firsts[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>",
                                         NULL};
    static const char *const lasts[] = {"</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>", NULL};
    nlm_json_ends ends;
    NLM_TRY(nlm_json_read_ends(r->name, r->root, &ends, err));
    int32_t first = find_id(r, ends.first), last = find_id(r, ends.last);
    if ((ends.first && first < 0) || (ends.last && last < 0)) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "its post_processor names what is no token");
    }
    if (first < 0) first = configured(r, "bos_token");
    if (first < 0) first = find_named(r, firsts);
    if (last < 0) last = configured(r, "eos_token");
    if (last < 0) last = find_named(r, lasts);
    put_id(w, KEY "bos_token_id", first);
    put_id(w, KEY "eos_token_id", last);
    put_id(w, KEY "unknown_token_id", r->unknown);
    nlm_gguf_writer_bool(w, KEY "add_bos_token", ends.first != NULL);
    nlm_gguf_writer_bool(w, KEY "add_eos_token", ends.last != NULL);
    return NLM_OK;
}

/* In tokenizer_config.json: as text, or in a list of named ones. */
static const char *template_of(const cJSON *config) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "chat_template");
    if (cJSON_IsString(item)) return item->valuestring;
    for (const cJSON *named = cJSON_IsArray(item) ? item->child : NULL; named; named = named->next) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(named, "name"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(named, "template"));
        if (name && strcmp(name, "default") == 0 && text) return text;
    }
    return NULL;
}

static nlm_status put_all(const reading *r, nlm_gguf_writer *w, nlm_error *err) {
    const char *chat = template_of(r->config);
    if (r->chat.data)
        nlm_gguf_writer_string(w, "tokenizer.chat_template", r->chat.data, (size_t)r->chat.length);
    else if (chat)
        put_text(w, "tokenizer.chat_template", chat);
    put_text(w, "general.architecture", "llama");
    put_text(w, "general.type", "vocab");
    put_text(w, KEY "model", r->steps.is_spm ? "llama" : "gpt2");
    nlm_gguf_writer_strings(w, KEY "tokens", r->texts, r->count);
    nlm_gguf_writer_array(w, KEY "token_type", NLM_GGUF_I32, r->types, r->count);
    nlm_gguf_writer_strings(w, KEY "merges", r->merges, r->merge_count);
    if (!r->steps.is_spm) {
        put_text(w, KEY "pre", r->pre);
        return put_ends(r, w, err);
    }
    const bool has_scheme = strcmp(r->steps.scheme, "never") != 0;
    nlm_gguf_writer_array(w, KEY "scores", NLM_GGUF_F32, r->scores, r->count);
    nlm_gguf_writer_bool(w, KEY "add_space_prefix", has_prefix(&r->steps));
    if (has_scheme) put_text(w, NLM_VOCAB_PREPEND_KEY, r->steps.scheme);
    return put_ends(r, w, err);
}

static nlm_status read_all(reading *r, nlm_error *err) {
    r->model = cJSON_GetObjectItemCaseSensitive(r->root, "model");
    r->vocab = cJSON_GetObjectItemCaseSensitive(r->model, "vocab");
    r->added = nlm_json_given(r->root, "added_tokens");
    if (!cJSON_IsObject(r->model)) {
        return nlm_fail(err, NLM_BAD_FORMAT, r->name, "it has no model: is it a tokenizer.json?");
    }
    NLM_TRY(check_model(r, err));
    NLM_TRY(nlm_json_read_steps(r->name, r->root, &r->arena, &r->steps, err));
    NLM_TRY(read_tokens(r, err));
    NLM_TRY(read_merges(r, err));
    if (r->steps.is_spm) return check_spm(r, err);
    NLM_TRY(find_pre(r, err));
    return check_bytes(r, err);
}

/* `root` and `config` (or NULL) stay the caller's. */
static nlm_status convert(const char *name, const cJSON *root, const cJSON *config, nlm_gguf_string chat,
                          nlm_gguf **out, nlm_error *err) {
    reading r = {.name = name, .root = root, .config = config, .chat = chat};
    nlm_gguf_writer *writer = NULL;
    nlm_status status = read_all(&r, err);
    if (status == NLM_OK) status = nlm_gguf_writer_create(&writer, err);
    if (status == NLM_OK) status = put_all(&r, writer, err);
    if (status == NLM_OK) status = nlm_gguf_writer_map(writer, name, out, err);
    nlm_gguf_writer_destroy(writer);
    nlm_piece_map_release(&r.ids);
    nlm_str_release(&r.merged);
    nlm_arena_release(&r.arena);
    return status;
}

nlm_status nlm_tokenizer_json_parse(const char *name, const char *text, size_t length, const char *config,
                                    nlm_gguf **out, nlm_error *err) {
    cJSON *root = NULL, *settings = NULL;
    nlm_status status = nlm_json_parse(name, text, length, &root, err);
    if (status == NLM_OK && config) status = nlm_json_parse(name, config, strlen(config), &settings, err);
    if (status == NLM_OK) status = convert(name, root, settings, (nlm_gguf_string){0}, out, err);
    cJSON_Delete(settings);
    cJSON_Delete(root);
    return status;
}

/* The path of a file beside `path`; NULL, and a failure, without memory. */
static const char *beside(nlm_arena *arena, const char *path, const char *name, nlm_error *err) {
    const char *slash = strrchr(path, '/');
    const char *made = nlm_arena_printf(arena, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
    if (!made) nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to read it");
    return made;
}

/* tokenizer_config.json beside `path`; NULL if there is none. */
static nlm_status read_config(nlm_arena *arena, const char *path, cJSON **out, nlm_error *err) {
    const char *config = beside(arena, path, "tokenizer_config.json", err);
    if (!config) return NLM_OUT_OF_MEMORY;
    const nlm_status status = nlm_json_read(config, MAX_FILE_BYTES, out, err);
    return status == NLM_NOT_FOUND ? NLM_OK : status;
}

/* chat_template.jinja beside `path`, which newer folders have; data NULL if there is none. */
static nlm_status read_template(nlm_arena *arena, const char *path, nlm_file_map *out, nlm_error *err) {
    const char *file = beside(arena, path, "chat_template.jinja", err);
    if (!file) return NLM_OUT_OF_MEMORY;
    const nlm_status status = nlm_file_read(file, out, err);
    if (status == NLM_OK && out->size > MAX_FILE_BYTES) {
        return nlm_fail(err, NLM_LIMIT, file, "it has %zu bytes; at most %zu are read", out->size,
                        (size_t)MAX_FILE_BYTES);
    }
    return status == NLM_NOT_FOUND ? NLM_OK : status;
}

nlm_status nlm_tokenizer_json_read(const char *path, nlm_gguf **out, nlm_error *err) {
    cJSON *root = NULL, *config = NULL;
    nlm_file_map chat = {0};
    nlm_arena arena = {0};
    nlm_status status = nlm_json_read(path, MAX_FILE_BYTES, &root, err);
    if (status == NLM_OK) status = read_config(&arena, path, &config, err);
    if (status == NLM_OK) status = read_template(&arena, path, &chat, err);
    const nlm_gguf_string text = {(const char *)chat.data, chat.size};
    if (status == NLM_OK) status = convert(path, root, config, text, out, err);
    nlm_file_map_close(&chat);
    nlm_arena_release(&arena);
    cJSON_Delete(config);
    cJSON_Delete(root);
    return status;
}
