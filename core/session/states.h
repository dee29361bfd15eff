/* What sequences remember between runs: the groups of a model's cache, and whose its pages are. A sequence
 * has a slot. Whatever groups a family describes, here is all that is done with them. */
#ifndef NLM_SESSION_STATES_H
#define NLM_SESSION_STATES_H

#include "model/model.h"
#include "session/kv_pages.h"

#define NLM_PAGE_TOKENS 32 /* tokens a page */

typedef struct nlm_states {
    nlm_cache *cache;
    nlm_kv_pages *pages;  /* NULL: no group is paged */
    uint64_t token_bytes; /* of a sequence in paged groups, for each of its tokens */
    uint64_t slot_bytes;  /* of a sequence in the other groups, whatever its length; 0: all are paged */
    bool *is_stale;       /* [n_slots] a device failed to clear it: done before anything is computed */
} nlm_states;

nlm_status nlm_states_create(const nlm_model *model, const nlm_cache_options *options, nlm_states **out,
                             nlm_error *err);
void nlm_states_destroy(nlm_states *states);

/* The slot's pages, [n_blocks], -1: none. Only with pages. */
const int32_t *nlm_states_blocks(const nlm_states *states, int32_t slot);
/* Bytes of the pages in use, and of n_slots slots in the other groups. */
uint64_t nlm_states_bytes_in_use(const nlm_states *states, int32_t n_slots);

/* Makes room for n more tokens at the slot's end. LIMIT (nothing changed): the context is full, or no page
 * is free. */
nlm_status nlm_states_extend(nlm_states *states, int32_t slot, int32_t n, nlm_error *err);
/* Gives back room that was made for tokens behind the first `length`, and not used. */
void nlm_states_trim(nlm_states *states, int32_t slot, int32_t length);
/* Nobody needs the slot any more: its pages are free. */
void nlm_states_release(nlm_states *states, int32_t slot);
/* The slot is empty. A device that fails to zero it is asked again by the next nlm_states_extend. */
nlm_status nlm_states_clear(nlm_states *states, int32_t slot, nlm_error *err);
/* After a run that failed, or was given more tokens than it took: back to the first `length` tokens, or to
 * none where states have been overwritten. Returns how many are left. */
int32_t nlm_states_roll_back(nlm_states *states, int32_t slot, int32_t length);
/* The slot `to`, which is empty, becomes as the first n_tokens of `from`, which are all it has computed:
 * pages are shared, the rest is copied. */
nlm_status nlm_states_fork(nlm_states *states, int32_t from, int32_t to, int32_t n_tokens, nlm_error *err);

/* Called for each piece of a sequence, in the order session files have: layer by layer, group by group;
 * paged ones page by page and head by head, the rows of tokens that are there. */
typedef nlm_status (*nlm_piece_fn)(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err);
nlm_status nlm_states_each_piece(const nlm_states *states, int32_t slot, int32_t n_tokens, nlm_piece_fn fn,
                                 void *user, nlm_error *err);
/* No piece is larger. */
uint64_t nlm_states_greatest_piece(const nlm_states *states);

/* Is one of the slot's numbers of type f16 infinite, as what is beyond f16 becomes in the cache? Reads all of them.
 */
bool nlm_states_hold_infinity(const nlm_states *states, int32_t slot, int32_t n_tokens);

/* Copies slot_bytes, the groups that are not paged, out of a slot and into one. */
nlm_status nlm_states_read_slot(const nlm_states *states, int32_t slot, void *out, nlm_error *err);
nlm_status nlm_states_write_slot(nlm_states *states, int32_t slot, const void *from, nlm_error *err);

/* The same of a page: of all paged groups what it has, NLM_PAGE_TOKENS * token_bytes. */
nlm_status nlm_states_read_page(const nlm_states *states, int32_t page, void *out, nlm_error *err);
nlm_status nlm_states_write_page(const nlm_states *states, int32_t page, const void *from, nlm_error *err);

#endif
