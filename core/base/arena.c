/* Blocks of memory that are freed together; what comes from one is zeroed and aligned. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK_BYTES 4096u
#define LAST_BLOCK_BYTES  (1u << 20)

struct nlm_arena_block {
    nlm_arena_block *next;
    size_t used;
    size_t size;
    _Alignas(16) unsigned char data[];
};

static nlm_arena_block *add_block(nlm_arena *arena, size_t at_least) {
    if (arena->block_bytes == 0) arena->block_bytes = FIRST_BLOCK_BYTES;
    const size_t size = at_least > arena->block_bytes ? at_least : arena->block_bytes;
    if (size > SIZE_MAX - sizeof(nlm_arena_block)) return NULL;
    nlm_arena_block *block = calloc(1, sizeof *block + size);
    if (!block) return NULL;
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    if (arena->block_bytes < LAST_BLOCK_BYTES) arena->block_bytes *= 2;
    return block;
}

void *nlm_arena_alloc(nlm_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - 15) return NULL;
    const size_t rounded = (bytes + 15) & ~(size_t)15;
    nlm_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < rounded) block = add_block(arena, rounded);
    if (!block) return NULL;
    void *memory = block->data + block->used;
    block->used += rounded;
    return memory;
}

void *nlm_arena_array(nlm_arena *arena, size_t count, size_t element_bytes) {
    size_t bytes;
    if (__builtin_mul_overflow(count, element_bytes, &bytes)) return NULL;
    return nlm_arena_alloc(arena, bytes);
}

char *nlm_arena_strndup(nlm_arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *copy = nlm_arena_alloc(arena, length + 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *nlm_arena_printf(nlm_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return NULL;
    char *text = nlm_arena_alloc(arena, (size_t)length + 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void nlm_arena_release(nlm_arena *arena) {
    for (nlm_arena_block *block = arena->blocks; block;) {
        nlm_arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->block_bytes = 0;
}
