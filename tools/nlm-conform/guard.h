/* Memory between guard pages, and what a fault in them means. */
#ifndef NLM_CONFORM_GUARD_H
#define NLM_CONFORM_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct guard_block {
    const char *name;
    uint8_t *map; /* guard page, usable pages, guard page */
    size_t map_bytes;
    uint8_t *data;
    uint64_t bytes;
    bool is_protected;
} guard_block;

/* `bytes` of memory, aligned, whose first byte follows a guard page (at_start) or whose last byte, up to
 * alignment, stands before one. What is left of the pages is filled with a pattern. */
bool guard_alloc(guard_block *block, const char *name, uint64_t bytes, uint64_t alignment, bool at_start);
/* Makes the pages read-only. */
void guard_protect(guard_block *block);
/* Makes them writable again. */
void guard_unprotect(guard_block *block);
/* Whether the pattern around the data is as it was. */
bool guard_is_intact(const guard_block *block);
void guard_free(guard_block *block);

/* From now on a fault writes into message[0..bytes) which block was missed by how much, then calls
 * leave(), which does not return. `message` may change between faults: it is read through the pointer. */
void guard_on_fault(char *const *message, size_t bytes, void (*leave)(void));

/* Takes a page from the block, that in the middle of its first half: who comes to it calls arrive(), and goes on with
 * what was there. */
void guard_trap(const guard_block *block, void (*arrive)(void));

/* In a thread that blocks signals, as workers of a pool do: faults of it are told too. */
void guard_watch_thread(void);

#endif
