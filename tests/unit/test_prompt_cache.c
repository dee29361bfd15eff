/* Prefixes found, evicted and shared, against a plain list. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "session/prompt_cache.h"

#define MAX_PAYLOADS 4096

typedef struct ledger {
    int n_released[MAX_PAYLOADS];
} ledger;

static void release(void *user, int32_t payload) {
    ((ledger *)user)->n_released[payload]++;
}

static nlm_prompt_cache *make(int32_t max_blocks, int32_t block_tokens, int32_t grain, ledger *l) {
    const nlm_prompt_cache_options options = {
        .max_blocks = max_blocks, .block_tokens = block_tokens, .grain = grain, .release = release, .user = l};
    nlm_prompt_cache *cache = NULL;
    memset(l, 0, sizeof *l);
    CU_ASSERT_EQUAL_FATAL(nlm_prompt_cache_create(&options, &cache, NULL), NLM_OK);
    return cache;
}

static void cache_finds_the_longest_shared_prefix(void) {
    ledger l;
    nlm_prompt_cache *cache = make(8, 2, 2, &l);
    const int32_t stored[] = {1, 2, 3, 4, 5, 6};
    for (int32_t i = 0; i < 3; i++) CU_ASSERT(nlm_prompt_cache_add(cache, stored, 2 * i, 2 * i + 2, 10 + i));
    int32_t payloads[4], count;
    const int32_t other[] = {1, 2, 3, 4, 9, 6};
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, stored, 6, payloads, 4, &count), 6);
    CU_ASSERT(count == 3 && payloads[0] == 10 && payloads[1] == 11 && payloads[2] == 12);
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, stored, 5, payloads, 4, &count), 4);
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, other, 6, payloads, 4, &count), 4);
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, other + 1, 5, payloads, 4, &count), 0);
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, stored, 6, payloads, 1, &count), 2);
    /* the same tokens elsewhere are another block */
    const int32_t shifted[] = {3, 4, 1, 2};
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, shifted, 4, payloads, 4, &count), 0);
    nlm_prompt_cache_destroy(cache);
    for (int i = 10; i < 13; i++) CU_ASSERT_EQUAL(l.n_released[i], 1);
}

static void cache_refuses_blocks_it_has_or_cannot_place(void) {
    ledger l;
    nlm_prompt_cache *cache = make(8, 4, 2, &l);
    const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8};
    CU_ASSERT_FALSE(nlm_prompt_cache_add(cache, ids, 4, 8, 1)); /* no prefix */
    CU_ASSERT(nlm_prompt_cache_add(cache, ids, 0, 4, 1));
    CU_ASSERT_FALSE(nlm_prompt_cache_add(cache, ids, 0, 4, 2));
    CU_ASSERT_FALSE(nlm_prompt_cache_add(cache, ids, 4, 7, 2)); /* not the grain */
    CU_ASSERT_FALSE(nlm_prompt_cache_add(cache, ids, 4, 4, 2));
    CU_ASSERT(nlm_prompt_cache_add(cache, ids, 4, 6, 2)); /* a short block */
    CU_ASSERT(nlm_prompt_cache_add(cache, ids, 4, 8, 3)); /* beside a whole one */
    int32_t payloads[4], count;
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, ids, 8, payloads, 4, &count), 8);
    CU_ASSERT(count == 2 && payloads[1] == 3);
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, ids, 7, payloads, 4, &count), 6);
    CU_ASSERT(count == 2 && payloads[1] == 2);
    nlm_prompt_cache_destroy(cache);
}

static void cache_evicts_the_least_recently_used_end(void) {
    ledger l;
    nlm_prompt_cache *cache = make(3, 1, 1, &l);
    const int32_t a[] = {1, 2}, b[] = {3}, c[] = {4};
    int32_t payloads[4], count;
    CU_ASSERT(nlm_prompt_cache_add(cache, a, 0, 1, 1));
    CU_ASSERT(nlm_prompt_cache_add(cache, a, 1, 2, 2));
    CU_ASSERT(nlm_prompt_cache_add(cache, b, 0, 1, 3));
    nlm_prompt_cache_find(cache, b, 1, payloads, 4, &count);
    CU_ASSERT(nlm_prompt_cache_add(cache, c, 0, 1, 4));
    CU_ASSERT(l.n_released[2] == 1 && l.n_released[1] == 0); /* the end of a goes, not its beginning */
    CU_ASSERT_EQUAL(nlm_prompt_cache_find(cache, a, 2, payloads, 4, &count), 1);
    CU_ASSERT(nlm_prompt_cache_evict(cache));
    CU_ASSERT_EQUAL(l.n_released[3], 1); /* b is the oldest now */
    CU_ASSERT(nlm_prompt_cache_evict(cache));
    CU_ASSERT(nlm_prompt_cache_evict(cache));
    CU_ASSERT_FALSE(nlm_prompt_cache_evict(cache));
    CU_ASSERT_EQUAL(nlm_prompt_cache_blocks(cache), 0);
    nlm_prompt_cache_destroy(cache);
}

static void cache_of_one_block_does_not_evict_the_parent_of_what_it_adds(void) {
    ledger l;
    nlm_prompt_cache *cache = make(1, 1, 1, &l);
    const int32_t a[] = {1, 2};
    CU_ASSERT(nlm_prompt_cache_add(cache, a, 0, 1, 1));
    CU_ASSERT_FALSE(nlm_prompt_cache_add(cache, a, 1, 2, 2));
    CU_ASSERT_EQUAL(l.n_released[1], 0);
    nlm_prompt_cache_destroy(cache);
}

/* Against a list of all prefixes ever stored: what is found was stored, and nothing is released twice. */
static void cache_agrees_with_a_plain_list(void) {
    enum { STORED = 1500, LENGTH = 4 };
    ledger l;
    nlm_prompt_cache *cache = make(64, 2, 1, &l);
    static struct { int32_t ids[LENGTH * 2], to; } stored[STORED];
    int32_t n_stored = 0, n_found = 0, n_rounds = 0;
    uint32_t random = 7;
    for (; n_rounds < 4000 && n_stored < STORED; n_rounds++) {
        int32_t ids[LENGTH * 2];
        for (int i = 0; i < LENGTH * 2; i++) ids[i] = (int32_t)((random = random * 1664525u + 1013904223u) >> 30);
        int32_t payloads[LENGTH * 2], count;
        int32_t at = nlm_prompt_cache_find(cache, ids, LENGTH * 2, payloads, LENGTH * 2, &count);
        if (count > 0) {
            n_found++;
            const int32_t payload = payloads[count - 1];
            CU_ASSERT(stored[payload].to == at && l.n_released[payload] == 0);
            CU_ASSERT_EQUAL(memcmp(stored[payload].ids, ids, (size_t)at * sizeof *ids), 0);
        }
        const int32_t to = at + 1 + (int32_t)(random >> 8 & 1);
        if (to > LENGTH * 2) continue;
        memcpy(stored[n_stored].ids, ids, sizeof ids);
        stored[n_stored].to = to;
        if (nlm_prompt_cache_add(cache, ids, at, to, n_stored)) n_stored++;
    }
    /* 64 blocks hold most of the few ways in which tokens of 0 to 3 begin. */
    CU_ASSERT(n_stored == STORED && n_found > n_rounds / 2 && n_found < n_rounds);
    nlm_prompt_cache_destroy(cache);
    for (int32_t i = 0; i < n_stored; i++) CU_ASSERT_EQUAL(l.n_released[i], 1);
}

static const check_case cases[] = {
    CHECK_CASE(cache_finds_the_longest_shared_prefix),
    CHECK_CASE(cache_refuses_blocks_it_has_or_cannot_place),
    CHECK_CASE(cache_evicts_the_least_recently_used_end),
    CHECK_CASE(cache_of_one_block_does_not_evict_the_parent_of_what_it_adds),
    CHECK_CASE(cache_agrees_with_a_plain_list),
};
CHECK_MAIN("prompt_cache", cases)
