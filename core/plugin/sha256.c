/* SHA-256 of a file, for entries that name one (FIPS 180-4). */
#include "plugin/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned bits) {
    return x >> bits | x << (32 - bits);
}

static uint32_t read_big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void mix_block(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64];
    for (int t = 0; t < 16; t++) w[t] = read_big_endian(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        const uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        const uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    uint32_t v[8]; /* a..h of the standard */
    memcpy(v, state, sizeof v);
    for (int t = 0; t < 64; t++) {
        const uint32_t sum1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        const uint32_t t1 = v[7] + sum1 + choice + constants[t] + w[t];
        const uint32_t sum0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + sum0 + majority;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void nlm_sha256_start(nlm_sha256 *hash) {
    /* The first 32 bits of the fractional parts of the square roots of the first 8 primes. */
    *hash = (nlm_sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void nlm_sha256_add(nlm_sha256 *hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    while (size > 0) {
        const size_t used = hash->bytes % 64;
        const size_t take = size < 64 - used ? size : 64 - used;
        memcpy(hash->block + used, bytes, take);
        hash->bytes += take;
        bytes += take;
        size -= take;
        if (hash->bytes % 64 == 0) mix_block(hash->state, hash->block);
    }
}

void nlm_sha256_finish(nlm_sha256 *hash, char out[65]) {
    const uint64_t bits = hash->bytes * 8;
    const uint8_t one = 0x80, zero = 0;
    nlm_sha256_add(hash, &one, 1);
    while (hash->bytes % 64 != 56) nlm_sha256_add(hash, &zero, 1);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    nlm_sha256_add(hash, length, sizeof length);
    for (size_t i = 0; i < 8; i++) snprintf(out + 8 * i, 9, "%08x", hash->state[i]);
}

static bool hash_file(const char *path, char out[65]) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return false;
    nlm_sha256 hash;
    nlm_sha256_start(&hash);
    uint8_t chunk[16384];
    ssize_t got;
    do {
        got = read(fd, chunk, sizeof chunk);
        if (got > 0) nlm_sha256_add(&hash, chunk, (size_t)got);
    } while (got > 0 || (got < 0 && errno == EINTR));
    const int why = errno;
    close(fd);
    errno = why;
    nlm_sha256_finish(&hash, out);
    return got == 0;
}

bool nlm_sha256_check_file(const char *path, const char *expected, nlm_verdict *verdict) {
    char digest[65];
    if (!hash_file(path, digest)) return nlm_refuse(verdict, "%s cannot be read: %s", path, strerror(errno));
    if (strcasecmp(digest, expected) == 0) return true;
    return nlm_refuse(verdict, "its sha256 is %s; its registry entry says %s", digest, expected);
}
