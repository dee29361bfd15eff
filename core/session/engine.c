/* Engines: a backend, its fallbacks, and the threads that all models share. */
#include "session/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/status.h"
#include "base/str.h"
#include "session/options.h"
#include "session/text_out.h"

#define KNOWN_FLAGS (NLM_ENGINE_NO_FALLBACK | NLM_ENGINE_PROFILE | NLM_ENGINE_BIND_CALLER | NLM_ENGINE_UNBOUND)

static bool can_step_in(const nlm_device *device) {
    return nlm_device_is_sliced(device) && nlm_device_has_host_memory(device);
}

/* Opens the entry's first device as one more that steps in for ops the others lack; one that does not
 * open or is of another kind is passed over. */
static void try_fallback(nlm_plugins *plugins, const nlm_plugin_entry *entry, nlm_env *env) {
    if (env->n_devices == NLM_ENV_DEVICES || entry->state != NLM_ENTRY_READY) return;
    if (strcmp(entry->name, env->devices[0]->backend) == 0) return;
    nlm_error err = NLM_ERROR_INIT;
    nlm_device *device = NULL;
    if (nlm_plugins_open(plugins, entry->name, 0, NULL, &device, &err) != NLM_OK) {
        nlm_log(NLM_LOG_DEBUG, "%s does not step in: %s", entry->name, err.msg);
        return;
    }
    if (can_step_in(device)) {
        env->devices[env->n_devices++] = device;
    } else {
        nlm_device_close(device);
    }
}

/* Those less preferred than the chosen backend first: they are CPU backends as a rule. The more preferred
 * ones, which may be GPUs that take seconds to open, only if that gave none. */
static void open_fallbacks(nlm_plugins *plugins, nlm_env *env) {
    const size_t count = nlm_plugins_count(plugins);
    size_t chosen = 0;
    while (chosen < count && strcmp(nlm_plugins_at(plugins, chosen)->name, env->devices[0]->backend) != 0) chosen++;
    for (size_t i = chosen + 1; i < count; i++) try_fallback(plugins, nlm_plugins_at(plugins, i), env);
    if (env->n_devices > env->n_split) return;
    for (size_t i = 0; i < chosen && i < count; i++) try_fallback(plugins, nlm_plugins_at(plugins, i), env);
}

static void close_devices(nlm_env *env) {
    nlm_activations_destroy(env->activations);
    for (uint32_t i = env->n_devices; i > 0; i--) nlm_device_close(env->devices[i - 1]);
    env->activations = NULL;
    env->n_devices = env->n_split = 0;
}

/* Those that layers are split over, or the one. */
static nlm_status open_chosen(const nlm_engine *engine, const nlm_engine_options *options, nlm_env *env,
                              nlm_error *err) {
    const uint32_t count = options->n_device_ids ? options->n_device_ids : 1;
    const int32_t *ids = options->n_device_ids ? options->device_ids : &options->device_id;
    for (uint32_t i = 0; i < count; i++) {
        NLM_TRY(nlm_plugins_open(engine->plugins, options->backend, ids[i], options->backend_options,
                                 &env->devices[i], err));
        env->n_devices = i + 1;
    }
    env->n_split = count;
    return NLM_OK;
}

/* The devices and memory of *env; of a failure nothing is left. */
static nlm_status open_devices(const nlm_engine *engine, const nlm_engine_options *options, nlm_env *env,
                               nlm_error *err) {
    env->n_devices = env->n_split = 0;
    nlm_status status = open_chosen(engine, options, env, err);
    if (status == NLM_OK && !(engine->flags & NLM_ENGINE_NO_FALLBACK)) open_fallbacks(engine->plugins, env);
    if (status == NLM_OK) status = nlm_activations_create(&env->activations, err);
    if (status != NLM_OK) close_devices(env);
    return status;
}

static void log_device(const nlm_engine *engine) {
    for (uint32_t i = 0; i < engine->env.n_split; i++) {
        const nlm_device *device = engine->env.devices[i];
        nlm_log(NLM_LOG_INFO, "backend %s, device_id %u (%s), %s", device->backend, device->device_id,
                device->info.name, i ? "its share of the layers" : nlm_pool_reason(engine->pool));
    }
}

static uint64_t sum_options(const nlm_engine_options *options) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    for (const char *const *text = options->backend_options; text && *text; text++) {
        nlm_checksum_update(&sum, *text, strlen(*text) + 1);
    }
    return nlm_checksum_value(&sum);
}

static nlm_status start(nlm_engine *engine, const nlm_engine_options *options, nlm_error *err) {
    const nlm_plugins_options plugins_options = {.registry = options->registry};
    engine->flags = options->flags;
    engine->options_sum = sum_options(options);
    engine->memory_limit = options->memory_limit_bytes;
    NLM_TRY(nlm_plugins_create(&plugins_options, &engine->plugins, err));
    NLM_TRY(open_devices(engine, options, &engine->env, err));
    const nlm_pool_options pool_options = {.threads = options->threads,
                                           .bind_caller = (options->flags & NLM_ENGINE_BIND_CALLER) != 0,
                                           .is_unbound = (options->flags & NLM_ENGINE_UNBOUND) != 0};
    NLM_TRY(nlm_pool_create(&pool_options, &engine->pool, err));
    if (options->flags & NLM_ENGINE_PROFILE) NLM_TRY(nlm_profile_create(&engine->profile, err));
    engine->env.pool = engine->pool;
    engine->env.profile = engine->profile;
    log_device(engine);
    return NLM_OK;
}

static nlm_status check_device_id(int32_t device_id, const char *call, nlm_error *err) {
    if (device_id >= 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, call, "device_id is %d; expected 0 or more", device_id);
}

/* Different devices, no more than there is room for. */
static nlm_status check_device_ids(const nlm_engine_options *options, nlm_error *err) {
    const uint32_t count = options->n_device_ids;
    if (count && !options->device_ids) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_engine_create", "%u device_ids, but the list is NULL", count);
    }
    if (count >= NLM_ENV_DEVICES) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_engine_create",
                        "layers split over %u devices; expected at most %u", count, NLM_ENV_DEVICES - 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        NLM_TRY(check_device_id(options->device_ids[i], "nlm_engine_create", err));
        for (uint32_t j = 0; j < i; j++) {
            if (options->device_ids[i] != options->device_ids[j]) continue;
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_engine_create", "device_id %d is listed twice",
                            options->device_ids[i]);
        }
    }
    return NLM_OK;
}

nlm_status nlm_engine_take_memory(nlm_engine *engine, uint64_t bytes, const char *what, nlm_error *err) {
    const uint64_t left = engine->memory_limit - engine->memory_used;
    if (engine->memory_limit && bytes > left) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, what,
                        "%" PRIu64 " bytes are needed, and of the engine's memory limit of %" PRIu64 " bytes %" PRIu64
                        " are left",
                        bytes, engine->memory_limit, left);
    }
    engine->memory_used += bytes;
    return NLM_OK;
}

void nlm_engine_give_memory(nlm_engine *engine, uint64_t bytes) {
    engine->memory_used -= bytes;
}

static void end_engine(nlm_ending *ending) {
    nlm_engine *engine = (nlm_engine *)((char *)ending - offsetof(nlm_engine, ending));
    close_devices(&engine->env);
    if (engine->plugins) nlm_plugins_destroy(engine->plugins);
    if (engine->pool) nlm_pool_destroy(engine->pool);
    if (engine->profile) nlm_profile_destroy(engine->profile);
    nlm_gate_release(&engine->gate);
    free(engine);
}

nlm_status nlm_engine_create(const nlm_engine_options *options, nlm_engine **out_engine, nlm_error *error) {
    NLM_NEEDS(out_engine, error);
    *out_engine = NULL;
    nlm_engine_options own = {0};
    NLM_TRY(nlm_take_options(&own, sizeof own, options, "nlm_engine_options", error));
    if (own.flags & ~(uint32_t)KNOWN_FLAGS) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_engine_create", "flags 0x%x are not known",
                        own.flags & ~(uint32_t)KNOWN_FLAGS);
    }
    NLM_TRY(check_device_id(own.device_id, "nlm_engine_create", error));
    NLM_TRY(check_device_ids(&own, error));
    nlm_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_engine_create", "no memory for an engine");
    engine->ending.end = end_engine;
    nlm_gate_init(&engine->gate, &(nlm_log_sink){own.log, own.log_user, own.log_level});
    const nlm_log_sink *outer_log = nlm_gate_redirect_log(&engine->gate);
    const nlm_status status = start(engine, &own, error);
    nlm_log_redirect(outer_log);
    if (status != NLM_OK) {
        nlm_engine_destroy(engine);
        return status;
    }
    *out_engine = engine;
    return NLM_OK;
}

void nlm_engine_destroy(nlm_engine *engine) {
    if (engine) nlm_gate_end_last(&engine->gate, &engine->ending);
}

nlm_status nlm_engine_switch(nlm_engine *engine, const char *backend, int32_t device_id,
                             const char *const *backend_options, nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_ENTER(&engine->gate, error);
    if (engine->gate.n_users > 0) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_engine_switch",
                        "%u models and trainings are on %s; end them first", engine->gate.n_users,
                        nlm_engine_device(engine)->backend);
    }
    NLM_TRY(check_device_id(device_id, "nlm_engine_switch", error));
    const nlm_engine_options options = {
        .backend = backend, .device_id = device_id, .backend_options = backend_options};
    nlm_env next = engine->env;
    next.activations = NULL;
    NLM_TRY(open_devices(engine, &options, &next, error));
    close_devices(&engine->env);
    engine->env = next;
    log_device(engine);
    return NLM_OK;
}

nlm_status nlm_engine_describe(const nlm_engine *engine, nlm_engine_info *out_info, nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(out_info, error);
    const nlm_device *device = nlm_engine_device(engine);
    const nlm_engine_info info = {.device_id = (int32_t)device->device_id,
                                  .threads = nlm_pool_threads(engine->pool),
                                  .n_devices = engine->env.n_split,
                                  .backend = device->backend,
                                  .device = device->info.name,
                                  .threads_reason = nlm_pool_reason(engine->pool),
                                  .device_memory_bytes = device->info.memory_total_bytes,
                                  .device_memory_free_bytes = device->info.memory_free_bytes,
                                  .memory_limit_bytes = engine->memory_limit,
                                  .memory_used_bytes = engine->memory_used};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_engine_info", error);
}

_Static_assert(NLM_KNOWN_MEMORY == NLM_METRIC_MEMORY && NLM_KNOWN_ECC == NLM_METRIC_ECC,
               "what programs and plugins call the same has the same bit");

nlm_status nlm_engine_device_metrics(const nlm_engine *engine, nlm_device_metrics *out_metrics, nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(out_metrics, error);
    const nlm_device *device = nlm_engine_device(engine);
    nlm_device_metrics_v1 m = {.struct_size = sizeof m};
    if (!device->metrics.read) {
        return nlm_fail(error, NLM_UNSUPPORTED, "nlm_engine_device_metrics",
                        "the backend %s does not measure its devices", device->backend);
    }
    NLM_TRY(device->metrics.read(device->api.self, &m, error));
    const nlm_device_metrics metrics = {.device_id = (int32_t)device->device_id,
                                        .known = m.known,
                                        .utilization_percent = m.utilization_percent,
                                        .memory_utilization_percent = m.memory_utilization_percent,
                                        .temperature_celsius = m.temperature_celsius,
                                        .memory_used_bytes = m.memory_used_bytes,
                                        .memory_total_bytes = m.memory_total_bytes,
                                        .power_milliwatts = m.power_milliwatts,
                                        .power_limit_milliwatts = m.power_limit_milliwatts,
                                        .clock_mhz = m.clock_mhz,
                                        .memory_clock_mhz = m.memory_clock_mhz,
                                        .ecc_corrected = m.ecc_corrected,
                                        .ecc_uncorrected = m.ecc_uncorrected};
    return nlm_give_struct(out_metrics, &metrics, sizeof metrics, "nlm_device_metrics", error);
}

nlm_status nlm_engine_profile(const nlm_engine *engine, uint32_t form, char *out_text, size_t capacity,
                              size_t *out_length, nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(out_length, error);
    NLM_ENTER(&((nlm_engine *)engine)->gate, error);
    if (!engine->profile || form > NLM_PROFILE_JSON) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_engine_profile", "%s",
                        engine->profile ? "form is neither text nor JSON" : "the engine was made without a profile");
    }
    nlm_str text = {0};
    if (form == NLM_PROFILE_JSON) {
        nlm_profile_json(engine->profile, &text);
    } else {
        nlm_profile_print(engine->profile, &text);
    }
    const nlm_status status = nlm_text_out(&text, true, out_text, capacity, out_length, error);
    nlm_str_release(&text);
    return status;
}
