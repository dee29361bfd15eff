/* What tests of the tokenizer share. */
#ifndef NLM_TESTS_TOKENIZER_FIXTURE_H
#define NLM_TESTS_TOKENIZER_FIXTURE_H

#include "text/tokenizer.h"
#include "unit/check.h"
#include "unit/vocab_bytes.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline nlm_tokenizer *open_file(const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    nlm_tokenizer *tokenizer = NULL;
    nlm_status status = nlm_gguf_open(path, &gguf, &err);
    if (status == NLM_OK) status = nlm_tokenizer_create(gguf, &tokenizer, &err);
    if (gguf) nlm_gguf_close(gguf);
    if (status != NLM_OK) printf(" [%s: %s] ", err.where, err.msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
    return tokenizer;
}

/* A line of ids as nlm-tokenize writes it. */
static inline nlm_str encode_line(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                  const nlm_text_spans *spans) {
    nlm_ids ids = {0};
    nlm_str line = {0};
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = nlm_tokenizer_encode_spans(tokenizer, text, length, flags, spans, &ids, &err);
    nlm_str_puts(&line, status == NLM_OK ? "" : err.msg);
    for (size_t i = 0; i < ids.count; i++) nlm_str_printf(&line, "%s%d", i ? " " : "", ids.data[i]);
    nlm_ids_release(&ids);
    return line;
}

/* decode_all(encode(text)) */
static inline nlm_str round_trip(const nlm_tokenizer *tokenizer, const char *text, size_t length) {
    nlm_ids ids = {0};
    nlm_str out = {0};
    CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, text, length, NLM_ENCODE_BOS, &ids, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, ids.data, ids.count, false, &out, NULL), NLM_OK);
    nlm_ids_release(&ids);
    return out;
}

/* xorshift64 */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Bytes of all values; every other stretch is letters, spaces and digits, so that merges happen. */
static inline nlm_str random_bytes(uint64_t seed, size_t length) {
    nlm_str out = {0};
    for (size_t i = 0; i < length; i++) {
        const uint64_t number = next_random(&seed);
        const char byte = i / 64 % 2 ? "the model reads 1984 \n"[number % 22] : (char)number;
        nlm_str_append(&out, &byte, 1);
    }
    return out;
}

#endif
