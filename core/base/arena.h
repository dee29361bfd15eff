/* A growing arena: many small allocations, one release. Not thread-safe. */
#ifndef NLM_BASE_ARENA_H
#define NLM_BASE_ARENA_H

#include <stddef.h>

typedef struct nlm_arena_block nlm_arena_block;

typedef struct nlm_arena {
    nlm_arena_block *blocks; /* newest first */
    size_t block_bytes;      /* size of the next ordinary block */
} nlm_arena;

/* A zeroed nlm_arena is a valid empty one. */

/* Zeroed memory aligned to 16 bytes; NULL when there is none. bytes 0 gives a valid pointer. */
void *nlm_arena_alloc(nlm_arena *arena, size_t bytes);
/* As nlm_arena_alloc for count elements; NULL also when the product wraps. */
void *nlm_arena_array(nlm_arena *arena, size_t count, size_t element_bytes);
/* A terminated copy of text[0..length). */
char *nlm_arena_strndup(nlm_arena *arena, const char *text, size_t length);
char *nlm_arena_printf(nlm_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees everything and leaves a valid empty arena. */
void nlm_arena_release(nlm_arena *arena);

#endif
