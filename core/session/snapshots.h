/* What the states hold of pieces of sequences, kept by number: the pages of the tokens from .. to, and a copy
 * of what is not paged after them. The payloads of the prompt cache. */
#ifndef NLM_SESSION_SNAPSHOTS_H
#define NLM_SESSION_SNAPSHOTS_H

#include "session/states.h"

typedef struct nlm_snapshots nlm_snapshots;

/* Room for `count` of at most max_tokens, a multiple of a page's; memory is taken as snapshots are. The states
 * are borrowed. */
nlm_status nlm_snapshots_create(nlm_states *states, int32_t count, int32_t max_tokens, nlm_snapshots **out,
                                nlm_error *err);
void nlm_snapshots_destroy(nlm_snapshots *snapshots); /* all were dropped, or the pages are destroyed too */

/* Of a slot that has computed `to` tokens, those from `from` on; both are multiples of a page's tokens.
 * *out_number is its number. Errors LIMIT (all are in use), OUT_OF_MEMORY, those of reading states. */
nlm_status nlm_snapshots_take(nlm_snapshots *snapshots, int32_t slot, int32_t from, int32_t to, int32_t *out_number,
                              nlm_error *err);
/* The slot becomes what these, one after another, stand for. */
nlm_status nlm_snapshots_restore(const nlm_snapshots *snapshots, const int32_t *numbers, int32_t count, int32_t slot,
                                 nlm_error *err);
void nlm_snapshots_drop(nlm_snapshots *snapshots, int32_t number);

/* Bytes of a snapshot of n_tokens, and what they are: its pages, one after another, then what is not paged. */
uint64_t nlm_snapshots_bytes(const nlm_snapshots *snapshots, int32_t n_tokens);
nlm_status nlm_snapshots_read(const nlm_snapshots *snapshots, int32_t number, void *out, nlm_error *err);
/* A snapshot from these bytes. Errors as nlm_snapshots_take; LIMIT also where no page is free. */
nlm_status nlm_snapshots_put(nlm_snapshots *snapshots, int32_t n_tokens, const void *bytes, int32_t *out_number,
                             nlm_error *err);

#endif
