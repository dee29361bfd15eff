/* Sizes from options, and bytes from sizes. */
#include "session/estimate.h"

#include <stdio.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "session/options.h"
#include "session/programs.h"
#include "tensor/dtype.h"

#define KNOWN_FLAGS (NLM_MODEL_NO_PROMPT_CACHE | NLM_MODEL_NO_MMAP)

#define DEFAULT_CONTEXT  4096
#define GREATEST_CONTEXT (1 << 28)
#define GREATEST_SLOTS   512

/* What a run may take beside its file and its cache, as a share of the file; the libraries, the tokenizer and the
 * rest of the process take the first of it, activations what is left. */
#define BESIDE_PERCENT 15
#define PROCESS_BYTES  (12ull << 20)
#define LEAST_ROWS     128 /* with fewer, reading the weights again costs more than the products */

/* For each entry of the vocabulary: its text, ranks and tables. About. */
#define TOKENIZER_BYTES_PER_ENTRY 120

nlm_status nlm_take_model_options(const nlm_model_options *options, nlm_model_options *own, nlm_error *err) {
    *own = (nlm_model_options){0};
    NLM_TRY(nlm_take_options(own, sizeof *own, options, "nlm_model_options", err));
    if ((own->flags & ~(uint32_t)KNOWN_FLAGS) == 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_model_options", "flags 0x%x are not known",
                    own->flags & ~(uint32_t)KNOWN_FLAGS);
}

nlm_status nlm_open_as_asked(const char *path, const nlm_model_options *options, nlm_model **out, nlm_error *err) {
    nlm_gguf *gguf = NULL;
    const bool is_copied = (options->flags & NLM_MODEL_NO_MMAP) != 0;
    NLM_TRY((is_copied ? nlm_gguf_open_copy : nlm_gguf_open)(path, &gguf, err));
    for (const char *const *text = options->overrides; text && *text; text++) {
        const nlm_status status = nlm_gguf_override(gguf, *text, err);
        if (status == NLM_OK) continue;
        nlm_gguf_close(gguf);
        return status;
    }
    return nlm_model_take_gguf(gguf, out, err);
}

static nlm_status choose_kv_type(const char *name, nlm_dtype *out, nlm_error *err) {
    const nlm_dtype_info *info = nlm_dtype_from_name(name ? name : "f16");
    if (info && (info->dtype == NLM_F16 || info->dtype == NLM_F32 || info->dtype == NLM_Q8_0)) {
        *out = info->dtype;
        return NLM_OK;
    }
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "kv_type",
                    "'%s' is no type of the KV cache; expected f16, f32 or q8_0", name);
}

nlm_status nlm_choose_cache(const nlm_model *model, const nlm_model_options *options, nlm_cache_options *out,
                            int32_t *out_context_length, nlm_error *err) {
    const nlm_hparams *h = nlm_model_hparams(model);
    const bool is_paged = nlm_model_is_paged(model);
    const uint32_t n_slots = options->parallel ? options->parallel : 1;
    uint32_t context = options->context_length;
    if (context == 0)
        context = is_paged && h->n_ctx_train > DEFAULT_CONTEXT ? DEFAULT_CONTEXT : (uint32_t)h->n_ctx_train;
    if (context > GREATEST_CONTEXT || n_slots > GREATEST_SLOTS) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_model_options",
                        "a context of %u tokens and %u sessions; at most %d and %d", context, n_slots,
                        GREATEST_CONTEXT, GREATEST_SLOTS);
    }
    if (is_paged && context > (uint32_t)h->n_ctx_train) {
        nlm_log(NLM_LOG_WARN, "a context of %u tokens; the model was trained for %d", context, h->n_ctx_train);
    }
    const uint64_t n_blocks = is_paged ? ((uint64_t)context + NLM_PAGE_TOKENS - 1) / NLM_PAGE_TOKENS : 1;
    if (n_blocks * n_slots > INT32_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_model_options",
                        "%u sessions of %u tokens need more than 2^31 pages", n_slots, context);
    }
    *out_context_length = (int32_t)context;
    *out = (nlm_cache_options){.n_slots = (int32_t)n_slots,
                               .n_pages = (int32_t)(n_blocks * n_slots),
                               .page_tokens = NLM_PAGE_TOKENS,
                               .n_blocks = (int32_t)n_blocks};
    return choose_kv_type(options->kv_type, &out->kv_dtype, err);
}

/* Activations that live at once for one token, about: f32, and what products make of their inputs. */
static uint64_t bytes_per_row(const nlm_hparams *h) {
    const uint64_t attention = (uint64_t)(h->n_head.most + 2 * h->n_head_kv.most) * (uint64_t)h->head_dim;
    const uint64_t wide = (uint64_t)h->n_ff.most + 5 * (uint64_t)h->d_inner;
    return 4 * (3 * (uint64_t)h->n_embd + attention + wide);
}

static uint64_t file_bytes(const nlm_model *model) {
    return nlm_gguf_file_bytes(nlm_model_gguf(model));
}

int32_t nlm_choose_rows(const nlm_model *model, const nlm_engine *engine) {
    if (!nlm_device_is_sliced(nlm_engine_device(engine))) return NLM_MAX_ROWS;
    const uint64_t beside = file_bytes(model) / 100 * BESIDE_PERCENT;
    const uint64_t budget = beside > PROCESS_BYTES ? beside - PROCESS_BYTES : 0;
    const uint64_t row = bytes_per_row(nlm_model_hparams(model));
    int32_t rows = NLM_MAX_ROWS;
    while (rows > LEAST_ROWS && (uint64_t)rows * row > budget) rows /= 2;
    return rows;
}

static nlm_memory_estimate estimate(const nlm_model *model, const nlm_cache *cache, const nlm_engine *engine) {
    const nlm_hparams *h = nlm_model_hparams(model);
    nlm_memory_estimate e = {.cache_bytes = nlm_cache_bytes(cache)};
    const nlm_gguf *gguf = nlm_model_gguf(model);
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) e.weight_bytes += nlm_gguf_tensor_at(gguf, i)->bytes;
    e.working_bytes = (uint64_t)nlm_choose_rows(model, engine) * bytes_per_row(h) +
                      (uint64_t)h->n_vocab * TOKENIZER_BYTES_PER_ENTRY;
    if (nlm_device_has_host_memory(nlm_engine_device(engine))) e.available_bytes = nlm_memory_available("");
    for (uint32_t i = 0; i < engine->env.n_split && !nlm_device_has_host_memory(engine->env.devices[i]); i++) {
        e.available_bytes += engine->env.devices[i]->info.memory_free_bytes;
    }
    return e;
}

/* "1.2 GiB", "93.8 MiB" */
static const char *spell_bytes(uint64_t bytes, char buffer[32]) {
    const bool is_large = bytes >> 30 != 0;
    snprintf(buffer, 32, "%.1f %s", (double)bytes / (double)(is_large ? 1ull << 30 : 1ull << 20),
             is_large ? "GiB" : "MiB");
    return buffer;
}

static void spell_need(const nlm_cache *cache, int32_t context_length, const nlm_memory_estimate *e, char *out,
                       size_t size) {
    char weights[32], held[32], working[32], available[32];
    snprintf(out, size, "%s of weights, %s of cache (%d x %d tokens) and %s to work in; %s are available",
             spell_bytes(e->weight_bytes, weights), spell_bytes(e->cache_bytes, held), cache->options.n_slots,
             context_length, spell_bytes(e->working_bytes, working), spell_bytes(e->available_bytes, available));
}

nlm_status nlm_check_memory(const nlm_engine *engine, const nlm_model *model, const nlm_cache *cache,
                            int32_t context_length, nlm_memory_estimate *out, nlm_error *err) {
    const nlm_device *device = nlm_engine_device(engine);
    const nlm_memory_estimate e = *out = estimate(model, cache, engine);
    const char *path = nlm_gguf_path(nlm_model_gguf(model));
    char text[256];
    spell_need(cache, context_length, &e, text, sizeof text);
    if (e.available_bytes == 0 || e.weight_bytes + e.cache_bytes + e.working_bytes <= e.available_bytes) {
        nlm_log(NLM_LOG_INFO, "%s needs %s", path, text);
        return NLM_OK;
    }
    if (nlm_device_has_host_memory(device)) {
        nlm_log(NLM_LOG_WARN, "%s needs %s: it may page or be killed; a shorter context or fewer sessions need less",
                path, text);
        return NLM_OK;
    }
    return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "the model needs %s on %s device %u", text, device->backend,
                    device->device_id);
}

static nlm_status estimate_open(const nlm_engine *engine, const nlm_model *model, const nlm_model_options *options,
                                nlm_memory_estimate *out, nlm_error *err) {
    nlm_cache_options cache_options;
    int32_t context_length;
    NLM_TRY(nlm_choose_cache(model, options, &cache_options, &context_length, err));
    nlm_cache *cache = NULL;
    NLM_TRY(nlm_model_cache_create(model, &cache_options, &cache, err));
    *out = estimate(model, cache, engine);
    nlm_cache_destroy(cache);
    return NLM_OK;
}

nlm_status nlm_model_estimate(const nlm_engine *engine, const char *path, const nlm_model_options *options,
                              nlm_memory_estimate *out_estimate, nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(path, error);
    NLM_NEEDS(out_estimate, error);
    NLM_ENTER(&((nlm_engine *)engine)->gate, error);
    nlm_model_options own;
    NLM_TRY(nlm_take_model_options(options, &own, error));
    own.flags &= ~(uint32_t)NLM_MODEL_NO_MMAP; /* the header alone is read */
    nlm_model *model = NULL;
    NLM_TRY(nlm_open_as_asked(path, &own, &model, error));
    nlm_memory_estimate e = {0};
    const nlm_status status = estimate_open(engine, model, &own, &e, error);
    nlm_model_close(model);
    if (status != NLM_OK) return status;
    return nlm_give_struct(out_estimate, &e, sizeof e, "nlm_memory_estimate", error);
}
