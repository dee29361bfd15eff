/* The backends of a registry and their devices, for programs that let a person choose. */
#include <stdio.h>
#include <stdlib.h>

#include <nlm/nlm.h>
#include "base/status.h"
#include "plugin/plugins.h"
#include "session/gate.h"
#include "session/options.h"

struct nlm_backends {
    nlm_plugins *plugins;
};

nlm_status nlm_backends_create(const char *registry, nlm_backends **out_backends, nlm_error *error) {
    NLM_NEEDS(out_backends, error);
    *out_backends = NULL;
    nlm_backends *backends = calloc(1, sizeof *backends);
    if (!backends) return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_backends_create", "no memory");
    const nlm_plugins_options options = {.registry = registry};
    const nlm_status status = nlm_plugins_create(&options, &backends->plugins, error);
    if (status != NLM_OK) {
        nlm_backends_destroy(backends);
        return status;
    }
    *out_backends = backends;
    return NLM_OK;
}

void nlm_backends_destroy(nlm_backends *backends) {
    if (!backends) return;
    nlm_plugins_destroy(backends->plugins);
    free(backends);
}

static nlm_status entry_at(const nlm_backends *backends, size_t index, const nlm_plugin_entry **out, nlm_error *err) {
    const size_t count = nlm_plugins_count(backends->plugins);
    *out = index < count ? nlm_plugins_at(backends->plugins, index) : NULL;
    if (*out) return NLM_OK;
    return nlm_fail(err, NLM_NOT_FOUND, "nlm_backends", "backend %zu of %zu", index, count);
}

_Static_assert(NLM_BACKEND_READY == (int)NLM_ENTRY_READY && NLM_BACKEND_SKIPPED == (int)NLM_ENTRY_SKIPPED &&
                   NLM_BACKEND_REFUSED == (int)NLM_ENTRY_REFUSED,
               "the states are the same numbers");

nlm_status nlm_backends_describe(const nlm_backends *backends, size_t index, nlm_backend_info *out_info,
                                 nlm_error *error) {
    NLM_NEEDS(backends, error);
    NLM_NEEDS(out_info, error);
    const nlm_plugin_entry *entry = NULL;
    NLM_TRY(entry_at(backends, index, &entry, error));
    const bool is_ready = entry->state == NLM_ENTRY_READY;
    const nlm_backend_info info = {.state = (int32_t)entry->state,
                                   .name = entry->name,
                                   .library = entry->library,
                                   .reason = entry->reason,
                                   .n_devices = is_ready ? entry->device_count : 0,
                                   .score = is_ready ? entry->score : 0,
                                   .priority = entry->priority};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_backend_info", error);
}

nlm_status nlm_backends_device(const nlm_backends *backends, size_t index, int32_t device_id,
                               nlm_backend_device *out_device, nlm_error *error) {
    NLM_NEEDS(backends, error);
    NLM_NEEDS(out_device, error);
    const nlm_plugin_entry *entry = NULL;
    NLM_TRY(entry_at(backends, index, &entry, error));
    if (device_id < 0) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_backends_device", "device_id is %d; expected 0 or more",
                        device_id);
    }
    nlm_device *device = NULL;
    NLM_TRY(nlm_plugins_open(backends->plugins, entry->name, device_id, NULL, &device, error));
    nlm_backend_device info = {.device_id = device_id,
                               .memory_bytes = device->info.memory_total_bytes,
                               .memory_free_bytes = device->info.memory_free_bytes};
    snprintf(info.name, sizeof info.name, "%s", device->info.name);
    nlm_device_close(device);
    return nlm_give_struct(out_device, &info, sizeof info, "nlm_backend_device", error);
}
