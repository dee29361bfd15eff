/* Which page of the KV cache belongs to which part of which sequence: reference-counted pages, one
 * block table per slot. Knows numbers of pages only; the memory is nlm_cache's.
 *
 * A page is shared by slots (and by the prompt cache) whose prefixes are equal; it is written only
 * while its count is 1. */
#ifndef NLM_SESSION_KV_PAGES_H
#define NLM_SESSION_KV_PAGES_H

#include <nlm/status.h>
#include <stdbool.h>

typedef struct nlm_kv_pages nlm_kv_pages;

nlm_status nlm_kv_pages_create(int32_t n_pages, int32_t page_tokens, int32_t n_slots, int32_t n_blocks,
                               nlm_kv_pages **out, nlm_error *err);
void nlm_kv_pages_destroy(nlm_kv_pages *pages);

int32_t nlm_kv_pages_free(const nlm_kv_pages *pages);
/* Tokens the slot holds, and its pages. */
int32_t nlm_kv_pages_length(const nlm_kv_pages *pages, int32_t slot);
const int32_t *nlm_kv_pages_table(const nlm_kv_pages *pages); /* [n_slots][n_blocks], -1: none */

/* A page whose content must be copied before the next write (it is shared): from, to; -1: none. */
typedef struct nlm_kv_copy {
    int32_t from, to;
} nlm_kv_copy;

/* Makes room for n more tokens at the slot's end. LIMIT (nothing changed) if the context or the pages
 * do not suffice. When the last page is shared and partly filled it is replaced: *out_copy says what
 * the caller must copy before it writes. */
nlm_status nlm_kv_pages_extend(nlm_kv_pages *pages, int32_t slot, int32_t n, nlm_kv_copy *out_copy, nlm_error *err);
/* Takes the latest extend by n tokens back, whose copy could not be made. */
void nlm_kv_pages_undo_extend(nlm_kv_pages *pages, int32_t slot, int32_t n, const nlm_kv_copy *copy);
/* Forgets tokens from `length` on, releasing pages. A length past the end, here and below, is the end;
 * a slot or page that does not exist is ignored. */
void nlm_kv_pages_truncate(nlm_kv_pages *pages, int32_t slot, int32_t length);
/* The slot `to` forgets what it held and shares the first `length` tokens of `from`. */
void nlm_kv_pages_fork(nlm_kv_pages *pages, int32_t from, int32_t to, int32_t length);
/* The slot forgets what it held and takes these full pages, which somebody holds, as its beginning. */
void nlm_kv_pages_adopt(nlm_kv_pages *pages, int32_t slot, const int32_t *page_list, int32_t n);
/* A page for a holder other than a slot, who writes it before anybody adopts it; -1: none is free. */
int32_t nlm_kv_pages_take(nlm_kv_pages *pages);
/* For holders other than slots (the prompt cache): one more, one fewer, of a page in use. */
void nlm_kv_pages_retain(nlm_kv_pages *pages, int32_t page);
void nlm_kv_pages_release_page(nlm_kv_pages *pages, int32_t page);

#endif
