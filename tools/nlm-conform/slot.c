/* What a slot of a sliced device may not do, whatever it computes: allocate, or leave another floating-point mode. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "conform.h"

static _Thread_local uint64_t n_allocations;
static _Thread_local bool was_called; /* a thread's first call may get it its thread-local variables */

#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_COUNTING 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_COUNTING 0
#endif
#endif
#ifndef IS_COUNTING
#define IS_COUNTING 1
#endif

#define SEEN_BY_PLUGINS __attribute__((visibility("default")))

#if IS_COUNTING /* sanitizers have allocators of their own */
/* These stand before the C library's for all that is loaded, plugins too; it keeps its own under other names. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

SEEN_BY_PLUGINS void *malloc(size_t bytes) {
    n_allocations++;
    return __libc_malloc(bytes);
}

SEEN_BY_PLUGINS void *calloc(size_t count, size_t bytes) {
    n_allocations++;
    return __libc_calloc(count, bytes);
}

SEEN_BY_PLUGINS void *realloc(void *memory, size_t bytes) {
    n_allocations++;
    return __libc_realloc(memory, bytes);
}

SEEN_BY_PLUGINS void *aligned_alloc(size_t alignment, size_t bytes) {
    n_allocations++;
    return __libc_memalign(alignment, bytes);
}

SEEN_BY_PLUGINS int posix_memalign(void **out, size_t alignment, size_t bytes) {
    n_allocations++;
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
#endif

size_t conform_allocated(void) {
    if (!IS_COUNTING) return 0;
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

void conform_slot_begin(conform_slot *slot) {
    *slot = (conform_slot){nlm_fp_mode_get(), n_allocations};
}

const char *conform_slot_end(const conform_slot *slot) {
    const bool has_allocated = was_called && n_allocations != slot->n_allocations;
    was_called = true;
    if (nlm_fp_mode_get() != slot->fp_mode) {
        nlm_fp_mode_set(slot->fp_mode);
        return "changes the floating-point mode";
    }
    return has_allocated ? "allocates memory, which it should ask for in query" : NULL;
}
