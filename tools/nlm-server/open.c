/* From the settings to a loaded model. */
#include "nlm-server/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "common/model_file.h"
#include "common/options.h"

#define DEVICES_MAX 16

static nlm_status open_engine(server *s, nlm_error *err) {
    const settings *set = s->set;
    int32_t ids[DEVICES_MAX];
    uint32_t n_ids = 0;
    for (; n_ids < set->devices.count && n_ids < DEVICES_MAX; n_ids++)
        ids[n_ids] = (int32_t)set->devices.items[n_ids];
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .flags = set->has_fallback ? 0u : NLM_ENGINE_NO_FALLBACK,
                                        .backend = set->backend,
                                        .device_id = (int32_t)set->device_id,
                                        .threads = (uint32_t)set->threads,
                                        .registry = set->registry,
                                        .backend_options = set->backend_options,
                                        .memory_limit_bytes = (uint64_t)set->memory_limit_mib << 20,
                                        .device_ids = ids,
                                        .n_device_ids = n_ids};
    return nlm_engine_create(&options, &s->engine, err);
}

static nlm_status load(server *s, const char *const *overrides, nlm_error *err) {
    const settings *set = s->set;
    const bool has_cache = set->prompt_cache_mib >= 0;
    const nlm_model_options options = {
        .struct_size = sizeof options,
        .flags = (set->has_mmap ? 0u : NLM_MODEL_NO_MMAP) | (has_cache ? 0u : NLM_MODEL_NO_PROMPT_CACHE),
        .context_length = (uint32_t)set->context,
        .parallel = (uint32_t)set->slots + 1, /* one for embeddings */
        .kv_type = set->kv_type,
        .prompt_cache_bytes = has_cache ? (uint64_t)set->prompt_cache_mib << 20 : 0,
        .chat_template = set->chat_template,
        .pack_cache = set->pack_cache,
        .overrides = overrides};
    return nlm_model_load(s->engine, set->model, &options, &s->model, err);
}

/* A template of one's own takes the place of the model's in its metadata. */
static nlm_status load_with_template(server *s, nlm_error *err) {
    nlm_str text = {0};
    const char **overrides = NULL;
    nlm_status status = nlm_override_template(s->set->chat_template_file, s->set->overrides, &text, &overrides, err);
    if (status == NLM_OK) status = load(s, overrides, err);
    free(overrides);
    nlm_str_release(&text);
    return status;
}

static void name_model(server *s) {
    const char *slash = strrchr(s->set->model, '/');
    const char *name = s->set->model_name ? s->set->model_name : slash ? slash + 1 : s->set->model;
    snprintf(s->model_name, sizeof s->model_name, "%s", name);
    const size_t length = strlen(s->model_name);
    if (!s->set->model_name && length > 5 && strcmp(s->model_name + length - 5, ".gguf") == 0) {
        s->model_name[length - 5] = '\0';
    }
}

/* What tells how the model was taught to call tools. */
static void read_template(server *s) {
    static const char key[] = "tokenizer.chat_template";
    size_t length = 0;
    if (s->set->chat_template || nlm_model_metadata(s->model, key, NULL, 0, &length, NULL) != NLM_OK) return;
    s->template_text = malloc(length + 1);
    if (s->template_text) nlm_model_metadata(s->model, key, s->template_text, length + 1, &length, NULL);
}

nlm_status open_model(server *s, int *out_code, nlm_error *err) {
    nlm_status status = open_engine(s, err);
    if (status == NLM_OK) {
        status = s->set->chat_template_file ? load_with_template(s, err) : load(s, s->set->overrides, err);
    }
    if (status != NLM_OK) {
        *out_code = nlm_open_exit_code(err, s->set->backend);
        return status;
    }
    name_model(s);
    read_template(s);
    s->info = (nlm_model_info){.struct_size = sizeof s->info};
    return nlm_model_describe(s->model, &s->info, err);
}
