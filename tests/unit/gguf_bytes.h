/* GGUF files assembled byte by byte, so that tests can say anything a file could. */
#ifndef NLM_TESTS_GGUF_BYTES_H
#define NLM_TESTS_GGUF_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bytes {
    _Alignas(64) unsigned char data[4096];
    size_t size;
} bytes;

static inline void put(bytes *b, const void *data, size_t size) {
    if (b->size + size > sizeof b->data) abort(); /* a test that outgrew its buffer */
    memcpy(b->data + b->size, data, size);
    b->size += size;
}
static inline void put_u8(bytes *b, uint8_t value) {
    put(b, &value, sizeof value);
}
static inline void put_u32(bytes *b, uint32_t value) {
    put(b, &value, sizeof value);
}
static inline void put_u64(bytes *b, uint64_t value) {
    put(b, &value, sizeof value);
}
static inline void put_f32(bytes *b, float value) {
    put(b, &value, sizeof value);
}
static inline void put_string(bytes *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}
static inline void put_header(bytes *b, uint32_t version, uint64_t tensors, uint64_t entries) {
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, entries);
}
static inline void put_key(bytes *b, const char *key, uint32_t type) {
    put_string(b, key);
    put_u32(b, type);
}
static inline void put_tensor(bytes *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                              uint64_t offset) {
    put_string(b, name);
    put_u32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) put_u64(b, dims[d]);
    put_u32(b, type);
    put_u64(b, offset);
}
static inline void put_padding(bytes *b, size_t alignment) {
    while (b->size % alignment) put_u8(b, 0);
}

#endif
