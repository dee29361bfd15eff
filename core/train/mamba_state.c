/* What slots hold, as tensors have it and as users see it. */
#include <string.h>

#include "base/status.h"
#include "train/mamba_impl.h"

nlm_state *nlm_mamba_state(const nlm_cache *cache, uint32_t index) {
    return nlm_cache_state(cache, (int32_t)index / cache->n_layer, (int32_t)index % cache->n_layer);
}

uint64_t nlm_mamba_slot_elements(const nlm_mamba *m, uint32_t index) {
    return nlm_mamba_state(m->now, index)->bytes / m->options.max_seqs / sizeof(float);
}

static bool is_conv(const nlm_mamba *m, uint32_t index) {
    return (int32_t)index / m->now->n_layer == nlm_mamba_state_groups.conv;
}

static uint64_t conv_elements(const nlm_mamba *m) {
    return (uint64_t)(m->options.d_conv - 1) * m->options.d_inner;
}

/* Where a layer's share begins. */
static uint64_t offset_of(const nlm_mamba *m, uint32_t index) {
    const uint64_t layer = index % m->options.n_layer;
    return layer * (m->state_size / m->options.n_layer) + (is_conv(m, index) ? 0 : conv_elements(m));
}

/* Of h[channel, n] in a slot. */
static uint64_t tiled(const nlm_mamba *m, uint64_t channel, uint64_t n) {
    return (channel / NLM_SSM_TILE * m->options.d_state + n) * NLM_SSM_TILE + channel % NLM_SSM_TILE;
}

void nlm_mamba_state_show(const nlm_mamba *m, uint32_t index, const float *slot, float *out_state) {
    float *to = out_state + offset_of(m, index);
    if (is_conv(m, index)) {
        memcpy(to, slot, conv_elements(m) * sizeof *to);
        return;
    }
    for (uint64_t c = 0; c < m->options.d_inner; c++) {
        for (uint64_t n = 0; n < m->options.d_state; n++) to[c * m->options.d_state + n] = slot[tiled(m, c, n)];
    }
}

void nlm_mamba_state_take(const nlm_mamba *m, uint32_t index, const float *state, float *out_slot) {
    const float *from = state + offset_of(m, index);
    if (is_conv(m, index)) {
        memcpy(out_slot, from, conv_elements(m) * sizeof *from);
        return;
    }
    memset(out_slot, 0, nlm_mamba_slot_elements(m, index) * sizeof *out_slot);
    for (uint64_t c = 0; c < m->options.d_inner; c++) {
        for (uint64_t n = 0; n < m->options.d_state; n++) out_slot[tiled(m, c, n)] = from[c * m->options.d_state + n];
    }
}

static nlm_status check_slot(const nlm_mamba *m, uint32_t slot, nlm_error *err) {
    if (slot < m->options.max_seqs) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "slot %u; there are %u", slot, m->options.max_seqs);
}

nlm_status nlm_mamba_get_state(const nlm_mamba *mamba, uint32_t slot, float *out_state, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(out_state, error);
    NLM_ENTER(&mamba->engine->gate, error);
    NLM_TRY(check_slot(mamba, slot, error));
    for (uint32_t i = 0; i < mamba->n_states; i++) {
        const uint64_t bytes = nlm_mamba_slot_elements(mamba, i) * sizeof(float);
        NLM_TRY(nlm_state_read(nlm_mamba_state(mamba->now, i), slot * bytes, mamba->room, bytes, error));
        nlm_mamba_state_show(mamba, i, mamba->room, out_state);
    }
    return NLM_OK;
}

nlm_status nlm_mamba_set_state(nlm_mamba *mamba, uint32_t slot, const float *state, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_ENTER(&mamba->engine->gate, error);
    NLM_TRY(check_slot(mamba, slot, error));
    for (uint32_t i = 0; i < mamba->n_states; i++) {
        nlm_state *to = nlm_mamba_state(mamba->now, i);
        const uint64_t bytes = nlm_mamba_slot_elements(mamba, i) * sizeof(float);
        if (!state) {
            NLM_TRY(nlm_state_zero(to, slot * bytes, bytes, error));
            continue;
        }
        nlm_mamba_state_take(mamba, i, state, mamba->room);
        NLM_TRY(nlm_state_write(to, slot * bytes, mamba->room, bytes, error));
    }
    return NLM_OK;
}
