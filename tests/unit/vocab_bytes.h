/* Vocabularies as GGUF bytes in memory, a key at a time, and the small ones that several tests use. */
#ifndef NLM_TESTS_VOCAB_BYTES_H
#define NLM_TESTS_VOCAB_BYTES_H

#include "base/str.h"
#include "text/tokenizer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct vocab_bytes {
    nlm_str bytes;
    uint64_t keys;
} vocab_bytes;

#define VOCAB_HEADER_BYTES 24 /* "GGUF", u32 version, u64 tensors, u64 keys */

static inline void vocab_raw(vocab_bytes *v, const void *data, size_t size) {
    if (v->bytes.length == 0) {
        const char header[VOCAB_HEADER_BYTES] = {'G', 'G', 'U', 'F', 3};
        nlm_str_append(&v->bytes, header, sizeof header);
    }
    nlm_str_append(&v->bytes, data, size);
    if (v->bytes.has_failed) abort();
}
static inline void vocab_u32(vocab_bytes *v, uint32_t value) {
    vocab_raw(v, &value, sizeof value);
}
static inline void vocab_u64(vocab_bytes *v, uint64_t value) {
    vocab_raw(v, &value, sizeof value);
}
static inline void vocab_text(vocab_bytes *v, const char *text, size_t length) {
    vocab_u64(v, length);
    vocab_raw(v, text, length);
}

static inline void vocab_key(vocab_bytes *v, const char *key, nlm_gguf_type type) {
    vocab_text(v, key, strlen(key));
    vocab_u32(v, (uint32_t)type);
    v->keys++;
    memcpy(v->bytes.data + 16, &v->keys, sizeof v->keys);
}
static inline void vocab_array(vocab_bytes *v, const char *key, nlm_gguf_type element_type, uint64_t count) {
    vocab_key(v, key, NLM_GGUF_ARRAY);
    vocab_u32(v, (uint32_t)element_type);
    vocab_u64(v, count);
}

static inline void vocab_string(vocab_bytes *v, const char *key, const char *value) {
    vocab_key(v, key, NLM_GGUF_STRING);
    vocab_text(v, value, strlen(value));
}
static inline void vocab_number(vocab_bytes *v, const char *key, uint32_t value) {
    vocab_key(v, key, NLM_GGUF_U32);
    vocab_u32(v, value);
}
static inline void vocab_flag(vocab_bytes *v, const char *key, bool value) {
    vocab_key(v, key, NLM_GGUF_BOOL);
    const unsigned char byte = value;
    vocab_raw(v, &byte, 1);
}
static inline void vocab_strings(vocab_bytes *v, const char *key, const char *const *items, size_t count) {
    vocab_array(v, key, NLM_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) vocab_text(v, items[i], strlen(items[i]));
}
static inline void vocab_i32s(vocab_bytes *v, const char *key, const int32_t *items, size_t count) {
    vocab_array(v, key, NLM_GGUF_I32, count);
    vocab_raw(v, items, count * sizeof *items);
}
static inline void vocab_f32s(vocab_bytes *v, const char *key, const float *items, size_t count) {
    vocab_array(v, key, NLM_GGUF_F32, count);
    vocab_raw(v, items, count * sizeof *items);
}

/* The tokenizer of the bytes, which are released. */
static inline nlm_status vocab_open(vocab_bytes *v, nlm_tokenizer **out, nlm_error *err) {
    nlm_gguf *gguf = NULL;
    nlm_status status = nlm_gguf_parse("vocab", v->bytes.data, v->bytes.length, &gguf, err);
    if (status == NLM_OK) status = nlm_tokenizer_create(gguf, out, err);
    if (gguf) nlm_gguf_close(gguf);
    nlm_str_release(&v->bytes);
    *v = (vocab_bytes){0};
    return status;
}

/* A token of the tables below. */
typedef struct vocab_token {
    const char *text;
    int32_t type;
    float score;
} vocab_token;

/* Tokens, types and scores of a table, after the 256 bytes if has_bytes: as <0x00> for SentencePiece, as
 * the printable characters for byte-level BPE. */
static inline void vocab_tokens(vocab_bytes *v, bool is_spm, bool has_bytes, const vocab_token *tokens,
                                size_t count) {
    const size_t n_bytes = has_bytes ? 256 : 0;
    vocab_array(v, "tokenizer.ggml.tokens", NLM_GGUF_STRING, n_bytes + count);
    uint32_t hidden = 0x100;
    for (uint32_t byte = 0; byte < n_bytes; byte++) {
        char text[8];
        const bool is_shown = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        const uint32_t code = is_shown ? byte : hidden++;
        if (is_spm) {
            snprintf(text, sizeof text, "<0x%02X>", byte);
        } else if (code < 0x80) {
            snprintf(text, sizeof text, "%c", (int)code);
        } else {
            snprintf(text, sizeof text, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 0x3F)));
        }
        vocab_text(v, text, strlen(text));
    }
    for (size_t i = 0; i < count; i++) vocab_text(v, tokens[i].text, strlen(tokens[i].text));
    vocab_array(v, "tokenizer.ggml.token_type", NLM_GGUF_I32, n_bytes + count);
    for (size_t i = 0; i < n_bytes; i++) vocab_u32(v, is_spm ? 6 : 1);
    for (size_t i = 0; i < count; i++) vocab_u32(v, (uint32_t)tokens[i].type);
    vocab_array(v, "tokenizer.ggml.scores", NLM_GGUF_F32, n_bytes + count);
    const float none = 0;
    for (size_t i = 0; i < n_bytes; i++) vocab_raw(v, &none, sizeof none);
    for (size_t i = 0; i < count; i++) vocab_raw(v, &tokens[i].score, sizeof tokens[i].score);
}

/* What the file at `path` holds; data is NULL if it cannot be read. */
static inline nlm_str read_file(const char *path) {
    nlm_str out = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return out;
    char chunk[4096];
    nlm_str_append(&out, "", 0);
    for (size_t count; (count = fread(chunk, 1, sizeof chunk, file)) > 0;) nlm_str_append(&out, chunk, count);
    fclose(file);
    return out;
}

#endif
