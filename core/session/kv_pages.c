/* Reference-counted pages and block tables: a free list, counts, and one row of page numbers per slot. */
#include "session/kv_pages.h"

#include <stdlib.h>
#include "base/status.h"

struct nlm_kv_pages {
    int32_t n_pages, page_tokens, n_slots, n_blocks;
    int32_t n_free;
    int32_t *free_pages; /* a stack: free_pages[0 .. n_free) */
    int32_t *counts;     /* [n_pages] holders of a page; 0: free */
    int32_t *lengths;    /* [n_slots] tokens */
    int32_t *table;      /* [n_slots][n_blocks] */
};

static int32_t blocks_for(const nlm_kv_pages *pages, int32_t tokens) {
    return tokens / pages->page_tokens + (tokens % pages->page_tokens != 0);
}

static int32_t *row_of(const nlm_kv_pages *pages, int32_t slot) {
    return pages->table + (size_t)slot * (size_t)pages->n_blocks;
}

static bool is_slot(const nlm_kv_pages *pages, int32_t slot) {
    return slot >= 0 && slot < pages->n_slots;
}

/* The caller has made sure that a page is free. */
static int32_t take_page(nlm_kv_pages *pages) {
    const int32_t page = pages->free_pages[--pages->n_free];
    pages->counts[page] = 1;
    return page;
}

nlm_status nlm_kv_pages_create(int32_t n_pages, int32_t page_tokens, int32_t n_slots, int32_t n_blocks,
                               nlm_kv_pages **out, nlm_error *err) {
    *out = NULL;
    if (n_pages < 1 || page_tokens < 1 || n_slots < 1 || n_blocks < 1 || n_blocks > INT32_MAX / page_tokens) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_kv_pages_create",
                        "pages %d, tokens a page %d, slots %d, blocks a slot %d: each must be positive and a slot's "
                        "tokens fit in 31 bits",
                        n_pages, page_tokens, n_slots, n_blocks);
    }
    nlm_kv_pages *pages = calloc(1, sizeof *pages);
    if (!pages) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_kv_pages_create", "no memory for the page table");
    pages->n_pages = pages->n_free = n_pages;
    pages->page_tokens = page_tokens;
    pages->n_slots = n_slots;
    pages->n_blocks = n_blocks;
    pages->free_pages = calloc((size_t)n_pages, sizeof *pages->free_pages);
    pages->counts = calloc((size_t)n_pages, sizeof *pages->counts);
    pages->lengths = calloc((size_t)n_slots, sizeof *pages->lengths);
    pages->table = calloc((size_t)n_slots * (size_t)n_blocks, sizeof *pages->table);
    if (!pages->free_pages || !pages->counts || !pages->lengths || !pages->table) {
        nlm_kv_pages_destroy(pages);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_kv_pages_create", "no memory for a table of %d pages", n_pages);
    }
    for (int32_t i = 0; i < n_pages; i++) pages->free_pages[i] = n_pages - 1 - i; /* page 0 is taken first */
    const size_t entries = (size_t)n_slots * (size_t)n_blocks;
    for (size_t i = 0; i < entries; i++) pages->table[i] = -1;
    *out = pages;
    return NLM_OK;
}

void nlm_kv_pages_destroy(nlm_kv_pages *pages) {
    if (!pages) return;
    free(pages->free_pages);
    free(pages->counts);
    free(pages->lengths);
    free(pages->table);
    free(pages);
}

int32_t nlm_kv_pages_free(const nlm_kv_pages *pages) {
    return pages->n_free;
}

int32_t nlm_kv_pages_length(const nlm_kv_pages *pages, int32_t slot) {
    return is_slot(pages, slot) ? pages->lengths[slot] : 0;
}

const int32_t *nlm_kv_pages_table(const nlm_kv_pages *pages) {
    return pages->table;
}

nlm_status nlm_kv_pages_extend(nlm_kv_pages *pages, int32_t slot, int32_t n, nlm_kv_copy *out_copy, nlm_error *err) {
    *out_copy = (nlm_kv_copy){-1, -1};
    if (!is_slot(pages, slot) || n < 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_kv_pages_extend",
                        "slot %d by %d tokens: slots are 0 to %d and tokens not negative", slot, n,
                        pages->n_slots - 1);
    }
    const int32_t length = pages->lengths[slot];
    const int32_t limit = pages->n_blocks * pages->page_tokens;
    if (n > limit - length) {
        return nlm_fail(err, NLM_LIMIT, "nlm_kv_pages_extend",
                        "the context holds %d tokens; %d are in it and %d more do not fit", limit, length, n);
    }
    if (n == 0) return NLM_OK;
    int32_t *row = row_of(pages, slot);
    const int32_t held = blocks_for(pages, length);
    const int32_t wanted = blocks_for(pages, length + n);
    const bool must_copy = length % pages->page_tokens != 0 && pages->counts[row[held - 1]] > 1;
    const int32_t needed = wanted - held + (must_copy ? 1 : 0);
    if (needed > pages->n_free) {
        return nlm_fail(err, NLM_LIMIT, "nlm_kv_pages_extend",
                        "%d more tokens need %d pages of %d tokens; %d of %d pages are free", n, needed,
                        pages->page_tokens, pages->n_free, pages->n_pages);
    }
    if (must_copy) {
        *out_copy = (nlm_kv_copy){row[held - 1], take_page(pages)};
        row[held - 1] = out_copy->to;
        nlm_kv_pages_release_page(pages, out_copy->from);
    }
    for (int32_t i = held; i < wanted; i++) row[i] = take_page(pages);
    pages->lengths[slot] = length + n;
    return NLM_OK;
}

void nlm_kv_pages_truncate(nlm_kv_pages *pages, int32_t slot, int32_t length) {
    if (!is_slot(pages, slot) || length < 0 || length >= pages->lengths[slot]) return;
    int32_t *row = row_of(pages, slot);
    const int32_t held = blocks_for(pages, pages->lengths[slot]);
    for (int32_t i = held - 1; i >= blocks_for(pages, length); i--) {
        nlm_kv_pages_release_page(pages, row[i]);
        row[i] = -1;
    }
    pages->lengths[slot] = length;
}

void nlm_kv_pages_undo_extend(nlm_kv_pages *pages, int32_t slot, int32_t n, const nlm_kv_copy *copy) {
    if (!is_slot(pages, slot) || n < 0 || n > pages->lengths[slot]) return;
    nlm_kv_pages_truncate(pages, slot, pages->lengths[slot] - n);
    if (copy->to < 0) return;
    /* The shared page is in use by another, or it would not have been copied. */
    row_of(pages, slot)[blocks_for(pages, pages->lengths[slot]) - 1] = copy->from;
    nlm_kv_pages_retain(pages, copy->from);
    nlm_kv_pages_release_page(pages, copy->to);
}

void nlm_kv_pages_fork(nlm_kv_pages *pages, int32_t from, int32_t to, int32_t length) {
    if (!is_slot(pages, from) || !is_slot(pages, to) || from == to || length < 0) return;
    if (length > pages->lengths[from]) length = pages->lengths[from];
    nlm_kv_pages_truncate(pages, to, 0);
    const int32_t *source = row_of(pages, from);
    int32_t *target = row_of(pages, to);
    const int32_t shared = blocks_for(pages, length);
    for (int32_t i = 0; i < shared; i++) {
        target[i] = source[i];
        nlm_kv_pages_retain(pages, source[i]);
    }
    pages->lengths[to] = length;
}

void nlm_kv_pages_adopt(nlm_kv_pages *pages, int32_t slot, const int32_t *page_list, int32_t n) {
    if (!is_slot(pages, slot) || n < 0) return;
    if (n > pages->n_blocks) n = pages->n_blocks;
    /* Retained first: the list may name pages that only this slot holds. */
    for (int32_t i = 0; i < n; i++) nlm_kv_pages_retain(pages, page_list[i]);
    nlm_kv_pages_truncate(pages, slot, 0);
    int32_t *row = row_of(pages, slot);
    for (int32_t i = 0; i < n; i++) row[i] = page_list[i];
    pages->lengths[slot] = n * pages->page_tokens;
}

int32_t nlm_kv_pages_take(nlm_kv_pages *pages) {
    return pages->n_free > 0 ? take_page(pages) : -1;
}

void nlm_kv_pages_retain(nlm_kv_pages *pages, int32_t page) {
    if (page < 0 || page >= pages->n_pages || pages->counts[page] == 0) return;
    pages->counts[page]++;
}

void nlm_kv_pages_release_page(nlm_kv_pages *pages, int32_t page) {
    if (page < 0 || page >= pages->n_pages || pages->counts[page] == 0) return;
    if (--pages->counts[page] == 0) pages->free_pages[pages->n_free++] = page;
}
