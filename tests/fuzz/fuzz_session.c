/* Any bytes as a session file: parsed, and everything the view points at is read. The checksum and the
 * model's fingerprint are put right first, half the time, so that what stands behind them is reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "session/session_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the reads from being optimised away. */
static volatile uint64_t sink;

static const nlm_session_shape shapes[] = {
    /* a Llama of f16 keys and values; a Mamba; none of either */
    {.fingerprint = 0x0123456789abcdefu, .state_kind = 1, .n_vocab = 7, .max_tokens = 64, .bytes_per_token = 6},
    {.fingerprint = 1, .state_kind = NLM_SESSION_NO_KV, .n_vocab = 3, .max_tokens = UINT64_MAX, .fixed_bytes = 40},
    {.fingerprint = 2,
     .state_kind = 0,
     .n_vocab = INT32_MAX,
     .max_tokens = UINT64_MAX,
     .bytes_per_token = UINT64_MAX},
};

static void read_bytes(const unsigned char *at, uint64_t bytes) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < bytes; i++) sum += at[i];
    sink += sum;
}

static void parse(const uint8_t *data, size_t size, const nlm_session_shape *shape) {
    nlm_session_view view;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_session_file_parse("fuzz", data, size, shape, &view, &err) != NLM_OK) {
        sink += strlen(err.msg);
        return;
    }
    read_bytes(view.tokens, 4 * view.n_tokens);
    if (view.logits) read_bytes(view.logits, 4 * (uint64_t)shape->n_vocab);
    read_bytes((const unsigned char *)view.text, view.n_text);
    read_bytes((const unsigned char *)view.marks, view.n_text);
    read_bytes(view.state, view.state_bytes);
}

static void put_u64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) parse(data, size, &shapes[i]);
    if (size < 64) return 0;
    uint8_t *copy = malloc(size);
    if (!copy) return 0;
    memcpy(copy, data, size);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        put_u64(copy + 16, shapes[i].fingerprint);
        put_u64(copy + size - 8, nlm_checksum_of(copy, size - 8));
        parse(copy, size, &shapes[i]);
    }
    free(copy);
    return 0;
}
