/* What a model remembers between runs: groups of states, as its family describes them. */
#ifndef NLM_MODEL_CACHE_H
#define NLM_MODEL_CACHE_H

#include <stdbool.h>
#include "exec/state.h"
#include "model/hparams.h"

/* How a group's memory is shared out. */
enum {
    NLM_STATE_PAGED = 0,    /* grows with a sequence: pages of tokens, found by a block table */
    NLM_STATE_PER_SLOT = 1, /* as large for every sequence: overwritten by each token */
};

/* The dtype that nlm_cache_options.kv_dtype names. */
#define NLM_STATE_KV_DTYPE ((nlm_dtype)-1)

/* One line of a family's table: one state per layer. Its place in the table is its id. */
typedef struct nlm_state_spec {
    const char *name; /* "k_cache"; NULL ends the table */
    int32_t kind;     /* NLM_STATE_* */
    nlm_dtype dtype;  /* fixed, or NLM_STATE_KV_DTYPE */
    /* The shape in one layer: [heads, width] of a token if paged, of a slot else. Returns the rank (2 if
     * paged, else 1 to 3); 0: this layer has none. */
    int (*shape)(const nlm_hparams *h, int32_t layer, int64_t out[3]);
} nlm_state_spec;

/* Sizes are fixed at creation; memory is committed as it is used. */
typedef struct nlm_cache_options {
    int32_t n_slots;     /* sequences held at once */
    int32_t n_pages;     /* pages in all; like n_blocks unused if no group is paged */
    int32_t page_tokens; /* tokens a page, a power of two */
    int32_t n_blocks;    /* pages a slot may have: the longest context / page_tokens */
    nlm_dtype kv_dtype;  /* f16, f32 or q8_0 */
} nlm_cache_options;

typedef struct nlm_state_group {
    const nlm_state_spec *spec;
    nlm_state *layers; /* [n_layer]; 0 bytes where a layer has none */
} nlm_state_group;

typedef struct nlm_cache {
    nlm_cache_options options;
    int32_t n_layer, n_groups;
    nlm_state_group *groups; /* [n_groups], by id */
} nlm_cache;

/* Describes the states of `specs` (borrowed): [n_pages, heads, page_tokens, width] if paged, else
 * [n_slots, shape...]. They are placed by planning. Errors INVALID_ARGUMENT (options out of range, or a
 * kv_dtype whose blocks do not fit the width), OUT_OF_MEMORY. */
nlm_status nlm_cache_create(const nlm_state_spec *specs, const nlm_hparams *hparams, const nlm_cache_options *options,
                            nlm_cache **out, nlm_error *err);
void nlm_cache_destroy(nlm_cache *cache);

/* The state of a group in a layer, or NULL if it has none. */
nlm_state *nlm_cache_state(const nlm_cache *cache, int32_t group, int32_t layer);

uint64_t nlm_cache_bytes(const nlm_cache *cache);      /* when every page is used */
uint64_t nlm_cache_page_bytes(const nlm_cache *cache); /* one page of all paged groups and layers; 0: none is */
uint64_t nlm_cache_slot_bytes(const nlm_cache *cache); /* one slot of all other groups and layers */

#endif
