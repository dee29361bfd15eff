/* All entries of a registry: checked, vetted, loaded, each with its verdict. */
#include "plugin/plugins.h"

#include "base/cpu.h"
#include "base/status.h"
#include "plugin/discover.h"
#include "plugin/elf.h"
#include "plugin/isa.h"
#include "plugin/select.h"
#include "plugin/sha256.h"
#include "plugin/trust.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VET_TIMEOUT_MS 5000u

_Static_assert(sizeof((nlm_plugin_entry *)NULL)->reason == sizeof((nlm_verdict *)NULL)->reason,
               "one is copied to the other");

/* ---- one entry ---------------------------------------------------------------------------- */

static bool check_unique(const nlm_plugins *plugins, const char *name, nlm_verdict *verdict) {
    for (size_t i = 0; i < plugins->count; i++) {
        const nlm_plugin_entry *other = &plugins->items[i]->entry;
        if (strcmp(other->name, name) != 0) continue;
        return nlm_refuse(verdict, "the name '%s' is taken by %s (%s)", name, other->registry, other->library);
    }
    return true;
}

/* Everything that is decided before any code of the library runs. */
static bool check_file(const nlm_registry_entry *source, char resolved[PATH_MAX], nlm_verdict *verdict) {
    return nlm_isa_check(source->arch, source->isa.items, source->isa.count, nlm_cpu_arch(), nlm_cpu_features(),
                         verdict) &&
           nlm_trust_check(source->library, resolved, verdict) &&
           (!source->sha256 || nlm_sha256_check_file(resolved, source->sha256, verdict)) &&
           nlm_elf_check_file(resolved, verdict);
}

/* Libraries outside the folder nlm was installed with are vetted unless the entry says otherwise. */
static bool is_isolated(nlm_isolate choice, const char *library) {
    if (choice != NLM_ISOLATE_DEFAULT) return choice == NLM_ISOLATE_YES;
    char folder[PATH_MAX];
    if (!nlm_discover_folder(folder)) return true;
    const size_t length = strlen(folder);
    return strncmp(library, folder, length) != 0 || library[length] != '/';
}

static void destroy_plugin(nlm_plugin *plugin) {
    nlm_host_destroy(plugin->host);
    pthread_mutex_destroy(&plugin->mutex);
    free(plugin);
}

static nlm_plugin *create_plugin(const nlm_registry_entry *source, const char *name) {
    nlm_plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin) return NULL;
    pthread_mutex_init(&plugin->mutex, NULL);
    snprintf(plugin->name, sizeof plugin->name, "%s", name);
    plugin->options = source->options;
    if (nlm_host_create(name, source->options, NULL, &plugin->host, NULL) == NLM_OK) return plugin;
    destroy_plugin(plugin);
    return NULL;
}

/* The name a library must give itself: its entry's, unless it was given without one. */
static const char *expected_name(const nlm_candidate *candidate, bool is_named) {
    return is_named ? candidate->entry.name : NULL;
}

static bool load(nlm_candidate *candidate, const char *path, bool is_named, nlm_verdict *verdict) {
    nlm_plugin_entry *entry = &candidate->entry;
    nlm_plugin *plugin = candidate->plugin;
    const nlm_host_v1 *host = nlm_host_table(plugin->host);
    const char *name = expected_name(candidate, is_named);
    const nlm_vet_job job = {path, name, plugin->options, VET_TIMEOUT_MS};
    if (entry->isolate && !nlm_vet_isolated(&job, verdict)) return false;
    nlm_vetted vetted;
    volatile nlm_vet_stage stage = NLM_VET_LOAD;
    if (!nlm_vet(path, name, host, &stage, &vetted, verdict)) return false;
    nlm_library_keep(&vetted.library, path);
    plugin->api = vetted.api;
    snprintf(plugin->name, sizeof plugin->name, "%s", vetted.api.name);
    entry->score = vetted.probe.score;
    entry->device_count = vetted.probe.device_count;
    return true;
}

static bool examine(nlm_plugins *plugins, const nlm_registry_entry *source, nlm_candidate *candidate, bool is_named,
                    nlm_verdict *verdict) {
    if (source->verdict.state != NLM_ENTRY_READY) {
        *verdict = source->verdict;
        return false;
    }
    char resolved[PATH_MAX];
    if (is_named && !check_unique(plugins, source->name, verdict)) return false;
    if (!check_file(source, resolved, verdict)) return false;
    candidate->entry.isolate = is_isolated(source->isolate, resolved);
    candidate->plugin = create_plugin(source, source->name);
    if (!candidate->plugin) return nlm_refuse(verdict, "there is no memory to load it");
    const bool is_loaded = load(candidate, resolved, is_named, verdict);
    if (is_loaded && (is_named || check_unique(plugins, candidate->plugin->name, verdict))) return true;
    destroy_plugin(candidate->plugin);
    candidate->plugin = NULL;
    return false;
}

/* ---- the list ----------------------------------------------------------------------------- */

static const char *join(nlm_arena *arena, const nlm_config_strings *list) {
    const char *text = "";
    for (size_t i = 0; i < list->count && text; i++) {
        text = nlm_arena_printf(arena, "%s%s%s", text, i ? "," : "", list->items[i]);
    }
    return text;
}

static nlm_candidate *append(nlm_plugins *plugins) {
    if (plugins->count == plugins->capacity) {
        const size_t capacity = plugins->capacity ? plugins->capacity * 2 : 16;
        nlm_candidate **items = realloc(plugins->items, capacity * sizeof *items);
        if (!items) return NULL;
        plugins->items = items;
        plugins->capacity = capacity;
    }
    nlm_candidate *candidate = nlm_arena_alloc(&plugins->arena, sizeof *candidate);
    if (!candidate) return NULL;
    candidate->index = plugins->count;
    return candidate;
}

/* source lives as long as the plugins' arena. */
static nlm_status add_entry(nlm_plugins *plugins, const nlm_registry_entry *source, bool is_named,
                            const nlm_plugin_entry **out, nlm_error *err) {
    nlm_candidate *candidate = append(plugins);
    const char *isa = join(&plugins->arena, &source->isa);
    if (!candidate || !isa)
        return nlm_fail(err, NLM_OUT_OF_MEMORY, source->where, "no memory for the list of plugins");
    candidate->entry = (nlm_plugin_entry){
        .name = source->name,
        .library = source->library,
        .registry = source->where,
        .arch = source->arch,
        .isa = isa,
        .priority = source->priority,
        .isolate = source->isolate == NLM_ISOLATE_YES,
    };
    nlm_verdict verdict = {0};
    examine(plugins, source, candidate, is_named, &verdict);
    candidate->entry.state = verdict.state;
    memcpy(candidate->entry.reason, verdict.reason, sizeof candidate->entry.reason);
    if (candidate->plugin) candidate->entry.name = candidate->plugin->name;
    candidate->entry.plugin = candidate->plugin;
    plugins->items[plugins->count++] = candidate;
    if (out) *out = &candidate->entry;
    return NLM_OK;
}

static nlm_status add_registry(nlm_plugins *plugins, const char *path, nlm_error *err) {
    nlm_registry registry;
    NLM_TRY(nlm_registry_read(path, &plugins->arena, &registry, err));
    for (size_t i = 0; i < registry.count; i++) {
        NLM_TRY(add_entry(plugins, &registry.entries[i], true, NULL, err));
    }
    return NLM_OK;
}

nlm_status nlm_plugins_create(const nlm_plugins_options *options, nlm_plugins **out, nlm_error *err) {
    *out = NULL;
    nlm_discovery discovery = {.count = 0};
    const char *registry = options ? options->registry : NULL;
    if (!registry || *registry) NLM_TRY(nlm_discover(registry, &discovery, err));
    nlm_plugins *plugins = calloc(1, sizeof *plugins);
    if (!plugins) return nlm_fail(err, NLM_OUT_OF_MEMORY, "plugins", "no memory for the list of plugins");
    for (int i = 0; i < discovery.count; i++) {
        const nlm_status status = add_registry(plugins, discovery.paths[i], err);
        if (status == NLM_OK) continue;
        nlm_plugins_destroy(plugins);
        return status;
    }
    nlm_plugins_sort(plugins);
    *out = plugins;
    return NLM_OK;
}

void nlm_plugins_destroy(nlm_plugins *plugins) {
    if (!plugins) return;
    for (size_t i = 0; i < plugins->count; i++) {
        if (plugins->items[i]->plugin) destroy_plugin(plugins->items[i]->plugin);
    }
    free(plugins->items);
    nlm_arena_release(&plugins->arena);
    free(plugins);
}

nlm_status nlm_plugins_add_library(nlm_plugins *plugins, const char *library, const nlm_plugin_entry **out,
                                   nlm_error *err) {
    *out = NULL;
    char absolute[PATH_MAX];
    if (!*library) return nlm_fail(err, NLM_INVALID_ARGUMENT, "library", "the library has an empty name");
    if (!realpath(library, absolute)) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), library, "cannot find the library");
    }
    nlm_registry_entry *source = nlm_arena_alloc(&plugins->arena, sizeof *source);
    const char *path = nlm_arena_strndup(&plugins->arena, absolute, strlen(absolute));
    if (!source || !path) return nlm_fail(err, NLM_OUT_OF_MEMORY, library, "no memory for the list of plugins");
    const char *base = strrchr(path, '/') + 1;
    source->name = nlm_arena_strndup(&plugins->arena, base, strcspn(base, "."));
    source->library = path;
    source->where = "given by its path";
    source->arch = "any";
    if (!source->name) return nlm_fail(err, NLM_OUT_OF_MEMORY, library, "no memory for the list of plugins");
    NLM_TRY(add_entry(plugins, source, false, out, err));
    nlm_plugins_sort(plugins);
    return NLM_OK;
}

size_t nlm_plugins_count(const nlm_plugins *plugins) {
    return plugins->count;
}

const nlm_plugin_entry *nlm_plugins_at(const nlm_plugins *plugins, size_t index) {
    return index < plugins->count ? &plugins->items[index]->entry : NULL;
}

const nlm_plugin_v1 *nlm_plugin_descriptor(const nlm_plugin *plugin) {
    return &plugin->api;
}
