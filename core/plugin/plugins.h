/* Finding, checking, loading and choosing backends.
 *
 * Registry entries come, in this order, from: the API (options.registry), else the environment
 * NLM_PLUGIN_REGISTRY (replaces what follows), NLM_PLUGIN_REGISTRY_ADD (prepended), else plugins.toml
 * in the folder nlm/ beside libnlm, else the installed default. Never from the current directory.
 * Environment variables are ignored in a set-uid program. One bad entry never stops the others. */
#ifndef NLM_PLUGIN_PLUGINS_H
#define NLM_PLUGIN_PLUGINS_H

#include <stddef.h>
#include "plugin/device.h"

typedef enum nlm_entry_state {
    NLM_ENTRY_READY,   /* loaded; score and device_count hold */
    NLM_ENTRY_SKIPPED, /* not for this machine: arch, ISA, sanitizer, no device */
    NLM_ENTRY_REFUSED  /* broken or not trusted */
} nlm_entry_state;

typedef struct nlm_plugin_entry {
    const char *name;     /* of the registry table */
    const char *library;  /* absolute path */
    const char *registry; /* the file:line it comes from */
    const char *arch;
    const char *isa; /* comma-separated, as given */
    int64_t priority;
    bool isolate;
    nlm_entry_state state;
    char reason[512]; /* why SKIPPED or REFUSED, what was expected; "" if READY */
    int32_t score;
    uint32_t device_count;
    const nlm_plugin *plugin; /* if READY */
} nlm_plugin_entry;

typedef struct nlm_plugins nlm_plugins;

typedef struct nlm_plugins_options {
    const char *registry; /* a plugins.toml, or NULL for the discovery above */
} nlm_plugins_options;

/* Reads the registries and loads what can be loaded, best first (priority, then score, then name).
 * Errors: a registry that cannot be read or parsed (file:line:column); not a bad entry. */
nlm_status nlm_plugins_create(const nlm_plugins_options *options, nlm_plugins **out, nlm_error *err);
/* Devices must be closed before. Libraries stay loaded. */
void nlm_plugins_destroy(nlm_plugins *plugins);

size_t nlm_plugins_count(const nlm_plugins *plugins);
const nlm_plugin_entry *nlm_plugins_at(const nlm_plugins *plugins, size_t index);

/* The vetted descriptor of a READY entry's plugin. */
const nlm_plugin_v1 *nlm_plugin_descriptor(const nlm_plugin *plugin);

/* Loads one library outside any registry (conformance): same checks. */
nlm_status nlm_plugins_add_library(nlm_plugins *plugins, const char *library, const nlm_plugin_entry **out,
                                   nlm_error *err);

/* Opens a device. backend NULL: the best READY entry (of kind SLICED unless that has device_id 0..);
 * device_id < 0: the first. `options` are text pairs key, value, NULL-terminated, that override the
 * entry's. Errors NOT_FOUND (no such backend: the names that are), UNSUPPORTED (refused or skipped:
 * the reason), INVALID_ARGUMENT (device_id out of range). */
nlm_status nlm_plugins_open(nlm_plugins *plugins, const char *backend, int32_t device_id, const char *const *options,
                            nlm_device **out, nlm_error *err);
void nlm_device_close(nlm_device *device);

#endif
