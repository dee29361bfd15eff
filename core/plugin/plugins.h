/* Finding, checking, loading and choosing backends.
 *
 * Registry entries come from options.registry alone, if it is given; else from the file the
 * environment names in NLM_PLUGIN_REGISTRY, else from plugins.toml in the folder nlm/ beside the
 * program or library that holds this code, else in ../lib/nlm seen from there, else in the folder
 * given when nlm was built; and before those from the file named in NLM_PLUGIN_REGISTRY_ADD. Nothing
 * is looked for in the current directory. Environment variables are ignored in a set-uid program.
 *
 * An entry is examined in this order, and the first check it fails gives the reason: the entry
 * itself, its name (the first of a name wins), arch and ISA, who can write the file, sha256, the ELF
 * file; so far none of its code has run. Then loading, the descriptor, and probe, in a child process
 * first if it is isolated. One bad entry never stops the others. */
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
    bool isolate; /* vetted in a child process; by default if not in the folder of the default registry */
    nlm_entry_state state;
    char reason[512]; /* why SKIPPED or REFUSED, what was expected; "" if READY */
    int32_t score;
    uint32_t device_count;
    const nlm_plugin *plugin; /* if READY */
} nlm_plugin_entry;

typedef struct nlm_plugins nlm_plugins;

typedef struct nlm_plugins_options {
    const char *registry; /* a plugins.toml, "" for none, or NULL for the discovery above */
} nlm_plugins_options;

/* Reads the registries and loads what can be loaded, best first (priority, then score, then name).
 * Errors: a registry that cannot be read or parsed (file:line:column); not a bad entry. */
nlm_status nlm_plugins_create(const nlm_plugins_options *options, nlm_plugins **out, nlm_error *err);
/* Devices must be closed before. Accepts NULL. Libraries stay loaded. */
void nlm_plugins_destroy(nlm_plugins *plugins);

size_t nlm_plugins_count(const nlm_plugins *plugins);
const nlm_plugin_entry *nlm_plugins_at(const nlm_plugins *plugins, size_t index);

/* The vetted descriptor of a READY entry's plugin. */
const nlm_plugin_v1 *nlm_plugin_descriptor(const nlm_plugin *plugin);

/* Examines one library outside any registry, as an isolated entry whose name is what the library
 * calls itself. OK even if it is refused: the entry tells. Pointers to other entries stay valid, their
 * indexes do not. Errors: NOT_FOUND and the like (no such file), OUT_OF_MEMORY. */
nlm_status nlm_plugins_add_library(nlm_plugins *plugins, const char *library, const nlm_plugin_entry **out,
                                   nlm_error *err);

/* Opens a device. backend NULL: the best READY entry whose device opens; what is passed over is
 * logged as a warning. device_id < 0: the first. `options` are text pairs key, value, NULL-terminated,
 * that override the entry's. Errors NOT_FOUND (no such backend: the names there are), UNSUPPORTED
 * (refused or skipped: the reason), INVALID_ARGUMENT (device_id out of range), BAD_FORMAT (the
 * device's tables break plugin.h), or what the plugin's open answers. */
nlm_status nlm_plugins_open(nlm_plugins *plugins, const char *backend, int32_t device_id, const char *const *options,
                            nlm_device **out, nlm_error *err);
void nlm_device_close(nlm_device *device);

#endif
