/* Opens what is to be certified, by name or by file. */
#include "base/status.h"
#include "conform.h"

/* The name under which the plugin is opened; with a library, no registry is read. */
static nlm_status add_library(nlm_plugins *plugins, const char *library, const char **out_name, nlm_error *err) {
    const nlm_plugin_entry *entry;
    NLM_TRY(nlm_plugins_add_library(plugins, library, &entry, err));
    *out_name = entry->name;
    if (entry->state == NLM_ENTRY_READY) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, library, "%s", entry->reason);
}

nlm_status conform_open(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out, nlm_error *err) {
    const nlm_plugins_options discovery = {.registry = options->library ? "" : NULL};
    const char *name = options->backend;
    *out_plugins = NULL;
    *out = NULL;
    NLM_TRY(nlm_plugins_create(&discovery, out_plugins, err));
    if (options->library) NLM_TRY(add_library(*out_plugins, options->library, &name, err));
    return nlm_plugins_open(*out_plugins, name, -1, options->device_options, out, err);
}

void conform_close(nlm_plugins *plugins, nlm_device *device) {
    if (device) nlm_device_close(device);
    nlm_plugins_destroy(plugins);
}
