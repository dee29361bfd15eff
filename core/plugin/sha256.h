/* SHA-256 of a file (FIPS 180-4), for the sha256 of a registry entry. */
#ifndef NLM_PLUGIN_SHA256_H
#define NLM_PLUGIN_SHA256_H

#include <stddef.h>
#include <stdint.h>
#include "plugin/verdict.h"

typedef struct nlm_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} nlm_sha256;

void nlm_sha256_start(nlm_sha256 *hash);
void nlm_sha256_add(nlm_sha256 *hash, const void *data, size_t size);
/* The digest as 64 lower-case hexadecimal digits. */
void nlm_sha256_finish(nlm_sha256 *hash, char out[65]);

/* Refuses unless the file's digest is `expected`, 64 hexadecimal digits in either case. */
bool nlm_sha256_check_file(const char *path, const char *expected, nlm_verdict *verdict);

#endif
