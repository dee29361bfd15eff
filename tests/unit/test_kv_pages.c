/* Pages of the cache: taking, sharing, copying on write, against a model that keeps every token. */
#include "unit/check.h"

#include "base/status.h"
#include "session/kv_pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static nlm_kv_pages *create(int32_t n_pages, int32_t page_tokens, int32_t n_slots, int32_t n_blocks) {
    nlm_kv_pages *pages = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_kv_pages_create(n_pages, page_tokens, n_slots, n_blocks, &pages, &err), NLM_OK);
    return pages;
}

static nlm_status extend(nlm_kv_pages *pages, int32_t slot, int32_t n, nlm_kv_copy *copy) {
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status = nlm_kv_pages_extend(pages, slot, n, copy, &err);
    if (status != NLM_OK) CU_ASSERT_TRUE(err.msg[0] != 0);
    return status;
}

static void create_rejects_sizes_that_are_not_positive_or_wrap(void) {
    static const int32_t sizes[][4] = {
        {0, 4, 2, 2}, {4, 0, 2, 2}, {4, 4, 0, 2}, {4, 4, 2, 0}, {4, 1 << 20, 2, 1 << 20}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_kv_pages *pages = NULL;
        const int32_t *s = sizes[i];
        CU_ASSERT_EQUAL(nlm_kv_pages_create(s[0], s[1], s[2], s[3], &pages, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NULL(pages);
    }
}

static void extend_takes_pages_as_tokens_need_them(void) {
    nlm_kv_pages *pages = create(4, 4, 2, 3);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 3, &copy), NLM_OK);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 3);
    CU_ASSERT_EQUAL(extend(pages, 0, 1, &copy), NLM_OK);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 3);
    CU_ASSERT_EQUAL(extend(pages, 0, 1, &copy), NLM_OK);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 2);
    CU_ASSERT_EQUAL(copy.from, -1);
    const int32_t *table = nlm_kv_pages_table(pages);
    CU_ASSERT_TRUE(table[0] >= 0 && table[1] >= 0 && table[0] != table[1]);
    CU_ASSERT_EQUAL(table[2], -1);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 0), 5);
    nlm_kv_pages_destroy(pages);
}

static void extend_past_context_or_pages_changes_nothing(void) {
    nlm_kv_pages *pages = create(4, 4, 2, 3);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 13, &copy), NLM_LIMIT); /* 3 blocks of 4 */
    CU_ASSERT_EQUAL(extend(pages, 0, INT32_MAX, &copy), NLM_LIMIT);
    CU_ASSERT_EQUAL(extend(pages, 0, -1, &copy), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(extend(pages, 2, 1, &copy), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(extend(pages, 0, 12, &copy), NLM_OK);
    CU_ASSERT_EQUAL(extend(pages, 1, 5, &copy), NLM_LIMIT); /* one page is left */
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 1), 0);
    CU_ASSERT_EQUAL(nlm_kv_pages_table(pages)[3], -1);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 1);
    nlm_kv_pages_destroy(pages);
}

static void writing_a_shared_last_page_copies_it_once(void) {
    nlm_kv_pages *pages = create(8, 4, 2, 4);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 6, &copy), NLM_OK);
    nlm_kv_pages_fork(pages, 0, 1, 6);
    const int32_t *table = nlm_kv_pages_table(pages);
    const int32_t shared = table[1];
    CU_ASSERT_EQUAL(table[4], table[0]);
    CU_ASSERT_EQUAL(table[5], shared);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 6);
    CU_ASSERT_EQUAL(extend(pages, 1, 1, &copy), NLM_OK);
    CU_ASSERT_EQUAL(copy.from, shared);
    CU_ASSERT_EQUAL(copy.to, table[5]);
    CU_ASSERT_NOT_EQUAL(table[5], shared);
    CU_ASSERT_EQUAL(extend(pages, 0, 1, &copy), NLM_OK); /* its own again */
    CU_ASSERT_EQUAL(copy.from, -1);
    CU_ASSERT_EQUAL(table[1], shared);
    nlm_kv_pages_destroy(pages);
}

static void a_full_shared_page_is_not_copied(void) {
    nlm_kv_pages *pages = create(8, 4, 2, 4);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 4, &copy), NLM_OK);
    nlm_kv_pages_fork(pages, 0, 1, 4);
    CU_ASSERT_EQUAL(extend(pages, 1, 1, &copy), NLM_OK);
    CU_ASSERT_EQUAL(copy.from, -1);
    nlm_kv_pages_destroy(pages);
}

static void a_copy_that_finds_no_page_is_refused(void) {
    nlm_kv_pages *pages = create(1, 4, 2, 2);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 2, &copy), NLM_OK);
    nlm_kv_pages_fork(pages, 0, 1, 2);
    CU_ASSERT_EQUAL(extend(pages, 1, 1, &copy), NLM_LIMIT);
    CU_ASSERT_EQUAL(copy.from, -1);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 1), 2);
    nlm_kv_pages_destroy(pages);
}

static void retained_pages_outlive_their_slot_and_are_adopted(void) {
    nlm_kv_pages *pages = create(4, 4, 2, 3);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 8, &copy), NLM_OK);
    const int32_t kept[2] = {nlm_kv_pages_table(pages)[0], nlm_kv_pages_table(pages)[1]};
    nlm_kv_pages_retain(pages, kept[0]);
    nlm_kv_pages_retain(pages, kept[1]);
    nlm_kv_pages_truncate(pages, 0, 0);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 2);
    nlm_kv_pages_adopt(pages, 1, kept, 2);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 1), 8);
    nlm_kv_pages_release_page(pages, kept[0]);
    nlm_kv_pages_release_page(pages, kept[1]);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 2);
    nlm_kv_pages_truncate(pages, 1, 0);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 4);
    nlm_kv_pages_destroy(pages);
}

static void a_slot_adopts_pages_that_it_alone_holds(void) {
    nlm_kv_pages *pages = create(4, 4, 1, 3);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 8, &copy), NLM_OK);
    const int32_t first = nlm_kv_pages_table(pages)[0];
    nlm_kv_pages_adopt(pages, 0, &first, 1);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 0), 4);
    CU_ASSERT_EQUAL(nlm_kv_pages_table(pages)[0], first);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 3);
    nlm_kv_pages_destroy(pages);
}

static void an_extension_is_undone_with_its_copy(void) {
    nlm_kv_pages *pages = create(4, 4, 2, 3);
    nlm_kv_copy copy;
    CU_ASSERT_EQUAL(extend(pages, 0, 2, &copy), NLM_OK);
    const int32_t shared = nlm_kv_pages_table(pages)[0];
    nlm_kv_pages_fork(pages, 0, 1, 2);
    CU_ASSERT_EQUAL(extend(pages, 1, 5, &copy), NLM_OK);
    CU_ASSERT_EQUAL(copy.from, shared);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 1);
    nlm_kv_pages_undo_extend(pages, 1, 5, &copy);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 1), 2);
    CU_ASSERT_EQUAL(nlm_kv_pages_table(pages)[3], shared);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 3);
    /* It is shared as before: the next to write to it copies it. */
    CU_ASSERT_EQUAL(extend(pages, 0, 1, &copy), NLM_OK);
    CU_ASSERT_EQUAL(copy.from, shared);
    nlm_kv_pages_destroy(pages);
}

static void what_does_not_exist_is_ignored(void) {
    nlm_kv_pages *pages = create(2, 4, 1, 2);
    nlm_kv_pages_retain(pages, -1);
    nlm_kv_pages_retain(pages, 0); /* free */
    nlm_kv_pages_release_page(pages, 0);
    nlm_kv_pages_release_page(pages, 7);
    nlm_kv_pages_truncate(pages, 5, 0);
    nlm_kv_pages_fork(pages, 0, 9, 1);
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), 2);
    CU_ASSERT_EQUAL(nlm_kv_pages_length(pages, 9), 0);
    nlm_kv_pages_destroy(pages);
}

/* ---- against a model that keeps every token of every slot ---------------------------------- */

enum { PAGES = 23, TOKENS = 4, SLOTS = 6, BLOCKS = 7, CONTEXT = TOKENS * BLOCKS, STEPS = 20000 };

typedef struct naive {
    int32_t length[SLOTS];
    int32_t content[SLOTS][CONTEXT];
    int32_t memory[PAGES][TOKENS]; /* what a cache would hold */
    int32_t kept[PAGES];           /* times retained by a holder that is no slot */
    int32_t kept_content[PAGES][TOKENS];
    int32_t next_token;
    uint32_t random;
} naive;

static int32_t draw(naive *n, int32_t below) {
    n->random = n->random * 1664525u + 1013904223u;
    return (int32_t)((n->random >> 8) % (uint32_t)below);
}

static int32_t *cell(naive *n, const nlm_kv_pages *pages, int32_t slot, int32_t pos) {
    const int32_t page = nlm_kv_pages_table(pages)[slot * BLOCKS + pos / TOKENS];
    CU_ASSERT_TRUE_FATAL(page >= 0 && page < PAGES);
    return &n->memory[page][pos % TOKENS];
}

static int32_t pages_in_use(const naive *n, const nlm_kv_pages *pages) {
    bool used[PAGES] = {0};
    for (int32_t s = 0; s < SLOTS; s++) {
        for (int32_t b = 0; b < BLOCKS; b++) {
            const int32_t page = nlm_kv_pages_table(pages)[s * BLOCKS + b];
            CU_ASSERT_EQUAL_FATAL(page >= 0, b < (n->length[s] + TOKENS - 1) / TOKENS);
            if (page >= 0) used[page] = true;
        }
    }
    int32_t count = 0;
    for (int32_t p = 0; p < PAGES; p++) count += used[p] || n->kept[p];
    return count;
}

static void check_contents(naive *n, const nlm_kv_pages *pages) {
    for (int32_t s = 0; s < SLOTS; s++) {
        CU_ASSERT_EQUAL_FATAL(nlm_kv_pages_length(pages, s), n->length[s]);
        for (int32_t i = 0; i < n->length[s]; i++) CU_ASSERT_EQUAL_FATAL(*cell(n, pages, s, i), n->content[s][i]);
    }
    for (int32_t p = 0; p < PAGES; p++) {
        if (n->kept[p]) CU_ASSERT_FALSE_FATAL(memcmp(n->memory[p], n->kept_content[p], sizeof n->memory[p]));
    }
    CU_ASSERT_EQUAL_FATAL(nlm_kv_pages_free(pages), PAGES - pages_in_use(n, pages));
}

static void random_extend(naive *n, nlm_kv_pages *pages, int32_t slot) {
    const int32_t count = draw(n, 9);
    const int32_t free_before = nlm_kv_pages_free(pages);
    nlm_kv_copy copy;
    if (nlm_kv_pages_extend(pages, slot, count, &copy, NULL) != NLM_OK) {
        const int32_t most = (count + TOKENS - 1) / TOKENS + 1;
        CU_ASSERT_TRUE_FATAL(n->length[slot] + count > CONTEXT || free_before < most);
        return;
    }
    if (copy.from >= 0) memcpy(n->memory[copy.to], n->memory[copy.from], sizeof n->memory[0]);
    for (int32_t i = 0; i < count; i++) {
        const int32_t pos = n->length[slot]++;
        *cell(n, pages, slot, pos) = n->content[slot][pos] = n->next_token++;
    }
}

static void random_fork(naive *n, nlm_kv_pages *pages, int32_t from) {
    const int32_t to = draw(n, SLOTS);
    const int32_t length = draw(n, n->length[from] + 1);
    nlm_kv_pages_fork(pages, from, to, length);
    if (to == from) return;
    n->length[to] = length;
    memcpy(n->content[to], n->content[from], sizeof n->content[to]);
}

/* Keeps the full pages of a slot for long enough that the slot changes under them, then drops them. */
static void random_keep(naive *n, nlm_kv_pages *pages, int32_t slot) {
    for (int32_t b = 0; b < n->length[slot] / TOKENS; b++) {
        const int32_t page = nlm_kv_pages_table(pages)[slot * BLOCKS + b];
        if (n->kept[page] > 2) continue;
        nlm_kv_pages_retain(pages, page);
        n->kept[page]++;
        memcpy(n->kept_content[page], n->memory[page], sizeof n->memory[page]);
    }
}

static void random_adopt(naive *n, nlm_kv_pages *pages, int32_t slot) {
    int32_t list[BLOCKS];
    int32_t count = 0;
    const int32_t first = draw(n, PAGES);
    for (int32_t i = 0; i < PAGES && count < BLOCKS; i++) {
        const int32_t page = (first + i) % PAGES;
        if (n->kept[page]) list[count++] = page;
    }
    nlm_kv_pages_adopt(pages, slot, list, count);
    n->length[slot] = count * TOKENS;
    for (int32_t i = 0; i < count; i++) {
        memcpy(&n->content[slot][i * TOKENS], n->kept_content[list[i]], sizeof n->memory[0]);
    }
}

static void random_drop(naive *n, nlm_kv_pages *pages) {
    const int32_t page = draw(n, PAGES);
    for (; n->kept[page] > 0; n->kept[page]--) nlm_kv_pages_release_page(pages, page);
}

static void random_truncate(naive *n, nlm_kv_pages *pages, int32_t slot) {
    const int32_t length = draw(n, n->length[slot] + 2);
    nlm_kv_pages_truncate(pages, slot, length);
    if (length < n->length[slot]) n->length[slot] = length;
}

static void random_use_keeps_every_slot_and_holder_intact(void) {
    const char *seed = getenv("NLM_TEST_SEED");
    naive *n = calloc(1, sizeof *n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(n);
    n->random = seed ? (uint32_t)strtoul(seed, NULL, 10) : 20240611u;
    printf(" [NLM_TEST_SEED=%u] ", n->random);
    nlm_kv_pages *pages = create(PAGES, TOKENS, SLOTS, BLOCKS);
    for (int32_t step = 0; step < STEPS; step++) {
        const int32_t slot = draw(n, SLOTS);
        switch (draw(n, 10)) {
            case 0: random_fork(n, pages, slot); break;
            case 1: random_truncate(n, pages, slot); break;
            case 2: random_keep(n, pages, slot); break;
            case 3: random_adopt(n, pages, slot); break;
            case 4:
            case 5: random_drop(n, pages); break;
            default: random_extend(n, pages, slot); break;
        }
        check_contents(n, pages);
    }
    for (int32_t s = 0; s < SLOTS; s++) nlm_kv_pages_truncate(pages, s, 0);
    for (int32_t p = 0; p < PAGES; p++) {
        for (; n->kept[p] > 0; n->kept[p]--) nlm_kv_pages_release_page(pages, p);
    }
    CU_ASSERT_EQUAL(nlm_kv_pages_free(pages), PAGES);
    nlm_kv_pages_destroy(pages);
    free(n);
}

static const check_case cases[] = {
    CHECK_CASE(create_rejects_sizes_that_are_not_positive_or_wrap),
    CHECK_CASE(extend_takes_pages_as_tokens_need_them),
    CHECK_CASE(extend_past_context_or_pages_changes_nothing),
    CHECK_CASE(writing_a_shared_last_page_copies_it_once),
    CHECK_CASE(a_full_shared_page_is_not_copied),
    CHECK_CASE(a_copy_that_finds_no_page_is_refused),
    CHECK_CASE(retained_pages_outlive_their_slot_and_are_adopted),
    CHECK_CASE(a_slot_adopts_pages_that_it_alone_holds),
    CHECK_CASE(an_extension_is_undone_with_its_copy),
    CHECK_CASE(what_does_not_exist_is_ignored),
    CHECK_CASE(random_use_keeps_every_slot_and_holder_intact),
};

CHECK_MAIN("kv_pages", cases)
