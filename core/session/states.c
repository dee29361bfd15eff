#include "session/states.h"

#include "base/status.h"

/* [n_pages, n_head_kv, page_tokens, head_dim] */
static uint64_t page_bytes(const nlm_state *kv) {
    return (uint64_t)kv->tensor.stride_bytes[0];
}
static uint64_t row_bytes(const nlm_state *kv) {
    return (uint64_t)kv->tensor.stride_bytes[2];
}
static uint64_t slot_bytes(const nlm_state *state) {
    return (uint64_t)state->tensor.stride_bytes[0];
}

uint64_t nlm_states_bytes_per_token(const nlm_cache *cache) {
    if (!cache->k) return 0;
    return nlm_model_cache_page_bytes(cache) / (uint64_t)cache->options.page_tokens;
}

uint64_t nlm_states_bytes_per_slot(const nlm_cache *cache) {
    uint64_t bytes = 0;
    for (int32_t i = 0; cache->conv && i < cache->n_layer; i++) {
        bytes += slot_bytes(&cache->conv[i]) + slot_bytes(&cache->ssm[i]);
    }
    return bytes;
}

static nlm_status copy_outermost(nlm_state *state, int32_t from, int32_t to, nlm_error *err) {
    const uint64_t bytes = (uint64_t)state->tensor.stride_bytes[0];
    return nlm_state_copy(state, (uint64_t)to * bytes, (uint64_t)from * bytes, bytes, err);
}

nlm_status nlm_states_copy_page(nlm_cache *cache, int32_t from, int32_t to, nlm_error *err) {
    for (int32_t i = 0; i < cache->n_layer; i++) {
        NLM_TRY(copy_outermost(&cache->k[i], from, to, err));
        NLM_TRY(copy_outermost(&cache->v[i], from, to, err));
    }
    return NLM_OK;
}

nlm_status nlm_states_copy_slot(nlm_cache *cache, int32_t from, int32_t to, nlm_error *err) {
    for (int32_t i = 0; cache->conv && i < cache->n_layer; i++) {
        NLM_TRY(copy_outermost(&cache->conv[i], from, to, err));
        NLM_TRY(copy_outermost(&cache->ssm[i], from, to, err));
    }
    return NLM_OK;
}

static nlm_status zero_outermost(nlm_state *state, int32_t slot, nlm_error *err) {
    return nlm_state_zero(state, (uint64_t)slot * slot_bytes(state), slot_bytes(state), err);
}

nlm_status nlm_states_zero_slot(nlm_cache *cache, int32_t slot, nlm_error *err) {
    for (int32_t i = 0; cache->conv && i < cache->n_layer; i++) {
        NLM_TRY(zero_outermost(&cache->conv[i], slot, err));
        NLM_TRY(zero_outermost(&cache->ssm[i], slot, err));
    }
    return NLM_OK;
}

/* The rows of the first n_tokens of a slot in one layer's keys or values. */
static nlm_status each_kv_piece(nlm_state *kv, const nlm_kv_pages *pages, const nlm_cache_options *options,
                                int32_t slot, int32_t n_tokens, nlm_piece_fn fn, void *user, nlm_error *err) {
    const int32_t *table = nlm_kv_pages_table(pages) + (size_t)slot * (size_t)options->n_blocks;
    const int64_t n_heads = kv->tensor.shape[1];
    const uint64_t head_bytes = (uint64_t)kv->tensor.stride_bytes[1];
    for (int32_t from = 0, block = 0; from < n_tokens; from += options->page_tokens, block++) {
        const int32_t left = n_tokens - from;
        const int32_t rows = left < options->page_tokens ? left : options->page_tokens;
        for (int64_t head = 0; head < n_heads; head++) {
            const uint64_t offset = (uint64_t)table[block] * page_bytes(kv) + (uint64_t)head * head_bytes;
            NLM_TRY(fn(user, kv, offset, (uint64_t)rows * row_bytes(kv), err));
        }
    }
    return NLM_OK;
}

static nlm_status whole_slot(nlm_state *state, int32_t slot, nlm_piece_fn fn, void *user, nlm_error *err) {
    return fn(user, state, (uint64_t)slot * slot_bytes(state), slot_bytes(state), err);
}

nlm_status nlm_states_each_piece(nlm_cache *cache, const nlm_kv_pages *pages, int32_t slot, int32_t n_tokens,
                                 nlm_piece_fn fn, void *user, nlm_error *err) {
    const nlm_cache_options *options = &cache->options;
    for (int32_t i = 0; i < cache->n_layer; i++) {
        if (cache->k) {
            NLM_TRY(each_kv_piece(&cache->k[i], pages, options, slot, n_tokens, fn, user, err));
            NLM_TRY(each_kv_piece(&cache->v[i], pages, options, slot, n_tokens, fn, user, err));
        }
        if (cache->conv) {
            NLM_TRY(whole_slot(&cache->conv[i], slot, fn, user, err));
            NLM_TRY(whole_slot(&cache->ssm[i], slot, fn, user, err));
        }
    }
    return NLM_OK;
}

uint64_t nlm_states_greatest_piece(const nlm_cache *cache) {
    uint64_t greatest = 0;
    for (int32_t i = 0; i < cache->n_layer; i++) {
        const uint64_t sizes[4] = {cache->k ? (uint64_t)cache->k[i].tensor.stride_bytes[1] : 0,
                                   cache->v ? (uint64_t)cache->v[i].tensor.stride_bytes[1] : 0,
                                   cache->conv ? slot_bytes(&cache->conv[i]) : 0,
                                   cache->ssm ? slot_bytes(&cache->ssm[i]) : 0};
        for (int j = 0; j < 4; j++) greatest = sizes[j] > greatest ? sizes[j] : greatest;
    }
    return greatest;
}
