/* Files of packed weights built byte by byte, apart from the code that writes them. */
#ifndef NLM_TESTS_PACK_BYTES_H
#define NLM_TESTS_PACK_BYTES_H

#include "base/checksum.h"

#include <stdint.h>
#include <string.h>

#define PACK_KEY "model 1; backend 2"

/* Two entries, "a" of 100 bytes and "bc" of 5000; where their fields are. */
enum {
    PACK_KEY_AT = 40,
    PACK_A = PACK_KEY_AT +
             18, /* entry: offset, bytes, rows, columns, dtype, layout, version, roles, name_bytes, checksum, name */
    PACK_B = PACK_A + 61,
    PACK_END = PACK_B + 62,
    PACK_A_DATA = 4096,
    PACK_B_DATA = 8192,
    PACK_SIZE = 8192 + 5000
};

static inline void pack_put(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static inline void pack_entry(unsigned char *at, uint64_t offset, uint64_t bytes, const char *name) {
    const uint32_t numbers[] = {6, 7, 8, 3, (uint32_t)strlen(name)};
    pack_put(at, offset, 8);
    pack_put(at + 8, bytes, 8);
    pack_put(at + 16, 10, 8);
    pack_put(at + 24, bytes / 10, 8);
    for (int i = 0; i < 5; i++) pack_put(at + 32 + 4 * i, numbers[i], 4);
    memcpy(at + 60, name, strlen(name));
}

/* Puts the checksum right, over a table that ends at `end`. */
static inline void pack_seal(unsigned char *file, size_t end) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, file, 32);
    nlm_checksum_update(&sum, file + 40, end - 40);
    pack_put(file + 32, nlm_checksum_value(&sum), 8);
}

/* file[0..PACK_SIZE) */
static inline void pack_build(unsigned char *file) {
    memset(file, 0, PACK_SIZE);
    memcpy(file, "nlmpack\n", 8);
    pack_put(file + 8, 2, 4);
    pack_put(file + 12, 2, 4);
    pack_put(file + 16, PACK_SIZE, 8);
    pack_put(file + 24, strlen(PACK_KEY), 4);
    pack_put(file + 28, PACK_END - 40, 4);
    memcpy(file + PACK_KEY_AT, PACK_KEY, strlen(PACK_KEY));
    pack_entry(file + PACK_A, PACK_A_DATA, 100, "a");
    pack_entry(file + PACK_B, PACK_B_DATA, 5000, "bc");
    for (int i = 0; i < 100; i++) file[PACK_A_DATA + i] = (unsigned char)(i + 1);
    for (int i = 0; i < 5000; i++) file[PACK_B_DATA + i] = (unsigned char)(i * 7 + 3);
    pack_put(file + PACK_A + 52, nlm_checksum_of(file + PACK_A_DATA, 100), 8);
    pack_put(file + PACK_B + 52, nlm_checksum_of(file + PACK_B_DATA, 5000), 8);
    pack_seal(file, PACK_END);
}

#endif
