/* GGUF files assembled byte by byte, so that tests can say anything a file could. */
#ifndef NLM_TESTS_GGUF_BYTES_H
#define NLM_TESTS_GGUF_BYTES_H

#include "format/gguf.h"

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

/* A file of 7 keys and 3 tensors: f32, q4_0 and one of a type that no one knows yet. The f32 one holds
 * 8 times 1.5. */
static inline void put_complete_file(bytes *b, uint32_t version) {
    put_header(b, version, 3, 7);
    put_key(b, "general.architecture", NLM_GGUF_STRING);
    put_string(b, "llama");
    put_key(b, "a.u8", NLM_GGUF_U8);
    put_u8(b, 200);
    put_key(b, "a.i32", NLM_GGUF_I32);
    put_u32(b, (uint32_t)-3);
    put_key(b, "a.f32", NLM_GGUF_F32);
    put_f32(b, 0.25f);
    put_key(b, "a.bool", NLM_GGUF_BOOL);
    put_u8(b, 1);
    put_key(b, "a.numbers", NLM_GGUF_ARRAY);
    put_u32(b, NLM_GGUF_I32);
    put_u64(b, 3);
    for (uint32_t i = 0; i < 3; i++) put_u32(b, i * 10 - 10);
    put_key(b, "a.strings", NLM_GGUF_ARRAY);
    put_u32(b, NLM_GGUF_STRING);
    put_u64(b, 2);
    put_string(b, "one");
    put_string(b, "");
    put_tensor(b, "w.f32", 2, (const uint64_t[]){4, 2}, NLM_F32, 0);
    put_tensor(b, "w.q4_0", 2, (const uint64_t[]){64, 3}, NLM_Q4_0, 32);
    put_tensor(b, "w.future", 1, (const uint64_t[]){7}, 4711, 160);
    put_padding(b, 32);
    for (int i = 0; i < 8; i++) put_f32(b, 1.5f);
    for (int i = 0; i < 128 + 32; i++) put_u8(b, 0);
}

#endif
