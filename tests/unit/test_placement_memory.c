/* Laying out threads where memory runs out at any allocation: a status, and nothing else. */
#include "base/placement.h"
#include "check.h"

#include <stdbool.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_FAILING 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IS_FAILING 0
#endif
#endif
#ifndef IS_FAILING
#define IS_FAILING 1
#endif

static long n_left = -1; /* allocations before the one that fails; less than 0: none does */
static bool has_failed;

#if IS_FAILING
/* glibc's own, under the names it keeps for programs that replace malloc; replaced for libraries too. */
#pragma GCC visibility push(default)
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static bool fails(void) {
    if (n_left < 0 || n_left-- > 0) return false;
    has_failed = true;
    return true;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    return fails() ? NULL : __libc_realloc(memory, size);
}
#pragma GCC visibility pop
#endif

static void any_allocation_may_fail(void) {
    if (!IS_FAILING) CHECK_SKIP("a sanitizer has its own malloc");
    int n_refused = 0;
    long n = 0;
    do {
        nlm_placement placement;
        nlm_error err = NLM_ERROR_INIT;
        has_failed = false;
        n_left = n++;
        const nlm_status status = nlm_placement_here(0, &placement, &err);
        n_left = -1;
        CU_ASSERT(status == NLM_OK || status == NLM_OUT_OF_MEMORY);
        CU_ASSERT_EQUAL(status == NLM_OK, placement.threads > 0);
        n_refused += status == NLM_OUT_OF_MEMORY;
        nlm_placement_release(&placement);
    } while (has_failed && n < 100000);
    CU_ASSERT(n_refused >= 4); /* the mask, its copy, the cores and one of them */
}

static const check_case cases[] = {CHECK_CASE(any_allocation_may_fail)};
CHECK_MAIN("placement memory", cases)
