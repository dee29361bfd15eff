/* Any bytes as tokenizer.json: read, or refused; what is read can be used, and written and read again it gives the
 * same ids. */
#include "text/tokenizer_json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nlm_ids encode(const nlm_gguf *gguf) {
    static const char text[] = "ab  the cat's 1984 \xC3\xA9\xFF  \nabab<s></s>\xE2\x96\x81 a";
    nlm_ids ids = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_tokenizer_create(gguf, &tokenizer, &err) != NLM_OK) return ids;
    const uint32_t flags = NLM_ENCODE_BOS | NLM_ENCODE_SPECIAL;
    if (nlm_tokenizer_encode(tokenizer, text, sizeof text - 1, flags, &ids, &err) != NLM_OK) abort();
    nlm_tokenizer_destroy(tokenizer);
    return ids;
}

/* What was read can be written, but for what tokenizer.json says in other words than GGUF. */
static void check_again(const nlm_gguf *gguf, const nlm_ids *ids) {
    nlm_str json = {0};
    nlm_gguf *again = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_tokenizer_json_print(gguf, &json, &err) == NLM_OK) {
        if (nlm_tokenizer_json_parse("written", json.data, json.length, NULL, &again, &err) != NLM_OK) {
            fprintf(stderr, "%s\n", err.msg);
            abort();
        }
        nlm_ids same = encode(again);
        if (same.count != ids->count ||
            (ids->count && memcmp(same.data, ids->data, ids->count * sizeof *ids->data))) {
            abort();
        }
        nlm_ids_release(&same);
        nlm_gguf_close(again);
    }
    nlm_str_release(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_gguf *gguf = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_tokenizer_json_parse("input", (const char *)data, size, NULL, &gguf, &err) != NLM_OK) return 0;
    nlm_ids ids = encode(gguf);
    check_again(gguf, &ids);
    nlm_ids_release(&ids);
    nlm_gguf_close(gguf);
    return 0;
}
