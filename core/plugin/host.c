/* The table that a plugin gets: log, memory, options. */
#include "plugin/host.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/status.h"
#include "config/config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ALIGNMENT 4096u

struct nlm_host {
    nlm_host_v1 table;
    nlm_arena arena; /* of the copies */
    const char *name;
    const char *const *options;
    const char *const *overrides;
    _Atomic uint64_t outstanding;
};

static void host_log(void *self, int32_t level, const char *message) {
    const nlm_host *host = self;
    if (message) nlm_log(level, "%s: %s", host->name, message);
}

static void *host_alloc(void *self, uint64_t bytes, uint64_t alignment) {
    nlm_host *host = self;
    if (!nlm_is_power_of_two(alignment) || alignment > MAX_ALIGNMENT || bytes > SIZE_MAX / 2) return NULL;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    void *memory;
    if (posix_memalign(&memory, (size_t)alignment, bytes ? (size_t)bytes : 1) != 0) return NULL;
    atomic_fetch_add(&host->outstanding, 1);
    return memory;
}

static void host_release(void *self, void *memory) {
    nlm_host *host = self;
    if (!memory) return;
    free(memory);
    atomic_fetch_sub(&host->outstanding, 1);
}

static const char *host_option(void *self, const char *key) {
    const nlm_host *host = self;
    if (!key) return NULL;
    const char *value = nlm_config_option(host->overrides, key);
    return value ? value : nlm_config_option(host->options, key);
}

/* A copy of key, value, ..., NULL; the empty list for NULL. */
static const char *const *copy_options(nlm_arena *arena, const char *const *options) {
    size_t count = 0;
    while (options && options[count] && options[count + 1]) count += 2;
    const char **copy = nlm_arena_array(arena, count + 1, sizeof *copy);
    if (!copy) return NULL;
    for (size_t i = 0; i < count; i++) {
        copy[i] = nlm_arena_strndup(arena, options[i], strlen(options[i]));
        if (!copy[i]) return NULL;
    }
    return copy;
}

nlm_status nlm_host_create(const char *plugin_name, const char *const *options, const char *const *overrides,
                           nlm_host **out, nlm_error *err) {
    *out = NULL;
    nlm_host *host = calloc(1, sizeof *host);
    if (!host) return nlm_fail(err, NLM_OUT_OF_MEMORY, plugin_name, "no memory to open a plugin");
    host->name = nlm_arena_strndup(&host->arena, plugin_name, strlen(plugin_name));
    host->options = copy_options(&host->arena, options);
    host->overrides = copy_options(&host->arena, overrides);
    if (!host->name || !host->options || !host->overrides) {
        nlm_host_destroy(host);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, plugin_name, "no memory to open a plugin");
    }
    host->table = (nlm_host_v1){
        .struct_size = (uint32_t)sizeof host->table,
        .abi_minor = NLM_ABI_MINOR,
        .self = host,
        .log = host_log,
        .alloc = host_alloc,
        .release = host_release,
        .option = host_option,
    };
    *out = host;
    return NLM_OK;
}

void nlm_host_destroy(nlm_host *host) {
    if (!host) return;
    nlm_arena_release(&host->arena);
    free(host);
}

const nlm_host_v1 *nlm_host_table(const nlm_host *host) {
    return &host->table;
}

uint64_t nlm_host_outstanding(const nlm_host *host) {
    return atomic_load(&host->outstanding);
}
