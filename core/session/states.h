/* What a cache holds of one sequence, moved about between runs: pages and slots copied, cleared, and
 * enumerated piece by piece for files and snapshots. */
#ifndef NLM_SESSION_STATES_H
#define NLM_SESSION_STATES_H

#include "model/kv_pages.h"
#include "model/model.h"

/* Bytes that a sequence has, all layers: per token in the KV cache, and whatever its length in the
 * convolution and SSM states. */
uint64_t nlm_states_bytes_per_token(const nlm_cache *cache);
uint64_t nlm_states_bytes_per_slot(const nlm_cache *cache);

/* Copies a KV page, keys and values of all layers. */
nlm_status nlm_states_copy_page(nlm_cache *cache, int32_t from, int32_t to, nlm_error *err);
/* Copies or zeroes the convolution and SSM states of a slot; nothing to do for Llama. */
nlm_status nlm_states_copy_slot(nlm_cache *cache, int32_t from, int32_t to, nlm_error *err);
nlm_status nlm_states_zero_slot(nlm_cache *cache, int32_t slot, nlm_error *err);

/* Called for each piece, in the order session files have: layer by layer; keys then values, page by page
 * and head by head, the rows of tokens that are there; convolution then SSM state. */
typedef nlm_status (*nlm_piece_fn)(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err);
nlm_status nlm_states_each_piece(nlm_cache *cache, const nlm_kv_pages *pages, int32_t slot, int32_t n_tokens,
                                 nlm_piece_fn fn, void *user, nlm_error *err);
/* No piece is larger. */
uint64_t nlm_states_greatest_piece(const nlm_cache *cache);

#endif
