/* From the settings to a loaded model. */
#include "nlm-server/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/options.h"

static nlm_status open_engine(server *s, nlm_error *err) {
    return nlm_shared_open_engine(&s->set->shared, 0, &s->engine, err);
}

static nlm_status load(server *s, nlm_error *err) {
    const settings *set = s->set;
    const bool has_cache = set->prompt_cache_mib >= 0;
    const nlm_model_options options = {.flags = has_cache ? 0u : NLM_MODEL_NO_PROMPT_CACHE,
                                       .parallel = (uint32_t)set->slots + 1, /* one for embeddings */
                                       .prompt_cache_bytes = has_cache ? (uint64_t)set->prompt_cache_mib << 20 : 0};
    return nlm_shared_load_model(&set->shared, s->engine, options, &s->model, err);
}

static void name_model(server *s) {
    const char *slash = strrchr(s->set->shared.model, '/');
    const char *name = s->set->model_name ? s->set->model_name : slash ? slash + 1 : s->set->shared.model;
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
    if (s->set->shared.chat_template || nlm_model_metadata(s->model, key, NULL, 0, &length, NULL) != NLM_OK) return;
    s->template_text = malloc(length + 1);
    if (s->template_text) nlm_model_metadata(s->model, key, s->template_text, length + 1, &length, NULL);
}

/* What is wrong with it is told at once, not to each request. */
static nlm_status open_sampler(server *s, nlm_error *err) {
    nlm_sampler *tried = NULL;
    NLM_TRY(nlm_shared_sampler(&s->set->shared, &s->sampler, &s->biases, err));
    const nlm_status status = nlm_sampler_create(s->model, &s->sampler, &tried, err);
    nlm_sampler_destroy(tried);
    return status;
}

nlm_status open_model(server *s, int *out_code, nlm_error *err) {
    nlm_status status = open_engine(s, err);
    if (status == NLM_OK) status = load(s, err);
    if (status == NLM_OK) status = open_sampler(s, err);
    if (status != NLM_OK) {
        *out_code = nlm_open_exit_code(err, s->set->shared.backend);
        return status;
    }
    name_model(s);
    read_template(s);
    s->info = (nlm_model_info){.struct_size = sizeof s->info};
    return nlm_model_describe(s->model, &s->info, err);
}
