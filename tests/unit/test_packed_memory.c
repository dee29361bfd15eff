/* Memory that packed weights share. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nlm/plugin.h>

#include "check.h"
#include "exec/packed_memory.h"

#define MIB (1ull << 20)

enum { WEIGHTS = 200 };

static int is_filled_with(const unsigned char *memory, size_t bytes, int value) {
    for (size_t i = 0; i < bytes; i++) {
        if (memory[i] != value) return 0;
    }
    return 1;
}

static void each_weight_has_its_own_bytes(void) {
    static const size_t alignments[] = {64, 4096, 256, 2 * MIB};
    unsigned char *memory[WEIGHTS];
    size_t bytes[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++) {
        const size_t alignment = alignments[i % 4];
        bytes[i] = 1 + (size_t)i * 7919 % 700000;
        memory[i] = nlm_packed_alloc(bytes[i], alignment, i % 5 != 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(memory[i]);
        CU_ASSERT_EQUAL((uintptr_t)memory[i] % alignment, 0);
        memset(memory[i], i + 1, bytes[i]);
    }
    for (int i = 0; i < WEIGHTS; i += 2) nlm_packed_free(memory[i], bytes[i]);
    nlm_packed_settle();
    for (int i = 1; i < WEIGHTS; i += 2) CU_ASSERT(is_filled_with(memory[i], bytes[i], (i + 1) & 255));
    for (int i = 1; i < WEIGHTS; i += 2) nlm_packed_free(memory[i], bytes[i]);
}

static void weights_larger_than_a_piece_stand_in_one_of_their_own(void) {
    char *small = nlm_packed_alloc(100, 64, true), *large = nlm_packed_alloc(100 * MIB, 64, true);
    CU_ASSERT_PTR_NOT_NULL_FATAL(small);
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    large[0] = large[100 * MIB - 1] = 1;
    nlm_packed_free(large, 100 * MIB);
    nlm_packed_free(small, 100);
}

static void what_does_not_fit_is_null(void) {
    CU_ASSERT_PTR_NULL(nlm_packed_alloc(UINT64_MAX - 5, 64, true));
    CU_ASSERT_PTR_NULL(nlm_packed_alloc(UINT64_MAX - 5, 64, false));
    nlm_packed_free(NULL, 0);
    if (NLM_SANITIZER_BUILD != 0) CHECK_SKIP("a sanitizer's malloc ends the program");
    CU_ASSERT_PTR_NULL(nlm_packed_alloc(UINT64_MAX - 4 * MIB, 64, true));
    CU_ASSERT_PTR_NULL(nlm_packed_alloc(1ull << 60, 64, true));
}

/* Pages of [from, from + bytes) that are in memory. */
static size_t resident(const void *from, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = bytes / page;
    unsigned char *is_in = malloc(n);
    size_t count = 0;
    if (is_in && mincore((void *)(uintptr_t)from, bytes, is_in) == 0) {
        for (size_t i = 0; i < n; i++) count += is_in[i] & 1;
    }
    free(is_in);
    return count;
}

static void what_is_not_used_goes_back(void) {
    if (NLM_SANITIZER_BUILD != 0) CHECK_SKIP("under a sanitizer weights stand alone");
    unsigned char *first = nlm_packed_alloc(MIB, 2 * MIB, true), *second = nlm_packed_alloc(MIB / 4, 64, true);
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    CU_ASSERT_PTR_EQUAL_FATAL(second, first + MIB);
    memset(first, 1, MIB);
    memset(second, 2, MIB / 4);
    nlm_packed_settle();
    CU_ASSERT_EQUAL(resident(first + MIB + MIB / 4, MIB - MIB / 4), 0);
    CU_ASSERT(is_filled_with(second, MIB / 4, 2));
    nlm_packed_free(first, MIB);
    CU_ASSERT_EQUAL(resident(first, MIB), 0);
    CU_ASSERT(is_filled_with(second, MIB / 4, 2));
    nlm_packed_free(second, MIB / 4);
}

static const check_case cases[] = {
    CHECK_CASE(each_weight_has_its_own_bytes),
    CHECK_CASE(weights_larger_than_a_piece_stand_in_one_of_their_own),
    CHECK_CASE(what_does_not_fit_is_null),
    CHECK_CASE(what_is_not_used_goes_back),
};

CHECK_MAIN("packed memory", cases)
