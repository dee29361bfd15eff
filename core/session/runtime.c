/* Loading and unloading models, and what is said of a loaded one. */
#include "session/runtime.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "model/packed.h"
#include "session/constraint.h"
#include "session/estimate.h"
#include "session/options.h"

#define DEFAULT_SNAPSHOT_BYTES (64ull << 20)
#define MAX_BLOCKS             (1 << 20)

/* Of the progress: what comes before the weights are placed, and after. */
#define BEFORE_WEIGHTS 0.05
#define AFTER_WEIGHTS  0.02

static nlm_status report(const nlm_loading *loading, double fraction, nlm_error *err) {
    if (!loading->progress) return NLM_OK;
    nlm_gate_call_out(&loading->engine->gate, true);
    const int32_t is_cancelled = loading->progress(loading->user, fraction);
    nlm_gate_call_out(&loading->engine->gate, false);
    if (!is_cancelled) return NLM_OK;
    return nlm_fail(err, NLM_CANCELLED, "nlm_model_load", "loading was cancelled");
}

/* A weight that is placed twice counts once more than there are. */
static nlm_status report_placed(nlm_placing *placing, uint64_t bytes, nlm_error *err) {
    nlm_loading *loading = (nlm_loading *)placing;
    const uint64_t left = loading->all - loading->placed;
    loading->placed += bytes < left ? bytes : left;
    const double part = loading->all ? (double)loading->placed / (double)loading->all : 1;
    return report(loading, BEFORE_WEIGHTS + (1 - BEFORE_WEIGHTS - AFTER_WEIGHTS) * part, err);
}

static nlm_loading begin_loading(nlm_engine *engine, const nlm_model_options *options) {
    return (nlm_loading){.placing.placed = report_placed,
                         .engine = engine,
                         .progress = options->progress,
                         .user = options->progress_user};
}

/* ---- parts -------------------------------------------------------------------------------- */

/* Tokens alone can be run without a tokenizer, or with one that is not known. */
static nlm_status open_tokenizer(nlm_runtime *runtime, nlm_error *err) {
    size_t n_needed;
    runtime->text_error = (nlm_error)NLM_ERROR_INIT;
    const char *const *controls = runtime->own_chat ? nlm_chat_own_tokens(runtime->own_chat)
                                  : runtime->chat   ? nlm_chat_template_tokens(runtime->chat, &n_needed)
                                                    : NULL;
    const nlm_status status =
        nlm_tokenizer_create_for(nlm_model_gguf(runtime->model), controls, &runtime->tokenizer, &runtime->text_error);
    if (status == NLM_OK || status == NLM_NOT_FOUND) return NLM_OK;
    if (status == NLM_UNSUPPORTED) {
        nlm_log(NLM_LOG_WARN, "%s: %s; token ids can be run, text cannot", runtime->text_error.where,
                runtime->text_error.msg);
        return NLM_OK;
    }
    nlm_error_give(err, &runtime->text_error);
    return status;
}

nlm_status nlm_runtime_check_text(const nlm_runtime *runtime, nlm_error *err) {
    if (runtime->tokenizer) return NLM_OK;
    nlm_error_give(err, &runtime->text_error);
    return runtime->text_error.code;
}

/* The model's template, which it may do without; and the known one that renders just so, if there is one. */
static void open_own_chat(nlm_runtime *runtime) {
    const nlm_gguf *gguf = nlm_model_gguf(runtime->model);
    bool is_exact = false;
    runtime->chat_error = (nlm_error)NLM_ERROR_INIT;
    const nlm_status status = nlm_chat_template_detect(gguf, &runtime->chat, &is_exact, &runtime->chat_error);
    if (status != NLM_OK || !is_exact) runtime->chat = NULL;
    if (status == NLM_NOT_FOUND) return;
    nlm_error why = NLM_ERROR_INIT;
    if (nlm_chat_own_create(gguf, &runtime->own_chat, &why) != NLM_OK) {
        runtime->own_chat = NULL;
        runtime->chat_error = why;
    }
}

/* The template that `options` names, or the model's. */
static nlm_status open_chat(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    if (!options->chat_template) {
        open_own_chat(runtime);
        return NLM_OK;
    }
    runtime->chat = nlm_chat_template_from_name(options->chat_template);
    if (runtime->chat) return NLM_OK;
    nlm_str names = {0};
    for (const char *const *name = nlm_chat_template_names(); *name; name++) {
        nlm_str_printf(&names, "%s%s", names.length ? ", " : "", *name);
    }
    const nlm_status status =
        nlm_fail(err, NLM_INVALID_ARGUMENT, "chat_template", "'%s' is not a known chat template; these are: %s",
                 options->chat_template, names.data ? names.data : "");
    nlm_str_release(&names);
    return status;
}

static nlm_status open_text(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    NLM_TRY(open_chat(runtime, options, err));
    return open_tokenizer(runtime, err);
}

/* Two things that take about as long: the vocabulary, which is one thread's work, and the checksums of packed
 * weights, which are the others'. */
typedef struct reading {
    nlm_runtime *runtime;
    const nlm_model_options *options;
    nlm_status status; /* of the text */
    nlm_error *err;
} reading;

static void read_part(void *user, uint32_t ith, uint32_t nth) {
    reading *r = user;
    (void)nth;
    if (ith == 0) r->status = open_text(r->runtime, r->options, r->err);
    nlm_model_check_packed(r->runtime->model);
}

static nlm_status create_states(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    nlm_cache_options cache_options;
    NLM_TRY(nlm_choose_cache(runtime->model, options, &cache_options, &runtime->context_length, err));
    runtime->n_slots = cache_options.n_slots;
    runtime->is_slot_used = calloc((size_t)runtime->n_slots, sizeof *runtime->is_slot_used);
    runtime->mask = calloc(nlm_mask_words(runtime->hparams->n_vocab), sizeof *runtime->mask);
    if (!runtime->is_slot_used || !runtime->mask) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_model_load", "no memory for slots");
    }
    return nlm_states_create(runtime->model, &cache_options, &runtime->states, err);
}

static nlm_status plan(nlm_runtime *runtime, nlm_error *err) {
    const nlm_programs_options options = {.model = runtime->model,
                                          .states = runtime->states,
                                          .env = &runtime->engine->env,
                                          .max_rows = nlm_choose_rows(runtime->model, runtime->engine)};
    const nlm_gguf *gguf = nlm_model_gguf(runtime->model);
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++)
        runtime->loading.all += nlm_gguf_tensor_at(gguf, i)->bytes;
    runtime->engine->env.placing = &runtime->loading.placing;
    const nlm_status status = nlm_programs_create(&options, &runtime->programs, err);
    runtime->engine->env.placing = NULL;
    return status;
}

static void release_snapshot(void *user, int32_t number) {
    const nlm_runtime *runtime = user;
    nlm_snapshots_drop(runtime->snapshots, number);
}

/* The bound of the prompt cache. Pages are shared with sessions: by default a quarter of them is for prompts. */
static uint64_t choose_prompt_bytes(const nlm_states *states, const nlm_model_options *options) {
    const uint64_t n_pages = states->pages ? (uint64_t)states->cache->options.n_pages : 0;
    if (options->flags & NLM_MODEL_NO_PROMPT_CACHE) return 0;
    if (options->prompt_cache_bytes) return options->prompt_cache_bytes;
    return n_pages * NLM_PAGE_TOKENS * states->token_bytes / 4 + (states->slot_bytes ? DEFAULT_SNAPSHOT_BYTES : 0);
}

/* Where blocks of prompts end, and how many the bound in bytes lets the prompt cache hold. */
static nlm_prompt_cache_options choose_prompts(nlm_runtime *runtime, uint64_t max_bytes) {
    const nlm_states *states = runtime->states;
    const int32_t block_tokens = states->slot_bytes ? NLM_SNAPSHOT_TOKENS : NLM_PAGE_TOKENS;
    const uint64_t n_pages = states->pages ? (uint64_t)states->cache->options.n_pages : 0;
    const uint64_t block_bytes = (uint64_t)block_tokens * states->token_bytes + states->slot_bytes;
    uint64_t blocks = max_bytes / block_bytes;
    if (n_pages && blocks > n_pages) blocks = n_pages;
    return (nlm_prompt_cache_options){.max_blocks = (int32_t)(blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS),
                                      .block_tokens = block_tokens,
                                      .grain = NLM_PAGE_TOKENS,
                                      .release = release_snapshot,
                                      .user = runtime};
}

static nlm_status create_prompt_cache(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    if (options->flags & NLM_MODEL_NO_PROMPT_CACHE) return NLM_OK;
    const nlm_prompt_cache_options prompts = choose_prompts(runtime, choose_prompt_bytes(runtime->states, options));
    if (prompts.max_blocks == 0) return NLM_OK;
    /* one more than the cache holds: a snapshot is taken before another makes room for it */
    NLM_TRY(nlm_snapshots_create(runtime->states, prompts.max_blocks + 1, prompts.block_tokens, &runtime->snapshots,
                                 err));
    runtime->found_capacity = runtime->context_length / prompts.grain + 1;
    runtime->found = calloc((size_t)runtime->found_capacity, sizeof *runtime->found);
    if (!runtime->found) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_model_load", "no memory for the prompt cache");
    return nlm_prompt_cache_create(&prompts, &runtime->prompts, err);
}

/* The metadata was copied where it is needed; a vocabulary's pages and tables need not stay in memory. */
static void drop_metadata(nlm_runtime *runtime) {
    nlm_model_drop_strings(runtime->model);
    const nlm_gguf *gguf = nlm_model_gguf(runtime->model);
    if (nlm_gguf_entry_count(gguf) == 0 || nlm_gguf_tensor_count(gguf) == 0) return;
    const char *first = nlm_gguf_entry_at(gguf, 0)->key.data;
    const char *name = nlm_gguf_tensor_at(gguf, 0)->name.data;
    if (name > first) nlm_gguf_drop_pages(gguf, first, (uint64_t)(name - first));
}

/* ---- loading ------------------------------------------------------------------------------ */

/* Counts the model towards the engine's limit: prompts that are kept take memory of their own where states are not
 * all paged. */
static nlm_status take_memory(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    const nlm_states *states = runtime->states;
    nlm_memory_estimate e;
    NLM_TRY(nlm_check_memory(runtime->engine, runtime->model, states->cache, runtime->context_length, &e, err));
    const uint64_t prompts = states->slot_bytes ? choose_prompt_bytes(states, options) : 0;
    const uint64_t bytes = e.weight_bytes + e.cache_bytes + e.working_bytes + prompts;
    NLM_TRY(nlm_engine_take_memory(runtime->engine, bytes, nlm_gguf_path(nlm_model_gguf(runtime->model)), err));
    runtime->memory_bytes = bytes;
    return NLM_OK;
}

/* Sets up what runs runtime->model, which is open. */
static nlm_status load_parts(nlm_runtime *runtime, const nlm_model_options *options, nlm_error *err) {
    runtime->hparams = nlm_model_hparams(runtime->model);
    nlm_model_set_runtime(runtime->model, runtime);
    NLM_TRY(create_states(runtime, options, err));
    NLM_TRY(take_memory(runtime, options, err));
    NLM_TRY(nlm_gguf_check_file(nlm_model_gguf(runtime->model), err));
    if (options->pack_cache && options->pack_cache[0]) {
        NLM_TRY(nlm_model_use_packed(runtime->model, options->pack_cache, nlm_engine_device(runtime->engine), err));
    }
    reading r = {.runtime = runtime, .options = options, .err = err};
    nlm_pool_run(runtime->engine->pool, read_part, &r);
    NLM_TRY(r.status);
    drop_metadata(runtime);
    NLM_TRY(report(&runtime->loading, BEFORE_WEIGHTS, err));
    NLM_TRY(plan(runtime, err));
    NLM_TRY(nlm_gguf_check_file(nlm_model_gguf(runtime->model), err));
    nlm_model_save_packed(runtime->model);
    NLM_TRY(create_prompt_cache(runtime, options, err));
    NLM_TRY(report(&runtime->loading, 1, err));
    runtime->loading.progress = NULL;
    return NLM_OK;
}

static void unload(nlm_runtime *runtime) {
    nlm_engine_give_memory(runtime->engine, runtime->memory_bytes);
    nlm_prompt_cache_destroy(runtime->prompts);
    nlm_snapshots_destroy(runtime->snapshots);
    nlm_programs_destroy(runtime->embedders);
    nlm_programs_destroy(runtime->programs);
    nlm_states_destroy(runtime->states);
    if (runtime->tokenizer) nlm_tokenizer_destroy(runtime->tokenizer);
    nlm_chat_own_destroy(runtime->own_chat);
    if (runtime->model) nlm_model_close(runtime->model);
    free(runtime->found);
    free(runtime->mask);
    free(runtime->is_slot_used);
    free(runtime);
}

static void end_model(nlm_ending *ending) {
    nlm_runtime *runtime = (nlm_runtime *)((char *)ending - offsetof(nlm_runtime, ending));
    runtime->is_ending = true;
    nlm_runtime_end_with_last(runtime);
}

void nlm_runtime_end_with_last(nlm_runtime *runtime) {
    if (runtime->n_embeddings > 0) return;
    for (int32_t i = 0; i < runtime->n_slots; i++) {
        if (!runtime->is_ending || runtime->is_slot_used[i]) return;
    }
    runtime->engine->gate.n_users--;
    unload(runtime);
}

/* Takes the model, which is open since the clock stood at `start`. */
static nlm_status load(nlm_engine *engine, nlm_model *model, const nlm_model_options *options, uint64_t start,
                       nlm_model **out_model, nlm_error *err) {
    nlm_runtime *runtime = calloc(1, sizeof *runtime);
    if (!runtime) {
        nlm_model_close(model);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_model_load", "no memory");
    }
    runtime->engine = engine;
    runtime->model = model;
    runtime->ending.end = end_model;
    runtime->loading = begin_loading(engine, options);
    const nlm_status status = load_parts(runtime, options, err);
    if (status != NLM_OK) {
        unload(runtime);
        return status;
    }
    runtime->load_seconds = (double)(nlm_clock_ns() - start) * 1e-9;
    engine->gate.n_users++;
    *out_model = model;
    return NLM_OK;
}

nlm_status nlm_model_load_open(nlm_engine *engine, nlm_model *model, const nlm_model_options *options,
                               nlm_model **out_model, nlm_error *err) {
    *out_model = NULL;
    nlm_model_options own;
    nlm_status status = nlm_take_model_options(options, &own, err);
    if (status == NLM_OK) status = nlm_gate_enter(&engine->gate, __func__, err);
    if (status != NLM_OK) {
        nlm_model_close(model);
        return status;
    }
    status = load(engine, model, &own, nlm_clock_ns(), out_model, err);
    nlm_gate_leave(&engine->gate);
    return status;
}

nlm_status nlm_model_load(nlm_engine *engine, const char *path, const nlm_model_options *options,
                          nlm_model **out_model, nlm_error *error) {
    NLM_NEEDS(out_model, error);
    *out_model = NULL;
    NLM_NEEDS(engine, error);
    NLM_NEEDS(path, error);
    NLM_ENTER(&engine->gate, error);
    nlm_model_options own;
    NLM_TRY(nlm_take_model_options(options, &own, error));
    const uint64_t start = nlm_clock_ns();
    const nlm_loading loading = begin_loading(engine, &own);
    NLM_TRY(report(&loading, 0, error));
    nlm_model *model = NULL;
    NLM_TRY(nlm_open_as_asked(path, &own, &model, error));
    return load(engine, model, &own, start, out_model, error);
}

void nlm_model_unload(nlm_model *model) {
    if (!model) return;
    nlm_runtime *runtime = nlm_model_runtime(model);
    nlm_gate_end(&runtime->engine->gate, &runtime->ending);
}

/* What nlm_model_info calls the template. */
static const char *chat_name(const nlm_runtime *runtime) {
    if (runtime->chat) return nlm_chat_template_name(runtime->chat);
    return runtime->own_chat ? "jinja" : NULL;
}

nlm_status nlm_model_describe(const nlm_model *model, nlm_model_info *out_info, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(out_info, error);
    const nlm_runtime *runtime = nlm_model_runtime(model);
    const nlm_hparams *h = runtime->hparams;
    const nlm_model_info info = {.context_length = (uint32_t)runtime->context_length,
                                 .parallel = (uint32_t)runtime->n_slots,
                                 .n_vocab = h->n_vocab,
                                 .n_layer = h->n_layer,
                                 .n_embd = h->n_embd,
                                 .n_ctx_train = h->n_ctx_train,
                                 .bos = runtime->tokenizer ? nlm_tokenizer_bos(runtime->tokenizer) : -1,
                                 .eos = runtime->tokenizer ? nlm_tokenizer_eos(runtime->tokenizer) : -1,
                                 .family = nlm_model_family_name(model),
                                 .chat_template = chat_name(runtime),
                                 .file_bytes = nlm_gguf_file_bytes(nlm_model_gguf(model)),
                                 .cache_bytes = nlm_cache_bytes(runtime->states->cache),
                                 .weight_bytes_per_token = nlm_model_weight_bytes_per_token(model),
                                 .load_seconds = runtime->load_seconds};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_model_info", error);
}

uint64_t nlm_runtime_fingerprint(nlm_runtime *runtime) {
    const nlm_gguf *gguf = nlm_model_gguf(runtime->model);
    if (runtime->fingerprint == 0) runtime->fingerprint = nlm_gguf_checksum(gguf) ^ nlm_gguf_overrides_sum(gguf);
    return runtime->fingerprint;
}
