/* Describing a family's state groups as tensors; all sizes follow from them. */
#include "model/cache.h"

#include <stdlib.h>
#include "base/checked.h"
#include "base/status.h"
#include "tensor/dtype.h"

#define WHERE "nlm_cache_create"

static nlm_status check_options(const nlm_cache_options *options, nlm_error *err) {
    if (options->n_slots < 1 || options->n_pages < 1 || options->n_blocks < 1 || options->page_tokens < 1 ||
        !nlm_is_power_of_two((uint64_t)options->page_tokens)) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, WHERE,
            "slots %d, pages %d, blocks a slot %d, tokens a page %d: each must be positive and the last a "
            "power of two",
            options->n_slots, options->n_pages, options->n_blocks, options->page_tokens);
    }
    if (options->kv_dtype != NLM_F16 && options->kv_dtype != NLM_F32 && options->kv_dtype != NLM_Q8_0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "the type of keys and values is %d; expected f16, f32 or q8_0", options->kv_dtype);
    }
    return NLM_OK;
}

static nlm_status init_state(nlm_state *state, const nlm_state_spec *spec, const nlm_hparams *hparams, int32_t layer,
                             const nlm_cache_options *options, nlm_error *err) {
    int64_t part[3] = {0}, shape[4] = {options->n_slots};
    const int rank = spec->shape(hparams, layer, part);
    const nlm_dtype dtype = spec->dtype == NLM_STATE_KV_DTYPE ? options->kv_dtype : spec->dtype;
    if (rank == 0) return NLM_OK;
    if (nlm_dtype_row_bytes(dtype, (uint64_t)part[rank - 1]) == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "a key/value cache of %s needs heads of whole blocks of 32 elements, this model's have %lld: "
                        "use f16 or f32",
                        nlm_dtype_name(dtype), (long long)part[rank - 1]);
    }
    if (spec->kind == NLM_STATE_PAGED) {
        const int64_t pages[4] = {options->n_pages, part[0], options->page_tokens, part[1]};
        return nlm_state_init(state, spec->name, dtype, 4, pages, err);
    }
    for (int i = 0; i < rank; i++) shape[1 + i] = part[i];
    return nlm_state_init(state, spec->name, dtype, 1 + rank, shape, err);
}

static nlm_status init_groups(nlm_cache *cache, const nlm_state_spec *specs, const nlm_hparams *hparams,
                              nlm_error *err) {
    int32_t n_groups = 0;
    while (specs[n_groups].name) n_groups++;
    cache->groups = calloc((size_t)n_groups + 1, sizeof *cache->groups); /* a family may have none */
    if (!cache->groups) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the table of states");
    cache->n_groups = n_groups;
    for (int32_t g = 0; g < n_groups; g++) {
        nlm_state_group *group = &cache->groups[g];
        group->spec = &specs[g];
        group->layers = calloc((size_t)cache->n_layer, sizeof *group->layers);
        if (!group->layers) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the table of states");
        for (int32_t i = 0; i < cache->n_layer; i++) {
            NLM_TRY(init_state(&group->layers[i], &specs[g], hparams, i, &cache->options, err));
        }
    }
    return NLM_OK;
}

nlm_status nlm_cache_create(const nlm_state_spec *specs, const nlm_hparams *hparams, const nlm_cache_options *options,
                            nlm_cache **out, nlm_error *err) {
    *out = NULL;
    NLM_TRY(check_options(options, err));
    nlm_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a cache");
    cache->options = *options;
    cache->n_layer = hparams->n_layer;
    const nlm_status status = init_groups(cache, specs, hparams, err);
    if (status != NLM_OK) {
        nlm_cache_destroy(cache);
        return status;
    }
    *out = cache;
    return NLM_OK;
}

void nlm_cache_destroy(nlm_cache *cache) {
    if (!cache) return;
    for (int32_t g = 0; g < cache->n_groups; g++) {
        nlm_state *layers = cache->groups[g].layers;
        for (int32_t i = 0; layers && i < cache->n_layer; i++) nlm_state_release(&layers[i]);
        free(layers);
    }
    free(cache->groups);
    free(cache);
}

nlm_state *nlm_cache_state(const nlm_cache *cache, int32_t group, int32_t layer) {
    if (group < 0 || group >= cache->n_groups || layer < 0 || layer >= cache->n_layer) return NULL;
    nlm_state *state = &cache->groups[group].layers[layer];
    return state->bytes ? state : NULL;
}

/* Of the groups of one kind. */
static uint64_t sum_bytes(const nlm_cache *cache, int32_t kind) {
    uint64_t bytes = 0;
    for (int32_t g = 0; g < cache->n_groups; g++) {
        const nlm_state_group *group = &cache->groups[g];
        for (int32_t i = 0; group->spec->kind == kind && i < cache->n_layer; i++) bytes += group->layers[i].bytes;
    }
    return bytes;
}

uint64_t nlm_cache_bytes(const nlm_cache *cache) {
    return sum_bytes(cache, NLM_STATE_PAGED) + sum_bytes(cache, NLM_STATE_PER_SLOT);
}

uint64_t nlm_cache_page_bytes(const nlm_cache *cache) {
    return sum_bytes(cache, NLM_STATE_PAGED) / (uint64_t)cache->options.n_pages;
}

uint64_t nlm_cache_slot_bytes(const nlm_cache *cache) {
    return sum_bytes(cache, NLM_STATE_PER_SLOT) / (uint64_t)cache->options.n_slots;
}
