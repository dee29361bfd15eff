/* Embeddings: hidden states of many sequences at once, pooled. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/compute.h"
#include "session/options.h"

/* A sequence that is under way, in a slot of its own. */
typedef struct embedded {
    int32_t slot;
    size_t index;       /* of the sequence */
    int32_t n_computed; /* of its tokens */
    int32_t n;          /* in the coming run */
    float *out;         /* its row, or its first */
    double *sums;       /* [n_embd] of its rows so far, for their mean */
} embedded;

struct nlm_embedding {
    nlm_runtime *runtime;
    nlm_ending ending;
    const int32_t *const *ids;
    const size_t *counts;
    size_t n;
    nlm_embed_options options;
    size_t n_embd;
    size_t next;      /* sequence to begin */
    float *out;       /* where its rows go */
    uint64_t n_left;  /* tokens to be computed */
    embedded *active; /* [slots of the model] */
    double *sums;     /* [slots of the model, n_embd], for means */
    int32_t n_active;
    bool has_failed;
    nlm_batch_item items[NLM_MAX_ROWS];
};

/* ---- what is asked for -------------------------------------------------------------------- */

#define WHERE "nlm_embed"

static nlm_status check_sequence(const nlm_embedding *e, size_t index, nlm_error *err) {
    const size_t count = e->counts[index];
    const int32_t n_vocab = e->runtime->hparams->n_vocab, limit = e->runtime->context_length;
    if (count == 0 || !e->ids[index]) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "sequence %zu has no tokens", index);
    }
    if (count > (size_t)limit) {
        return nlm_fail(err, NLM_LIMIT, WHERE, "sequence %zu has %zu tokens, and the context holds %d", index, count,
                        limit);
    }
    for (size_t i = 0; i < count; i++) {
        const int32_t id = e->ids[index][i];
        if (id >= 0 && id < n_vocab) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "token %zu of sequence %zu is %d; the vocabulary has 0 to %d", i, index, id, n_vocab - 1);
    }
    return NLM_OK;
}

static nlm_status check(const nlm_embedding *e, nlm_error *err) {
    const nlm_embed_options *o = &e->options;
    if (o->flags & ~(uint32_t)NLM_EMBED_NORMALIZE || o->pooling > NLM_POOLING_NONE || o->reserved) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "flags 0x%x or pooling %u are not known", o->flags,
                        o->pooling);
    }
    for (size_t i = 0; i < e->n; i++) NLM_TRY(check_sequence(e, i, err));
    return NLM_OK;
}

/* ---- slots -------------------------------------------------------------------------------- */

static bool has_free_slot(const nlm_runtime *runtime) {
    for (int32_t i = 0; i < runtime->n_slots; i++) {
        if (!runtime->is_slot_used[i]) return true;
    }
    return false;
}

/* There is a free one. */
static nlm_status take_slot(nlm_runtime *runtime, int32_t *out, nlm_error *err) {
    int32_t slot = 0;
    while (runtime->is_slot_used[slot]) slot++;
    NLM_TRY(nlm_states_clear(runtime->states, slot, err));
    runtime->is_slot_used[slot] = true;
    *out = slot;
    return NLM_OK;
}

static void give_slot(nlm_runtime *runtime, int32_t slot) {
    nlm_states_release(runtime->states, slot);
    runtime->is_slot_used[slot] = false;
}

/* Begins sequences while there are slots for them. */
static nlm_status begin(nlm_embedding *e, nlm_error *err) {
    while (e->next < e->n && has_free_slot(e->runtime)) {
        int32_t slot;
        const size_t rows = e->options.pooling == NLM_POOLING_NONE ? e->counts[e->next] : 1;
        NLM_TRY(take_slot(e->runtime, &slot, err));
        double *sums = e->sums ? e->sums + (size_t)slot * e->n_embd : NULL;
        e->active[e->n_active++] = (embedded){.slot = slot, .index = e->next++, .out = e->out, .sums = sums};
        for (size_t i = 0; sums && i < e->n_embd; i++) sums[i] = 0;
        e->out += rows * e->n_embd;
    }
    if (e->n_active > 0 || e->next == e->n) return NLM_OK;
    return nlm_fail(err, NLM_LIMIT, WHERE,
                    "all %d sessions of the model are in use; load it with a greater nlm_model_options.parallel",
                    e->runtime->n_slots);
}

/* ---- one run ------------------------------------------------------------------------------ */

/* As many rows of the sequence's part of the run are wanted. */
static int32_t outputs_of(const nlm_embedding *e, const embedded *part) {
    return e->options.pooling == NLM_POOLING_LAST ? 1 : part->n;
}

/* The items of the coming run: of each sequence as much as there is room for, in their order. */
static nlm_status fill(nlm_embedding *e, int32_t room, int32_t *out_count, nlm_error *err) {
    *out_count = 0;
    for (int32_t i = 0; i < e->n_active && room > 0; i++) {
        embedded *part = &e->active[i];
        const int32_t left = (int32_t)e->counts[part->index] - part->n_computed;
        part->n = left < room ? left : room;
        NLM_TRY(nlm_runtime_make_room(e->runtime, part->slot, part->n, err));
        e->items[(*out_count)++] = (nlm_batch_item){.slot = part->slot,
                                                    .pos = part->n_computed,
                                                    .n = part->n,
                                                    .n_outputs = outputs_of(e, part),
                                                    .ids = e->ids[part->index] + part->n_computed};
        room -= part->n;
    }
    return NLM_OK;
}

static void normalize(float *row, size_t n) {
    double power = 0;
    for (size_t i = 0; i < n; i++) power += (double)row[i] * (double)row[i];
    if (power == 0) return;
    for (size_t i = 0; i < n; i++) row[i] = (float)((double)row[i] / sqrt(power));
}

/* Row by row, wherever a run cuts them. */
static void add_rows(double *sums, const float *rows, int32_t n_rows, size_t n) {
    for (int32_t r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < n; i++) sums[i] += (double)rows[(size_t)r * n + i];
    }
}

static nlm_status check_rows(const nlm_embedding *e, const embedded *part, const float *rows, int32_t n_rows,
                             nlm_error *err) {
    for (size_t i = 0; i < (size_t)n_rows * e->n_embd; i++) {
        if (isfinite(rows[i])) continue;
        return nlm_fail(
            err, NLM_NUMERIC, WHERE,
            "a hidden state of sequence %zu is %f: the weights are damaged, the backend is at fault, or the "
            "type of the KV cache is too small (f32 is not)",
            part->index, (double)rows[i]);
    }
    return NLM_OK;
}

/* A sequence's part of a run that went well; its rows are the first of those given. */
static nlm_status take(const nlm_embedding *e, embedded *part, const float *rows, nlm_error *err) {
    const int32_t n_rows = outputs_of(e, part);
    const size_t n = e->n_embd, bytes = n * sizeof *rows;
    NLM_TRY(check_rows(e, part, rows, n_rows, err));
    if (e->options.pooling == NLM_POOLING_NONE) {
        memcpy(part->out + (size_t)part->n_computed * n, rows, (size_t)n_rows * bytes);
    } else if (e->options.pooling == NLM_POOLING_LAST) {
        memcpy(part->out, rows, bytes);
    } else {
        add_rows(part->sums, rows, n_rows, n);
    }
    part->n_computed += part->n;
    return NLM_OK;
}

/* Its row is whole, or its rows are. */
static void end(const nlm_embedding *e, const embedded *part) {
    const size_t n_rows = e->options.pooling == NLM_POOLING_NONE ? e->counts[part->index] : 1;
    give_slot(e->runtime, part->slot);
    for (size_t i = 0; part->sums && i < e->n_embd; i++) part->out[i] = (float)(part->sums[i] / part->n_computed);
    if (!(e->options.flags & NLM_EMBED_NORMALIZE)) return;
    for (size_t r = 0; r < n_rows; r++) normalize(part->out + r * e->n_embd, e->n_embd);
}

/* Of at most `room` tokens. */
static nlm_status run(nlm_embedding *e, int32_t room, nlm_error *err) {
    nlm_runtime *runtime = e->runtime;
    const nlm_batch_result *result = NULL;
    int32_t count, row = 0, n_left = 0;
    NLM_TRY(fill(e, room, &count, err));
    NLM_TRY(nlm_gguf_check_size(nlm_model_gguf(runtime->model), err));
    NLM_TRY(nlm_engine_settle_logits(runtime->engine, err));
    NLM_TRY(nlm_programs_run(runtime->embedders, e->items, count, true, &result, err));
    for (int32_t i = 0; i < count; i++) {
        const int32_t n_rows = e->items[i].n_outputs;
        NLM_TRY(take(e, &e->active[i], result->logits + (size_t)row * e->n_embd, err));
        row += n_rows;
        e->n_left -= (uint64_t)e->active[i].n;
    }
    for (int32_t i = 0; i < e->n_active; i++) {
        if ((size_t)e->active[i].n_computed < e->counts[e->active[i].index]) {
            e->active[n_left++] = e->active[i];
        } else {
            end(e, &e->active[i]);
        }
    }
    e->n_active = n_left;
    return NLM_OK;
}

/* ---- all ---------------------------------------------------------------------------------- */

static nlm_status plan(nlm_runtime *runtime, nlm_error *err) {
    if (runtime->embedders) return NLM_OK;
    const nlm_programs_options options = {.model = runtime->model,
                                          .states = runtime->states,
                                          .env = &runtime->engine->env,
                                          .max_rows = nlm_programs_max_rows(runtime->programs),
                                          .gives_hidden = true};
    return nlm_programs_create(&options, &runtime->embedders, err);
}

static void end_embedding(nlm_ending *ending) {
    nlm_embedding *e = (nlm_embedding *)((char *)ending - offsetof(nlm_embedding, ending));
    nlm_runtime *runtime = e->runtime;
    for (int32_t i = 0; i < e->n_active; i++) give_slot(runtime, e->active[i].slot);
    free(e->active);
    free(e->sums);
    free(e);
    runtime->n_embeddings--;
    nlm_runtime_end_with_last(runtime);
}

void nlm_embedding_destroy(nlm_embedding *embedding) {
    if (embedding) nlm_gate_end(&embedding->runtime->engine->gate, &embedding->ending);
}

/* Checks and keeps what is asked for; what it has allocated after an error too is the caller's to free. */
static nlm_status open_embedding(nlm_embedding *e, const nlm_embed_options *options, nlm_error *err) {
    const size_t n_slots = (size_t)e->runtime->n_slots;
    NLM_TRY(nlm_take_options(&e->options, sizeof e->options, options, "nlm_embed_options", err));
    NLM_TRY(check(e, err));
    for (size_t i = 0; i < e->n; i++) e->n_left += e->counts[i];
    const bool is_mean = e->options.pooling == NLM_POOLING_MEAN;
    e->active = calloc(n_slots, sizeof *e->active);
    if (is_mean) e->sums = calloc(n_slots * e->n_embd, sizeof *e->sums);
    if (e->active && (e->sums || !is_mean)) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %zu sequences", n_slots);
}

nlm_status nlm_embedding_create(nlm_model *model, const int32_t *const *ids, const size_t *counts, size_t n,
                                const nlm_embed_options *options, float *out, nlm_embedding **out_embedding,
                                nlm_error *error) {
    NLM_NEEDS(out_embedding, error);
    *out_embedding = NULL;
    NLM_NEEDS(model, error);
    NLM_NEEDS(ids, error);
    NLM_NEEDS(counts, error);
    NLM_NEEDS(out, error);
    nlm_runtime *runtime = nlm_model_runtime(model);
    NLM_ENTER(&runtime->engine->gate, error);
    nlm_embedding *e = calloc(1, sizeof *e);
    if (!e) return nlm_fail(error, NLM_OUT_OF_MEMORY, WHERE, "no memory");
    e->runtime = runtime;
    e->ending.end = end_embedding;
    e->ids = ids;
    e->counts = counts;
    e->n = n;
    e->n_embd = (size_t)runtime->hparams->n_embd;
    e->out = out;
    runtime->n_embeddings++;
    const nlm_status status = open_embedding(e, options, error);
    if (status == NLM_OK)
        *out_embedding = e;
    else
        nlm_embedding_destroy(e);
    return status;
}

static nlm_status go_on(nlm_embedding *e, uint64_t max_tokens, nlm_error *err) {
    if (e->has_failed) return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "a call for this embedding has failed");
    if (e->n_left == 0) return NLM_OK;
    NLM_TRY(begin(e, err)); /* fails before anything is lost: it may be tried again */
    e->has_failed = true;
    NLM_TRY(plan(e->runtime, err));
    const uint64_t most = (uint64_t)nlm_programs_max_rows(e->runtime->embedders);
    const bool is_less = max_tokens > 0 && max_tokens < most;
    NLM_TRY(run(e, (int32_t)(is_less ? max_tokens : most), err));
    e->has_failed = false;
    return NLM_OK;
}

nlm_status nlm_embedding_run(nlm_embedding *embedding, uint64_t max_tokens, uint64_t *out_left, nlm_error *error) {
    NLM_NEEDS(embedding, error);
    NLM_ENTER(&embedding->runtime->engine->gate, error);
    const nlm_status status = go_on(embedding, max_tokens, error);
    if (out_left) *out_left = embedding->n_left;
    return status;
}

nlm_status nlm_embed(nlm_model *model, const int32_t *const *ids, const size_t *counts, size_t n,
                     const nlm_embed_options *options, float *out, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(ids, error);
    NLM_NEEDS(counts, error);
    NLM_NEEDS(out, error);
    NLM_ENTER(&nlm_model_runtime(model)->engine->gate, error);
    nlm_embedding *e = NULL;
    NLM_TRY(nlm_embedding_create(model, ids, counts, n, options, out, &e, error));
    nlm_status status = NLM_OK;
    while (status == NLM_OK && e->n_left > 0) status = nlm_embedding_run(e, 0, NULL, error);
    nlm_embedding_destroy(e);
    return status;
}
