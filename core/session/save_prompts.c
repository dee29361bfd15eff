/* The prompt cache of a model to a file, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/prompt_file.h"
#include "session/runtime.h"
#include "session/session_file.h"

#define WHERE "prompt cache"

static void add_text(nlm_checksum *sum, const char *text) {
    nlm_checksum_update(sum, text, strlen(text) + 1);
}

/* Who computed the states: others may round differently, and a text must not hang on whether its prompt was kept. */
static uint64_t maker_of(const nlm_engine *engine) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    add_text(&sum, nlm_version());
    for (uint32_t i = 0; i < engine->env.n_devices; i++) {
        const nlm_device *device = engine->env.devices[i];
        add_text(&sum, device->backend);
        add_text(&sum, nlm_device_backend_version(device));
        add_text(&sum, device->info.arch);
    }
    nlm_checksum_update(&sum, &engine->options_sum, sizeof engine->options_sum);
    return nlm_checksum_value(&sum);
}

static nlm_status shape_of(nlm_runtime *runtime, nlm_prompt_shape *out, nlm_error *err) {
    const nlm_states *states = runtime->states;
    if (!runtime->prompts) return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "the model was loaded without one");
    *out = (nlm_prompt_shape){
        .state_kind = states->pages ? (uint32_t)states->cache->options.kv_dtype : NLM_SESSION_NO_KV,
        .fingerprint = nlm_runtime_fingerprint(runtime),
        .maker = maker_of(runtime->engine),
        .token_bytes = states->token_bytes,
        .slot_bytes = states->slot_bytes,
        .n_vocab = runtime->hparams->n_vocab,
        .block_tokens = states->slot_bytes ? NLM_SNAPSHOT_TOKENS : NLM_PAGE_TOKENS,
        .grain = NLM_PAGE_TOKENS};
    return NLM_OK;
}

/* ---- saving ------------------------------------------------------------------------------- */

typedef struct saving {
    nlm_runtime *runtime;
    int32_t *handles; /* in the file's order */
    int32_t *places;  /* by handle: where in the file it is */
    int32_t n;        /* of them that are written */
    void *state;      /* room for the greatest one */
    uint64_t n_tokens;
} saving;

/* The first of them, as many as max_bytes have room for. */
static int32_t choose_count(const saving *s, int32_t n_blocks, uint64_t max_bytes) {
    uint64_t bytes = 0;
    for (int32_t i = 0; max_bytes && i < n_blocks; i++) {
        const int32_t n_tokens = nlm_prompt_cache_block(s->runtime->prompts, s->handles[i]).n_tokens;
        bytes += nlm_snapshots_bytes(s->runtime->snapshots, n_tokens) + 4 * (uint64_t)n_tokens;
        if (bytes > max_bytes) return i;
    }
    return n_blocks;
}

static nlm_status write_blocks(saving *s, nlm_prompt_writer *writer, nlm_error *err) {
    for (int32_t i = 0; i < s->n; i++) {
        const nlm_prompt_block block = nlm_prompt_cache_block(s->runtime->prompts, s->handles[i]);
        const int32_t parent = block.parent == NLM_PROMPT_NONE ? NLM_PROMPT_NONE : s->places[block.parent];
        s->places[s->handles[i]] = i;
        NLM_TRY(nlm_snapshots_read(s->runtime->snapshots, block.payload, s->state, err));
        NLM_TRY(nlm_prompt_writer_put(writer, &block, parent, s->state,
                                      nlm_snapshots_bytes(s->runtime->snapshots, block.n_tokens), err));
        s->n_tokens += (uint64_t)block.n_tokens;
    }
    return nlm_prompt_writer_commit(writer, err);
}

static nlm_status save(saving *s, const char *path, uint64_t max_bytes, nlm_error *err) {
    nlm_prompt_shape shape;
    NLM_TRY(shape_of(s->runtime, &shape, err));
    const int32_t n_blocks = nlm_prompt_cache_blocks(s->runtime->prompts);
    const size_t capacity = (size_t)nlm_prompt_cache_capacity(s->runtime->prompts);
    s->handles = calloc((size_t)n_blocks + 1, sizeof *s->handles);
    s->places = calloc(capacity, sizeof *s->places);
    s->state = malloc(nlm_snapshots_bytes(s->runtime->snapshots, shape.block_tokens));
    if (!s->handles || !s->places || !s->state || !nlm_prompt_cache_list(s->runtime->prompts, s->handles)) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to save %d blocks of prompts", n_blocks);
    }
    s->n = choose_count(s, n_blocks, max_bytes);
    nlm_prompt_writer writer;
    nlm_status status = nlm_prompt_writer_begin(&writer, path, &shape, (uint64_t)s->n, err);
    if (status == NLM_OK) status = write_blocks(s, &writer, err);
    nlm_prompt_writer_release(&writer);
    return status;
}

nlm_status nlm_model_save_prompts(nlm_model *model, const char *path, uint64_t max_bytes, uint64_t *out_tokens,
                                  nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(path, error);
    nlm_runtime *runtime = nlm_model_runtime(model);
    NLM_ENTER(&runtime->engine->gate, error);
    saving s = {.runtime = runtime};
    const nlm_status status = save(&s, path, max_bytes, error);
    free(s.handles);
    free(s.places);
    free(s.state);
    if (out_tokens) *out_tokens = status == NLM_OK ? s.n_tokens : 0;
    return status;
}

/* ---- restoring ---------------------------------------------------------------------------- */

typedef struct restoring {
    nlm_runtime *runtime;
    int32_t *handles;  /* by place in the file; NLM_PROMPT_NONE: it was left out */
    uint64_t n_blocks; /* of the file, at most */
    int32_t tokens[NLM_SNAPSHOT_TOKENS];
    uint64_t n_tokens;
} restoring;

/* false: no more fit. */
static bool take_block(void *user, uint64_t index, const nlm_prompt_view *view) {
    restoring *r = user;
    nlm_prompt_cache *prompts = r->runtime->prompts;
    int32_t known = NLM_PROMPT_NONE;
    nlm_prompt_block block = {.parent = NLM_PROMPT_NONE, .n_tokens = view->n_tokens, .tokens = r->tokens};
    r->handles[index] = NLM_PROMPT_NONE;
    if (view->parent >= 0) block.parent = r->handles[view->parent];
    if (view->parent >= 0 && block.parent == NLM_PROMPT_NONE) return true;
    if (!nlm_prompt_cache_has_room(prompts)) return false;
    memcpy(r->tokens, view->tokens, (size_t)view->n_tokens * sizeof *r->tokens);
    if (nlm_snapshots_put(r->runtime->snapshots, view->n_tokens, view->state, &block.payload, NULL) != NLM_OK) {
        return false;
    }
    r->handles[index] = nlm_prompt_cache_put(prompts, &block, r->n_blocks - index, &known);
    if (r->handles[index] == NLM_PROMPT_NONE) {
        nlm_snapshots_drop(r->runtime->snapshots, block.payload);
        r->handles[index] = known;
        return true;
    }
    r->n_tokens += (uint64_t)view->n_tokens;
    return true;
}

static nlm_status restore(restoring *r, const char *path, const nlm_file_map *map, nlm_error *err) {
    nlm_prompt_shape shape;
    NLM_TRY(shape_of(r->runtime, &shape, err));
    if (!map->is_ours) {
        return nlm_fail(err, NLM_PERMISSION, path, "the file is another user's, or others may write to it");
    }
    r->n_blocks = map->size / (nlm_snapshots_bytes(r->runtime->snapshots, shape.grain) + 1);
    r->handles = calloc((size_t)r->n_blocks + 1, sizeof *r->handles);
    if (!r->handles) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to restore prompts");
    return nlm_prompt_file_parse(path, map->data, map->size, &shape, take_block, r, err);
}

nlm_status nlm_model_restore_prompts(nlm_model *model, const char *path, uint64_t *out_tokens, nlm_error *error) {
    if (out_tokens) *out_tokens = 0;
    NLM_NEEDS(model, error);
    NLM_NEEDS(path, error);
    nlm_runtime *runtime = nlm_model_runtime(model);
    NLM_ENTER(&runtime->engine->gate, error);
    nlm_file_map map;
    NLM_TRY(nlm_file_read(path, &map, error)); /* others may write to the file: what is checked is what is used */
    restoring r = {.runtime = runtime};
    const nlm_status status = restore(&r, path, &map, error);
    nlm_file_map_close(&map);
    free(r.handles);
    if (out_tokens) *out_tokens = r.n_tokens;
    return status;
}
