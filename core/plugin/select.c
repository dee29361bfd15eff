/* Which backend to open when several can run here. */
#include "plugin/select.h"

#include "base/log.h"
#include "base/status.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right) {
    const nlm_candidate *a = *(nlm_candidate *const *)left, *b = *(nlm_candidate *const *)right;
    if (a->entry.state != b->entry.state) return a->entry.state < b->entry.state ? -1 : 1;
    if (a->entry.state == NLM_ENTRY_READY) {
        if (a->entry.priority != b->entry.priority) return a->entry.priority > b->entry.priority ? -1 : 1;
        if (a->entry.score != b->entry.score) return a->entry.score > b->entry.score ? -1 : 1;
        return strcmp(a->entry.name, b->entry.name); /* READY ones differ in name */
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

void nlm_plugins_sort(nlm_plugins *plugins) {
    if (plugins->count > 1) qsort(plugins->items, plugins->count, sizeof(nlm_candidate *), compare);
}

/* The entry meant by a name: of several of that name, the one in the best state. */
static const nlm_candidate *find(const nlm_plugins *plugins, const char *backend) {
    for (size_t i = 0; i < plugins->count; i++) {
        if (strcmp(plugins->items[i]->entry.name, backend) == 0) return plugins->items[i];
    }
    return NULL;
}

static nlm_status fail_unknown(const nlm_plugins *plugins, const char *backend, nlm_error *err) {
    const char *names[NLM_REGISTRY_MAX_ENTRIES];
    nlm_str list = {0};
    size_t count = 0;
    for (; count < plugins->count && count < NLM_REGISTRY_MAX_ENTRIES; count++) {
        names[count] = plugins->items[count]->entry.name;
        nlm_str_printf(&list, "%s%s", count ? ", " : "", names[count]);
    }
    const char *nearest = nlm_nearest(backend, names, count);
    nlm_fail(err, NLM_NOT_FOUND, "backend", "there is no backend '%.64s'%s%s%s; there are: %.500s", backend,
             nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "",
             list.data ? list.data : "none");
    nlm_str_release(&list);
    return NLM_NOT_FOUND;
}

static nlm_status open_candidate(const nlm_candidate *candidate, int32_t device_id, const char *const *options,
                                 nlm_device **out, nlm_error *err) {
    const nlm_plugin_entry *entry = &candidate->entry;
    if (entry->state != NLM_ENTRY_READY) {
        return nlm_fail(err, NLM_UNSUPPORTED, entry->name, "the backend '%s' %s: %s", entry->name,
                        entry->state == NLM_ENTRY_SKIPPED ? "is not for this machine" : "was refused", entry->reason);
    }
    const uint32_t ordinal = device_id < 0 ? 0 : (uint32_t)device_id;
    if (ordinal >= entry->device_count) {
        char all[32] = "0";
        if (entry->device_count > 1) snprintf(all, sizeof all, "0 to %u", entry->device_count - 1);
        return nlm_fail(err, NLM_INVALID_ARGUMENT, entry->name, "there is no device %u; the backend '%s' has %s",
                        ordinal, entry->name, all);
    }
    return nlm_device_open(candidate->plugin, ordinal, options, out, err);
}

static bool has_device(const nlm_candidate *candidate, int32_t device_id) {
    return device_id < 0 || (uint32_t)device_id < candidate->entry.device_count;
}

/* The best backend that opens; what is passed over is said, but not what has no such device. */
static nlm_status open_best(nlm_plugins *plugins, int32_t device_id, const char *const *options, nlm_device **out,
                            nlm_error *err) {
    nlm_status status = NLM_NOT_FOUND;
    for (size_t i = 0; i < plugins->count && plugins->items[i]->entry.state == NLM_ENTRY_READY; i++) {
        if (!has_device(plugins->items[i], device_id)) {
            status = nlm_fail(err, NLM_INVALID_ARGUMENT, "backend", "no backend that works here has a device %d",
                              (int)device_id);
            continue;
        }
        nlm_error fault = NLM_ERROR_INIT;
        status = open_candidate(plugins->items[i], device_id, options, out, &fault);
        if (status == NLM_OK) return NLM_OK;
        nlm_error_give(err, &fault);
        nlm_log(NLM_LOG_WARN, "backend passed over: %s: %s", fault.where, fault.msg);
    }
    if (status != NLM_NOT_FOUND) return status;
    const nlm_plugin_entry *first = plugins->count ? &plugins->items[0]->entry : NULL;
    return nlm_fail(err, NLM_NOT_FOUND, "backend", "no backend is usable here; %s%s%s", first ? first->name : "",
                    first ? ": " : "the registry is empty", first ? first->reason : "");
}

nlm_status nlm_plugins_open(nlm_plugins *plugins, const char *backend, int32_t device_id, const char *const *options,
                            nlm_device **out, nlm_error *err) {
    *out = NULL;
    if (!backend) return open_best(plugins, device_id, options, out, err);
    const nlm_candidate *candidate = find(plugins, backend);
    if (!candidate) return fail_unknown(plugins, backend, err);
    return open_candidate(candidate, device_id, options, out, err);
}
