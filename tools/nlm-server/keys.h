/* API keys, from a file. */
#ifndef NLM_SERVER_KEYS_H
#define NLM_SERVER_KEYS_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_DIGEST_BYTES 32

typedef struct api_keys {
    uint8_t (*digests)[KEY_DIGEST_BYTES]; /* of the keys, which are not kept */
    size_t count;
    bool are_needed; /* a file was given: without a key in it nobody is let in */
} api_keys;

/* Reads the file: a key a line; empty lines and those that begin with '#' are skipped. What *keys held is replaced,
 * or stays after an error. Errors NOT_FOUND, PERMISSION, IO, OUT_OF_MEMORY, INVALID_ARGUMENT (no key). */
nlm_status keys_read(const char *path, api_keys *keys, nlm_error *err);
void keys_release(api_keys *keys);
/* In a time that does not depend on how much of a key is right. NULL: none was given. */
bool keys_allow(const api_keys *keys, const char *key);

#endif
