/* Prefixes of earlier prompts, kept so that they need not be computed again.
 *
 * A tree of blocks of tokens: a block follows the block before it, and holds a payload (a snapshot of the
 * states) that stands, with those before it, for all tokens from the beginning. Blocks are found by a hash of what
 * precedes them and of their tokens, and compared in full. When the cache is full the block that was used least
 * recently, and that no other follows, goes. */
#ifndef NLM_SESSION_PROMPT_CACHE_H
#define NLM_SESSION_PROMPT_CACHE_H

#include <nlm/status.h>
#include <stdbool.h>

typedef struct nlm_prompt_cache nlm_prompt_cache;

typedef struct nlm_prompt_cache_options {
    int32_t max_blocks;   /* the bound in bytes / bytes of a payload */
    int32_t block_tokens; /* the greatest length of a block */
    int32_t grain;        /* blocks are multiples of this long; divides block_tokens */
    void (*release)(void *user, int32_t payload);
    void *user;
} nlm_prompt_cache_options;

/* Errors INVALID_ARGUMENT, OUT_OF_MEMORY. */
nlm_status nlm_prompt_cache_create(const nlm_prompt_cache_options *options, nlm_prompt_cache **out, nlm_error *err);
void nlm_prompt_cache_destroy(nlm_prompt_cache *cache); /* releases all payloads */

/* The longest stored prefix of ids[0..n), of at most `capacity` blocks. Its payloads go to out_payloads in
 * order, their number to *out_count. Returns the tokens it covers. */
int32_t nlm_prompt_cache_find(nlm_prompt_cache *cache, const int32_t *ids, int32_t n, int32_t *out_payloads,
                              int32_t capacity, int32_t *out_count);

/* Stores the block ids[from..to), whose prefix ids[0..from) must be stored, with its payload. true: the
 * cache owns the payload now. false: it is there already, or its prefix is not. Evicts if full. */
bool nlm_prompt_cache_add(nlm_prompt_cache *cache, const int32_t *ids, int32_t from, int32_t to, int32_t payload);

/* ---- its blocks, by handle: for files ----------------------------------------------------- */

#define NLM_PROMPT_NONE (-1)

typedef struct nlm_prompt_block {
    int32_t parent; /* the handle of the block before, or NLM_PROMPT_NONE */
    int32_t n_tokens;
    int32_t payload;
    const int32_t *tokens; /* [n_tokens] */
} nlm_prompt_block;

/* The handles of all blocks, those used latest first, and none before its parent: [nlm_prompt_cache_blocks]. false:
 * no memory. */
bool nlm_prompt_cache_list(const nlm_prompt_cache *cache, int32_t *out_handles);
nlm_prompt_block nlm_prompt_cache_block(const nlm_prompt_cache *cache, int32_t handle);
/* Is there room for one more? Nothing is given up for it. */
bool nlm_prompt_cache_has_room(const nlm_prompt_cache *cache);
/* The block of ids[0..n) behind `parent` with its payload, which the cache owns then; it counts as used at `age`, the
 * greater the later. NLM_PROMPT_NONE: there is no room, it is there already (*out_known is it), or cannot be. */
int32_t nlm_prompt_cache_put(nlm_prompt_cache *cache, const nlm_prompt_block *block, uint64_t age,
                             int32_t *out_known);

/* Releases the least recently used block that none follows; false: the cache is empty. */
bool nlm_prompt_cache_evict(nlm_prompt_cache *cache);
int32_t nlm_prompt_cache_blocks(const nlm_prompt_cache *cache);
int32_t nlm_prompt_cache_capacity(const nlm_prompt_cache *cache); /* handles are below it */

#endif
