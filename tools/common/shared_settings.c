/* From shared settings to an engine, a model and a sampler. */
#include "common/shared_settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/model_file.h"

#define DEVICES_MAX  16
#define MIROSTAT_TAU 5 /* where mirostat alone is asked for */

const char *const nlm_kv_types[] = {"f16", "f32", "q8_0", NULL};

nlm_shared_settings nlm_shared_defaults(double temperature) {
    return (nlm_shared_settings){.temperature = temperature,
                                 .xtc_threshold = 0.1,
                                 .seed = NLM_NO_SEED,
                                 .mirostat = -1,
                                 .has_fallback = true,
                                 .has_mmap = true};
}

nlm_status nlm_shared_resolve_paths(nlm_shared_settings *s, const char *path, nlm_arena *arena, nlm_error *err) {
    const char **const paths[] = {&s->model, &s->pack_cache, &s->chat_template_file, &s->registry};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        NLM_TRY(nlm_config_path_from(path, arena, paths[i], err));
    return NLM_OK;
}

void nlm_shared_take(nlm_shared_settings *s, const nlm_shared_given *given) {
    if (given->has_no_fallback) s->has_fallback = false;
    if (given->has_no_mmap) s->has_mmap = false;
    s->overrides = given->overrides.items;
    if (given->biases.count) s->biases = (nlm_config_strings){given->biases.items, given->biases.count};
    if (s->mirostat == 0) s->mirostat_tau = 0;
    if (s->mirostat == 2 && s->mirostat_tau <= 0) s->mirostat_tau = MIROSTAT_TAU;
}

int nlm_shared_check(const nlm_shared_settings *s, const nlm_command *command) {
    if (!s->model) return nlm_tell_usage(command, "no model: give --model FILE");
    if (s->chat_template && s->chat_template_file) {
        return nlm_tell_usage(command, "--chat-template and --chat-template-file: give one of them");
    }
    if (s->mirostat != 1) return NLM_OPTIONS_GO_ON;
    return nlm_tell_usage(command, "--mirostat: 1 is the first version of it; 2 is here, and 0 is off");
}

nlm_status nlm_shared_open_engine(const nlm_shared_settings *s, uint32_t flags, nlm_engine **out, nlm_error *err) {
    int32_t ids[DEVICES_MAX];
    uint32_t n_ids = 0;
    for (; n_ids < s->devices.count && n_ids < DEVICES_MAX; n_ids++) ids[n_ids] = (int32_t)s->devices.items[n_ids];
    const nlm_engine_options options = {.struct_size = sizeof options,
                                        .flags = flags | (s->has_fallback ? 0u : NLM_ENGINE_NO_FALLBACK),
                                        .backend = s->backend,
                                        .device_id = (int32_t)s->device_id,
                                        .threads = (uint32_t)s->threads,
                                        .registry = s->registry,
                                        .backend_options = s->backend_options,
                                        .memory_limit_bytes = (uint64_t)s->memory_limit_mib << 20,
                                        .device_ids = ids,
                                        .n_device_ids = n_ids};
    return nlm_engine_create(&options, out, err);
}

/* A template of one's own takes the place of the model's in its metadata. */
nlm_status nlm_shared_load_model(const nlm_shared_settings *s, nlm_engine *engine, nlm_model_options options,
                                 nlm_model **out, nlm_error *err) {
    nlm_str text = {0};
    const char **overrides = NULL;
    nlm_status status = NLM_OK;
    options.struct_size = sizeof options;
    options.flags |= s->has_mmap ? 0u : NLM_MODEL_NO_MMAP;
    options.context_length = (uint32_t)s->context;
    options.kv_type = s->kv_type;
    options.pack_cache = s->pack_cache;
    options.chat_template = s->chat_template;
    options.overrides = s->overrides;
    if (s->chat_template_file) {
        status = nlm_override_template(s->chat_template_file, s->overrides, &text, &overrides, err);
        options.overrides = overrides;
    }
    if (status == NLM_OK) status = nlm_model_load(engine, s->model, &options, out, err);
    free(overrides);
    nlm_str_release(&text);
    return status;
}

/* "ID:BIAS" */
static nlm_status read_bias(const char *text, nlm_logit_bias *out, nlm_error *err) {
    char *end, *last;
    const long id = strtol(text, &end, 10);
    const double bias = *end == ':' ? strtod(end + 1, &last) : NAN;
    if (end != text && *end == ':' && last != end + 1 && *last == '\0' && id >= 0 && id <= INT32_MAX &&
        !isnan(bias)) {
        *out = (nlm_logit_bias){(int32_t)id, (float)bias};
        return NLM_OK;
    }
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler.biases", "'%s' is no ID:BIAS, such as 15:-2.5 or 15:-inf",
                    text);
}

static nlm_status read_biases(const nlm_shared_settings *s, nlm_logit_bias *out, nlm_error *err) {
    for (size_t i = 0; i < s->biases.count; i++) NLM_TRY(read_bias(s->biases.items[i], &out[i], err));
    return NLM_OK;
}

nlm_status nlm_shared_sampler(const nlm_shared_settings *s, nlm_sampler_options *out, nlm_logit_bias **out_biases,
                              nlm_error *err) {
    *out_biases = calloc(s->biases.count + 1, sizeof **out_biases);
    if (!*out_biases) return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler.biases", "no memory for biases");
    *out = (nlm_sampler_options){.struct_size = sizeof *out,
                                 .repeat_last_n = (uint32_t)s->repeat_last_n,
                                 .temperature = (float)s->temperature,
                                 .top_p = (float)s->top_p,
                                 .min_p = (float)s->min_p,
                                 .repeat_penalty = (float)s->repeat_penalty,
                                 .top_k = (int32_t)s->top_k,
                                 .frequency_penalty = (float)s->frequency_penalty,
                                 .presence_penalty = (float)s->presence_penalty,
                                 .biases = *out_biases,
                                 .n_biases = s->biases.count,
                                 .typical_p = (float)s->typical_p,
                                 .top_n_sigma = (float)s->top_n_sigma,
                                 .xtc_probability = (float)s->xtc_probability,
                                 .xtc_threshold = (float)s->xtc_threshold,
                                 .dry_multiplier = (float)s->dry_multiplier,
                                 .dry_base = (float)s->dry_base,
                                 .dry_allowed_length = (uint32_t)s->dry_allowed_length,
                                 .dry_last_n = (uint32_t)s->dry_last_n,
                                 .dry_breakers = s->dry_breakers.items,
                                 .n_dry_breakers = s->dry_breakers.count,
                                 .temperature_range = (float)s->temperature_range,
                                 .temperature_exponent = (float)s->temperature_exponent,
                                 .mirostat_tau = (float)s->mirostat_tau,
                                 .mirostat_eta = (float)s->mirostat_eta,
                                 .order = s->order.items,
                                 .n_order = s->order.count};
    const nlm_status status = read_biases(s, *out_biases, err);
    if (status == NLM_OK) return NLM_OK;
    free(*out_biases);
    *out_biases = NULL;
    return status;
}
