/* A session's file: whole, cut, changed, or of another model. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "check.h"
#include "session/session_file.h"
#include "session/text_stream.h"
#include "temporary.h"

#define N_VOCAB  7
#define N_TOKENS 5
#define HEADER   64
#define MU       56 /* the last of it; version 2 has none */

static const nlm_session_shape shape = {.fingerprint = 0x1122334455667788u,
                                        .state_kind = 1,
                                        .n_vocab = N_VOCAB,
                                        .max_tokens = 16,
                                        .bytes_per_token = 6,
                                        .fixed_bytes = 3};
static const int32_t tokens[N_TOKENS] = {0, 6, 3, 3, 1};
static const float logits[N_VOCAB] = {0, 1, 2, 3, 4, 5, -6};
static const char text[3] = {'\xf0', '<', '>'}, marks[3] = {NLM_TEXT_SHOWN, NLM_TEXT_HIDDEN, NLM_TEXT_HIDDEN_TAIL};
static const char state[N_TOKENS * 6 + 3 + 1] = "abcdefghijklmnopqrstuvwxyz0123456";

static nlm_status write_file(const char *path) {
    nlm_session_writer writer;
    const nlm_session_counts counts = {N_TOKENS, N_VOCAB, sizeof text, 4.25};
    nlm_status status = nlm_session_writer_to_file(&writer, path, NULL);
    if (status == NLM_OK) status = nlm_session_writer_begin(&writer, &shape, &counts, NULL);
    if (status == NLM_OK) status = nlm_session_writer_put(&writer, tokens, sizeof tokens, NULL);
    if (status == NLM_OK) status = nlm_session_writer_put(&writer, logits, sizeof logits, NULL);
    if (status == NLM_OK) status = nlm_session_writer_put(&writer, text, sizeof text, NULL);
    if (status == NLM_OK) status = nlm_session_writer_put(&writer, marks, sizeof marks, NULL);
    if (status == NLM_OK) status = nlm_session_writer_put(&writer, state, N_TOKENS * 6 + 3, NULL);
    if (status == NLM_OK) status = nlm_session_writer_commit(&writer, NULL);
    nlm_session_writer_release(&writer);
    return status;
}

/* A copy of a written file in memory of exactly its size; freed by the caller. */
static unsigned char *written(size_t *out_size) {
    temporary t;
    nlm_file_map map = {0};
    unsigned char *copy = NULL;
    CU_ASSERT_FATAL(temporary_make(&t));
    CU_ASSERT_EQUAL(write_file(temporary_path(&t, "s")), NLM_OK);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    if (nlm_file_map_open(temporary_path(&t, "s"), &map, NULL) == NLM_OK && (copy = malloc(map.size))) {
        memcpy(copy, map.data, map.size);
    }
    *out_size = map.size;
    nlm_file_map_close(&map);
    temporary_remove(&t);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    return copy;
}

static void put_u64(unsigned char *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static void reseal(unsigned char *data, size_t size) {
    put_u64(data + size - 8, nlm_checksum_of(data, size - 8));
}

static void file_gives_back_what_was_written(void) {
    size_t size;
    unsigned char *data = written(&size);
    CU_ASSERT_EQUAL(size, HEADER + sizeof tokens + sizeof logits + sizeof text + sizeof marks + N_TOKENS * 6 + 3 + 8);
    nlm_session_view view;
    CU_ASSERT_EQUAL_FATAL(nlm_session_file_parse("s", data, size, &shape, &view, NULL), NLM_OK);
    CU_ASSERT_EQUAL(view.n_tokens, N_TOKENS);
    CU_ASSERT_EQUAL(memcmp(view.tokens, tokens, sizeof tokens), 0);
    CU_ASSERT_EQUAL(memcmp(view.logits, logits, sizeof logits), 0);
    CU_ASSERT_EQUAL(view.mu, 4.25);
    CU_ASSERT_EQUAL(view.n_text, sizeof text);
    CU_ASSERT_EQUAL(memcmp(view.text, text, sizeof text), 0);
    CU_ASSERT_EQUAL(memcmp(view.marks, marks, sizeof marks), 0);
    CU_ASSERT_EQUAL(view.state_bytes, N_TOKENS * 6 + 3);
    CU_ASSERT_EQUAL(memcmp(view.state, state, view.state_bytes), 0);
    free(data);
}

/* Version 2: the same without mu. */
static void file_of_the_version_before_is_read(void) {
    size_t size;
    unsigned char *data = written(&size);
    nlm_session_view view;
    data[8] = 2;
    memmove(data + MU, data + HEADER, size - HEADER);
    size -= HEADER - MU;
    reseal(data, size);
    CU_ASSERT_EQUAL_FATAL(nlm_session_file_parse("s", data, size, &shape, &view, NULL), NLM_OK);
    CU_ASSERT(view.n_tokens == N_TOKENS && view.n_text == sizeof text && view.mu == 0);
    CU_ASSERT_EQUAL(memcmp(view.tokens, tokens, sizeof tokens), 0);
    CU_ASSERT_EQUAL(memcmp(view.state, state, view.state_bytes), 0);
    for (size_t n = 0; n < size; n++) {
        CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, n, &shape, &view, NULL), NLM_BAD_FORMAT);
    }
    free(data);
}

static void file_rejects_a_change_of_any_byte(void) {
    size_t size;
    unsigned char *data = written(&size);
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < size; i++) {
        for (size_t m = 0; m < sizeof masks; m++) {
            nlm_session_view view;
            nlm_error err = NLM_ERROR_INIT;
            data[i] ^= masks[m];
            CU_ASSERT_NOT_EQUAL(nlm_session_file_parse("s", data, size, &shape, &view, &err), NLM_OK);
            CU_ASSERT(err.msg[0] != '\0');
            data[i] ^= masks[m];
        }
    }
    free(data);
}

static void file_rejects_truncation_at_any_byte(void) {
    size_t size;
    unsigned char *data = written(&size);
    for (size_t n = 0; n < size; n++) {
        unsigned char *part = malloc(n ? n : 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(part);
        memcpy(part, data, n);
        nlm_session_view view;
        CU_ASSERT_EQUAL(nlm_session_file_parse("s", part, n, &shape, &view, NULL), NLM_BAD_FORMAT);
        free(part);
    }
    free(data);
}

/* Files whose checksum is right and whose content does not fit. */
static void file_rejects_what_does_not_fit(void) {
    static const struct {
        size_t offset;
        uint64_t value; /* over 8 bytes */
        nlm_status status;
        const char *told;
    } wrong[] = {
        {8, 0x100000001u, NLM_UNSUPPORTED, "version 1"},
        {8, 0x200000003u, NLM_UNSUPPORTED, "another type of KV cache"},
        {16, 0, NLM_UNSUPPORTED, "another model"},
        {8, 0x100000004u, NLM_UNSUPPORTED, "version 4"},
        {8, 0x100000002u, NLM_BAD_FORMAT, "truncated or changed"},
        {MU, 0x7ff8000000000000u, NLM_BAD_FORMAT, "mu is nan"},
        {MU, 0xfff0000000000000u, NLM_BAD_FORMAT, "mu is -inf"},
        {24, 1ull << 62, NLM_BAD_FORMAT, "truncated or changed"},
        {24, ~0ull, NLM_BAD_FORMAT, "truncated or changed"},
        {40, ~0ull, NLM_BAD_FORMAT, "truncated or changed"},
        {48, ~0ull, NLM_BAD_FORMAT, "truncated or changed"},
        {48, 1ull << 63, NLM_BAD_FORMAT, "truncated or changed"},
        {HEADER, 7, NLM_BAD_FORMAT, "token 0 is 7"},
        {HEADER, 0x80000000u, NLM_BAD_FORMAT, "outside the vocabulary"},
        {HEADER + sizeof tokens + sizeof logits + sizeof text, NLM_TEXT_MARKS, NLM_BAD_FORMAT,
         "byte 0 of the text has mark 3"},
        {HEADER + sizeof tokens, 0x7fc00000u, NLM_BAD_FORMAT, "the logit of token 0 is nan"},
        {HEADER + sizeof tokens + 20, 0xff80000000000000u, NLM_BAD_FORMAT, "the logit of token 6 is -inf"},
    };
    size_t size;
    unsigned char *data = written(&size), saved[8];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        nlm_session_view view;
        nlm_error err = NLM_ERROR_INIT;
        memcpy(saved, data + wrong[i].offset, 8);
        put_u64(data + wrong[i].offset, wrong[i].value);
        reseal(data, size);
        CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, size, &shape, &view, &err), wrong[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, wrong[i].told));
        memcpy(data + wrong[i].offset, saved, 8);
    }
    reseal(data, size);
    nlm_session_view view;
    nlm_session_shape other = shape;
    other.max_tokens = N_TOKENS - 1;
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, size, &other, &view, NULL), NLM_LIMIT);
    other = shape;
    other.fixed_bytes++;
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, size, &other, &view, NULL), NLM_BAD_FORMAT);
    other.fixed_bytes = ~0ull;
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, size, &other, &view, NULL), NLM_BAD_FORMAT);
    other = shape;
    other.n_vocab++;
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", data, size, &other, &view, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", "GGUF....", 8, &shape, &view, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_session_file_parse("s", NULL, 0, &shape, &view, NULL), NLM_BAD_FORMAT);
    free(data);
}

static const check_case cases[] = {
    CHECK_CASE(file_gives_back_what_was_written),  CHECK_CASE(file_of_the_version_before_is_read),
    CHECK_CASE(file_rejects_a_change_of_any_byte), CHECK_CASE(file_rejects_truncation_at_any_byte),
    CHECK_CASE(file_rejects_what_does_not_fit),
};
CHECK_MAIN("session_file", cases)
