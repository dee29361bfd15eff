/* Keys are compared by digests of the same length, all of them each time. */
#include "nlm-server/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/input.h"

static bool digest(const char *key, size_t length, uint8_t out[KEY_DIGEST_BYTES]) {
    unsigned int n = 0;
    return EVP_Digest(key, length, out, &n, EVP_sha256(), NULL) == 1 && n == KEY_DIGEST_BYTES;
}

static nlm_status add(api_keys *keys, const char *key, size_t length, nlm_error *err) {
    void *more = realloc(keys->digests, (keys->count + 1) * sizeof *keys->digests);
    if (!more) return nlm_fail(err, NLM_OUT_OF_MEMORY, "keys", "no memory for the API keys");
    keys->digests = more;
    if (!digest(key, length, keys->digests[keys->count])) {
        return nlm_fail(err, NLM_INTERNAL, "keys", "SHA-256 is not available");
    }
    keys->count++;
    return NLM_OK;
}

static nlm_status read_lines(const nlm_str *text, api_keys *keys, nlm_error *err) {
    for (const char *line = text->data; line && *line;) {
        const size_t length = strcspn(line, "\r\n");
        if (length > 0 && *line != '#') NLM_TRY(add(keys, line, length, err));
        line += length;
        line += strspn(line, "\r\n");
    }
    return NLM_OK;
}

nlm_status keys_read(const char *path, api_keys *keys, nlm_error *err) {
    nlm_str text = {0};
    api_keys read = {.are_needed = true};
    nlm_status status = nlm_read_input(path, &text, err);
    if (status == NLM_OK) status = read_lines(&text, &read, err);
    if (status == NLM_OK && read.count == 0) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, path, "the file has no API key");
    }
    if (text.data) OPENSSL_cleanse(text.data, text.length);
    nlm_str_release(&text);
    if (status != NLM_OK) {
        keys_release(&read);
        return status;
    }
    keys_release(keys);
    *keys = read;
    return NLM_OK;
}

void keys_release(api_keys *keys) {
    free(keys->digests);
    *keys = (api_keys){.are_needed = keys->are_needed};
}

bool keys_allow(const api_keys *keys, const char *key) {
    uint8_t given[KEY_DIGEST_BYTES];
    unsigned found = 0;
    if (!keys->are_needed) return true;
    if (!key || !digest(key, strlen(key), given)) return false;
    for (size_t i = 0; i < keys->count; i++) found |= CRYPTO_memcmp(given, keys->digests[i], sizeof given) == 0;
    return found != 0;
}
