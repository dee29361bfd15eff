/* States that outlive a batch: windows of a document go on from them, and no gradient goes back through them. */
#include "train/trainer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/family.h"

#define WHERE "nlm_trainer"

/* Whether the family has states that are as large for every sequence. */
static bool has_slots(const nlm_model *model) {
    for (const nlm_state_spec *s = nlm_model_family_of(model)->states; s->name; s++) {
        if (s->kind == NLM_STATE_PER_SLOT) return true;
    }
    return false;
}

static nlm_status check_lanes(const nlm_trainer *t, nlm_error *err) {
    const int32_t n = t->options.n_lanes;
    if (n < 0 || n > 1 << 20) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%d lanes; expected 0 to %d", n, 1 << 20);
    }
    if (n == 0 || (has_slots(t->model) && !nlm_model_is_paged(t->model))) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, WHERE,
                    "'%s' has no state that could be carried from one window to the next or warmed before it: it "
                    "looks back at the tokens themselves; only Mamba's training carries states and burns in",
                    nlm_model_family_name(t->model));
}

nlm_status nlm_lanes_create(nlm_trainer *t, nlm_error *err) {
    const int32_t n = t->options.n_lanes;
    NLM_TRY(check_lanes(t, err));
    if (!has_slots(t->model)) return NLM_OK;
    const nlm_cache_options options = {
        .n_slots = t->options.shape.max_seqs + n, .n_pages = 1, .page_tokens = 1, .n_blocks = 1, .kv_dtype = NLM_F32};
    NLM_TRY(nlm_model_cache_create(t->model, &options, &t->cache, err));
    if (n == 0) return NLM_OK;
    t->is_taken = calloc((size_t)n, sizeof *t->is_taken);
    t->before = calloc((size_t)n, (size_t)nlm_cache_slot_bytes(t->cache));
    return t->is_taken && t->before ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %d lanes", n);
}

/* ---- one of them ------------------------------------------------------------------------------------- */

uint32_t nlm_trainer_states(const nlm_trainer *t) {
    return t->cache ? (uint32_t)(t->cache->n_groups * t->cache->n_layer) : 0;
}

/* State `index` of the model, all slots; NULL where its layer has none. */
static nlm_state *state_of(const nlm_trainer *t, uint32_t index) {
    return nlm_cache_state(t->cache, (int32_t)index / t->cache->n_layer, (int32_t)index % t->cache->n_layer);
}

static uint64_t slot_bytes(const nlm_trainer *t, const nlm_state *state) {
    return state->bytes / (uint64_t)t->cache->options.n_slots;
}

static uint64_t slot_of(const nlm_trainer *t, int32_t lane) {
    return (uint64_t)t->options.shape.max_seqs + (uint64_t)lane;
}

/* ---- a batch ----------------------------------------------------------------------------------------- */

/* A lane is read by one sequence at most, and written by one. */
static nlm_status check_batch(nlm_trainer *t, const int32_t *lanes, int32_t n_seqs, nlm_error *err) {
    const int32_t n = t->options.n_lanes;
    if (n > 0) memset(t->is_taken, 0, (size_t)n * sizeof *t->is_taken);
    for (int32_t i = 0; lanes && i < n_seqs; i++) {
        if (lanes[i] < 0) continue;
        if (lanes[i] >= n || t->is_taken[lanes[i]]) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                            "sequence %d has lane %d, which another one has or which is none of %d", i, lanes[i], n);
        }
        t->is_taken[lanes[i]] = true;
    }
    return NLM_OK;
}

nlm_status nlm_lanes_slots(nlm_trainer *t, const nlm_train_batch *batch, int32_t *out_slots, nlm_error *err) {
    NLM_TRY(check_batch(t, batch->from, batch->n_seqs, err));
    NLM_TRY(check_batch(t, batch->to, batch->n_seqs, err));
    for (int32_t i = 0; i < t->options.shape.max_seqs; i++) {
        const bool goes_on = batch->from && i < batch->n_seqs && batch->from[i] >= 0;
        out_slots[i] = goes_on ? (int32_t)slot_of(t, batch->from[i]) : i;
    }
    return NLM_OK;
}

nlm_status nlm_lanes_keep(nlm_trainer *t, const nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err) {
    for (uint32_t i = 0; batch->to && t->options.n_lanes > 0 && i < nlm_trainer_states(t); i++) {
        if (p->after[i] == NLM_NO_VALUE) continue;
        nlm_state *state = state_of(t, i);
        const uint64_t bytes = slot_bytes(t, state);
        const int32_t *slots = nlm_program_input(p->program, p->io.batch.slot);
        const char *after = nlm_program_output(p->program, p->after[i]);
        for (int32_t s = 0; s < batch->n_seqs; s++) {
            if (batch->to[s] < 0) continue;
            const char *from = after + (uint64_t)slots[s] * bytes;
            NLM_TRY(nlm_state_write(state, slot_of(t, batch->to[s]) * bytes, from, bytes, err));
        }
    }
    return NLM_OK;
}

/* ---- all lanes ----------------------------------------------------------------------------------------- */

typedef nlm_status (*lanes_fn)(nlm_state *state, uint64_t offset, void *memory, uint64_t bytes, nlm_error *err);

static nlm_status read_lanes(nlm_state *state, uint64_t offset, void *memory, uint64_t bytes, nlm_error *err) {
    return nlm_state_read(state, offset, memory, bytes, err);
}
static nlm_status write_lanes(nlm_state *state, uint64_t offset, void *memory, uint64_t bytes, nlm_error *err) {
    return nlm_state_write(state, offset, memory, bytes, err);
}

static nlm_status for_all(nlm_trainer *t, lanes_fn fn, nlm_error *err) {
    char *at = t->before;
    for (uint32_t i = 0; at && i < nlm_trainer_states(t); i++) {
        nlm_state *state = state_of(t, i);
        if (!state) continue;
        const uint64_t bytes = slot_bytes(t, state), all = bytes * (uint64_t)t->options.n_lanes;
        NLM_TRY(fn(state, slot_of(t, 0) * bytes, at, all, err));
        at += all;
    }
    return NLM_OK;
}

nlm_status nlm_lanes_note(nlm_trainer *t, nlm_error *err) {
    return for_all(t, read_lanes, err);
}

nlm_status nlm_lanes_return(nlm_trainer *t, nlm_error *err) {
    return for_all(t, write_lanes, err);
}

/* ---- checkpoints ----------------------------------------------------------------------------------------- */

uint32_t nlm_trainer_carried_count(const nlm_trainer *t) {
    return t->options.n_lanes > 0 ? nlm_trainer_states(t) : 0;
}

uint64_t nlm_trainer_carried_elements(const nlm_trainer *t, uint32_t index, char *out_name) {
    const nlm_state *state = state_of(t, index);
    const uint32_t n_layer = (uint32_t)t->cache->n_layer;
    const char *name = t->cache->groups[index / n_layer].spec->name;
    if (out_name) snprintf(out_name, 64, "carried.blk.%u.%.40s", index % n_layer, name);
    return state ? slot_bytes(t, state) / sizeof(float) * (uint64_t)t->options.n_lanes : 0;
}

nlm_status nlm_trainer_read_carried(const nlm_trainer *t, uint32_t index, float *out, nlm_error *err) {
    nlm_state *state = state_of(t, index);
    const uint64_t bytes = nlm_trainer_carried_elements(t, index, NULL) * sizeof *out;
    return bytes > 0 ? nlm_state_read(state, slot_of(t, 0) * slot_bytes(t, state), out, bytes, err) : NLM_OK;
}

nlm_status nlm_trainer_write_carried(nlm_trainer *t, uint32_t index, const float *values, nlm_error *err) {
    nlm_state *state = state_of(t, index);
    const uint64_t bytes = nlm_trainer_carried_elements(t, index, NULL) * sizeof *values;
    return bytes > 0 ? nlm_state_write(state, slot_of(t, 0) * slot_bytes(t, state), values, bytes, err) : NLM_OK;
}
