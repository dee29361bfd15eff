/* Pages and slots of all groups: made room for, copied, cleared and enumerated. */
#include "session/states.h"

#include <stdlib.h>
#include "base/status.h"

#define WHERE "nlm_states_create"

/* ---- life --------------------------------------------------------------------------------- */

static nlm_status create_parts(const nlm_model *model, const nlm_cache_options *o, nlm_states *states,
                               nlm_error *err) {
    NLM_TRY(nlm_model_cache_create(model, o, &states->cache, err));
    states->token_bytes = nlm_cache_page_bytes(states->cache) / (uint64_t)o->page_tokens;
    states->slot_bytes = nlm_cache_slot_bytes(states->cache);
    states->is_stale = calloc((size_t)o->n_slots, sizeof *states->is_stale);
    if (!states->is_stale) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %d slots", o->n_slots);
    if (states->token_bytes == 0) return NLM_OK;
    return nlm_kv_pages_create(o->n_pages, o->page_tokens, o->n_slots, o->n_blocks, &states->pages, err);
}

nlm_status nlm_states_create(const nlm_model *model, const nlm_cache_options *options, nlm_states **out,
                             nlm_error *err) {
    *out = NULL;
    nlm_states *states = calloc(1, sizeof *states);
    if (!states) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for states");
    const nlm_status status = create_parts(model, options, states, err);
    if (status != NLM_OK) {
        nlm_states_destroy(states);
        return status;
    }
    *out = states;
    return NLM_OK;
}

void nlm_states_destroy(nlm_states *states) {
    if (!states) return;
    nlm_kv_pages_destroy(states->pages);
    nlm_cache_destroy(states->cache);
    free(states->is_stale);
    free(states);
}

const int32_t *nlm_states_blocks(const nlm_states *states, int32_t slot) {
    return nlm_kv_pages_table(states->pages) + (size_t)slot * (size_t)states->cache->options.n_blocks;
}

uint64_t nlm_states_bytes_in_use(const nlm_states *states, int32_t n_slots) {
    const uint64_t slots = (uint64_t)n_slots * states->slot_bytes;
    if (!states->pages) return slots;
    const int32_t pages = states->cache->options.n_pages - nlm_kv_pages_free(states->pages);
    return slots + (uint64_t)pages * nlm_cache_page_bytes(states->cache);
}

/* ---- the states of a cache ---------------------------------------------------------------- */

typedef nlm_status (*state_fn)(void *user, nlm_state *state, nlm_error *err);

/* Layer by layer, group by group; `kind`: those of one kind alone. */
static nlm_status each_state(const nlm_cache *cache, int32_t kind, state_fn fn, void *user, nlm_error *err) {
    for (int32_t i = 0; i < cache->n_layer; i++) {
        for (int32_t g = 0; g < cache->n_groups; g++) {
            nlm_state *state = nlm_cache_state(cache, g, i);
            if (state && cache->groups[g].spec->kind == kind) NLM_TRY(fn(user, state, err));
        }
    }
    return NLM_OK;
}

/* Of a page or of a slot. */
static uint64_t part_bytes(const nlm_state *state) {
    return (uint64_t)state->tensor.stride_bytes[0];
}

static nlm_status copy_part(void *user, nlm_state *state, nlm_error *err) {
    const nlm_kv_copy *copy = user;
    const uint64_t bytes = part_bytes(state);
    return nlm_state_copy(state, (uint64_t)copy->to * bytes, (uint64_t)copy->from * bytes, bytes, err);
}

static nlm_status zero_part(void *user, nlm_state *state, nlm_error *err) {
    const int32_t *slot = user;
    const uint64_t bytes = part_bytes(state);
    return nlm_state_zero(state, (uint64_t)*slot * bytes, bytes, err);
}

static nlm_status zero_slot(nlm_states *states, int32_t slot, nlm_error *err) {
    const nlm_status status = each_state(states->cache, NLM_STATE_PER_SLOT, zero_part, &slot, err);
    states->is_stale[slot] = status != NLM_OK;
    return status;
}

/* ---- a sequence --------------------------------------------------------------------------- */

nlm_status nlm_states_extend(nlm_states *states, int32_t slot, int32_t n, nlm_error *err) {
    nlm_kv_copy copy = {-1, -1};
    if (states->is_stale[slot]) NLM_TRY(zero_slot(states, slot, err));
    if (states->pages) NLM_TRY(nlm_kv_pages_extend(states->pages, slot, n, &copy, err));
    if (copy.to < 0) return NLM_OK;
    const nlm_status status = each_state(states->cache, NLM_STATE_PAGED, copy_part, &copy, err);
    if (status != NLM_OK) nlm_kv_pages_undo_extend(states->pages, slot, n, &copy);
    return status;
}

void nlm_states_trim(nlm_states *states, int32_t slot, int32_t length) {
    if (states->pages) nlm_kv_pages_truncate(states->pages, slot, length);
}

void nlm_states_release(nlm_states *states, int32_t slot) {
    if (states->pages) nlm_kv_pages_truncate(states->pages, slot, 0);
}

nlm_status nlm_states_clear(nlm_states *states, int32_t slot, nlm_error *err) {
    nlm_states_release(states, slot);
    return zero_slot(states, slot, err);
}

int32_t nlm_states_roll_back(nlm_states *states, int32_t slot, int32_t length) {
    if (states->slot_bytes == 0) {
        nlm_kv_pages_truncate(states->pages, slot, length);
        return length;
    }
    (void)nlm_states_clear(states, slot, NULL); /* the first error is what is told */
    return 0;
}

nlm_status nlm_states_fork(nlm_states *states, int32_t from, int32_t to, int32_t n_tokens, nlm_error *err) {
    nlm_kv_copy copy = {from, to};
    if (states->pages) nlm_kv_pages_fork(states->pages, from, to, n_tokens);
    states->is_stale[to] = states->is_stale[from];
    return each_state(states->cache, NLM_STATE_PER_SLOT, copy_part, &copy, err);
}

/* ---- pieces ------------------------------------------------------------------------------- */

/* The rows of the first n_tokens of a slot in a state [n_pages, heads, page_tokens, width]. */
static nlm_status each_paged_piece(const nlm_states *states, nlm_state *state, int32_t slot, int32_t n_tokens,
                                   nlm_piece_fn fn, void *user, nlm_error *err) {
    const int32_t page_tokens = states->cache->options.page_tokens;
    const int32_t *block = nlm_states_blocks(states, slot);
    const int64_t n_heads = state->tensor.shape[1];
    const uint64_t head_bytes = (uint64_t)state->tensor.stride_bytes[1];
    const uint64_t row_bytes = (uint64_t)state->tensor.stride_bytes[2];
    for (int32_t from = 0; from < n_tokens; from += page_tokens, block++) {
        const int32_t left = n_tokens - from;
        const int32_t rows = left < page_tokens ? left : page_tokens;
        for (int64_t head = 0; head < n_heads; head++) {
            const uint64_t offset = (uint64_t)*block * part_bytes(state) + (uint64_t)head * head_bytes;
            NLM_TRY(fn(user, state, offset, (uint64_t)rows * row_bytes, err));
        }
    }
    return NLM_OK;
}

nlm_status nlm_states_each_piece(const nlm_states *states, int32_t slot, int32_t n_tokens, nlm_piece_fn fn,
                                 void *user, nlm_error *err) {
    const nlm_cache *cache = states->cache;
    for (int32_t i = 0; i < cache->n_layer; i++) {
        for (int32_t g = 0; g < cache->n_groups; g++) {
            nlm_state *state = nlm_cache_state(cache, g, i);
            if (!state) continue;
            if (cache->groups[g].spec->kind == NLM_STATE_PAGED) {
                NLM_TRY(each_paged_piece(states, state, slot, n_tokens, fn, user, err));
            } else {
                NLM_TRY(fn(user, state, (uint64_t)slot * part_bytes(state), part_bytes(state), err));
            }
        }
    }
    return NLM_OK;
}

uint64_t nlm_states_greatest_piece(const nlm_states *states) {
    const nlm_cache *cache = states->cache;
    uint64_t greatest = 0;
    for (int32_t i = 0; i < cache->n_layer; i++) {
        for (int32_t g = 0; g < cache->n_groups; g++) {
            const nlm_state *state = nlm_cache_state(cache, g, i);
            if (!state) continue;
            const bool is_paged = cache->groups[g].spec->kind == NLM_STATE_PAGED;
            const uint64_t bytes = (uint64_t)state->tensor.stride_bytes[is_paged ? 1 : 0];
            if (bytes > greatest) greatest = bytes;
        }
    }
    return greatest;
}

typedef struct infinity_search {
    uint16_t *piece;
    bool is_found;
} infinity_search;

static nlm_status search_piece(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    infinity_search *search = user;
    if (state->tensor.dtype != NLM_F16 || search->is_found) return NLM_OK;
    NLM_TRY(nlm_state_read(state, offset, search->piece, bytes, err));
    for (uint64_t i = 0; i < bytes / sizeof *search->piece; i++)
        search->is_found |= (search->piece[i] & 0x7fff) == 0x7c00;
    return NLM_OK;
}

bool nlm_states_hold_infinity(const nlm_states *states, int32_t slot, int32_t n_tokens) {
    infinity_search search = {.piece = malloc(nlm_states_greatest_piece(states) + 1)};
    if (search.piece) (void)nlm_states_each_piece(states, slot, n_tokens, search_piece, &search, NULL);
    free(search.piece);
    return search.is_found;
}

/* Of a slot or a page. */
typedef struct part_copy {
    int32_t index;
    unsigned char *at;
} part_copy;

static nlm_status read_part(void *user, nlm_state *state, nlm_error *err) {
    part_copy *copy = user;
    const uint64_t bytes = part_bytes(state);
    NLM_TRY(nlm_state_read(state, (uint64_t)copy->index * bytes, copy->at, bytes, err));
    copy->at += bytes;
    return NLM_OK;
}

static nlm_status write_part(void *user, nlm_state *state, nlm_error *err) {
    part_copy *copy = user;
    const uint64_t bytes = part_bytes(state);
    NLM_TRY(nlm_state_write(state, (uint64_t)copy->index * bytes, copy->at, bytes, err));
    copy->at += bytes;
    return NLM_OK;
}

nlm_status nlm_states_read_slot(const nlm_states *states, int32_t slot, void *out, nlm_error *err) {
    part_copy copy = {slot, out};
    return each_state(states->cache, NLM_STATE_PER_SLOT, read_part, &copy, err);
}

nlm_status nlm_states_write_slot(nlm_states *states, int32_t slot, const void *from, nlm_error *err) {
    part_copy copy = {slot, (unsigned char *)(uintptr_t)from};
    const nlm_status status = each_state(states->cache, NLM_STATE_PER_SLOT, write_part, &copy, err);
    states->is_stale[slot] = status != NLM_OK;
    return status;
}

nlm_status nlm_states_read_page(const nlm_states *states, int32_t page, void *out, nlm_error *err) {
    part_copy copy = {page, out};
    return each_state(states->cache, NLM_STATE_PAGED, read_part, &copy, err);
}

nlm_status nlm_states_write_page(const nlm_states *states, int32_t page, const void *from, nlm_error *err) {
    part_copy copy = {page, (unsigned char *)(uintptr_t)from};
    return each_state(states->cache, NLM_STATE_PAGED, write_part, &copy, err);
}
