/* Rules of the ABI for a plugin: its descriptor, its probe, its host calls. */
#include "abi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "plugin/discover.h"
#include "plugin/elf.h"
#include "plugin/isa.h"
#include "plugin/registry.h"
#include "plugin/trust.h"

/* ---- the host ------------------------------------------------------------------------------ */

static void discard_log(void *self, int32_t level, const char *message) {
    (void)self, (void)level, (void)message;
}

static void *count_alloc(void *self, uint64_t bytes, uint64_t alignment) {
    abi_host *host = self;
    void *memory;
    if (atomic_fetch_add(&host->n_allocs, 1) + 1 == host->fail_at) return NULL;
    if (!nlm_is_power_of_two(alignment) || alignment > 4096 || bytes > SIZE_MAX / 2) return NULL;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    if (posix_memalign(&memory, (size_t)alignment, bytes ? (size_t)bytes : 1) != 0) return NULL;
    atomic_fetch_add(&host->held, 1);
    return memory;
}

static void count_release(void *self, void *memory) {
    abi_host *host = self;
    if (!memory) return;
    free(memory);
    atomic_fetch_sub(&host->held, 1);
}

static const char *no_option(void *self, const char *key) {
    (void)self, (void)key;
    return NULL;
}

bool abi_host_create(abi_host *host, conform_result *result) {
    memset(host, 0, sizeof *host);
    if (!guard_alloc(&host->block, "the host's table", sizeof(nlm_host_v1), 8, false)) {
        return conform_fail(result, "no memory for a host");
    }
    const nlm_host_v1 table = {.struct_size = (uint32_t)sizeof table,
                               .abi_minor = NLM_ABI_MINOR,
                               .self = host,
                               .log = discard_log,
                               .alloc = count_alloc,
                               .release = count_release,
                               .option = no_option};
    memcpy(host->block.data, &table, sizeof table);
    guard_protect(&host->block);
    return true;
}

void abi_host_destroy(abi_host *host) {
    guard_free(&host->block);
}

const nlm_host_v1 *abi_host_table(const abi_host *host) {
    return (const nlm_host_v1 *)(const void *)host->block.data;
}

/* ---- the file ------------------------------------------------------------------------------ */

static bool take(const nlm_verdict *verdict, conform_result *result) {
    if (verdict->state == NLM_ENTRY_READY) return true;
    conform_fail(result, "%s", verdict->reason);
    if (verdict->state == NLM_ENTRY_SKIPPED) result->verdict = CONFORM_UNSUPPORTED;
    return false;
}

static bool check_file(const char *library, abi_plugin *out, conform_result *result) {
    nlm_verdict verdict = {0};
    if (nlm_trust_check(library, out->path, &verdict)) nlm_elf_check_file(out->path, &verdict);
    return take(&verdict, result);
}

/* The first entry of this name, as the host would have it; nothing is loaded. */
static const nlm_registry_entry *find_entry(const nlm_discovery *places, const char *name, nlm_arena *arena) {
    for (int i = 0; i < places->count; i++) {
        nlm_registry registry;
        if (nlm_registry_read(places->paths[i], arena, &registry, NULL) != NLM_OK) continue;
        for (size_t j = 0; j < registry.count; j++) {
            if (strcmp(registry.entries[j].name, name) == 0) return &registry.entries[j];
        }
    }
    return NULL;
}

static bool check_entry(const nlm_registry_entry *entry, abi_plugin *out, conform_result *result) {
    nlm_verdict verdict = entry->verdict;
    if (verdict.state == NLM_ENTRY_READY) {
        nlm_isa_check(entry->arch, entry->isa.items, entry->isa.count, nlm_cpu_arch(), nlm_cpu_features(), &verdict);
    }
    return take(&verdict, result) && check_file(entry->library, out, result);
}

static bool find_backend(const char *name, abi_plugin *out, conform_result *result) {
    nlm_discovery places;
    nlm_arena arena = {0};
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_discover(NULL, &places, &err) != NLM_OK) return conform_fail(result, "%s: %s", err.where, err.msg);
    const nlm_registry_entry *entry = find_entry(&places, name, &arena);
    const bool is_good =
        entry ? check_entry(entry, out, result) : conform_fail(result, "no registry has a backend '%s'", name);
    out->expected_name = name;
    nlm_arena_release(&arena);
    return is_good;
}

/* What the host would take if no backend is named. */
static bool find_best(abi_plugin *out, conform_result *result) {
    nlm_plugins *plugins;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_plugins_create(NULL, &plugins, &err) != NLM_OK) {
        return conform_fail(result, "%s: %s", err.where, err.msg);
    }
    const nlm_plugin_entry *best = nlm_plugins_at(plugins, 0);
    const bool is_good = best && best->state == NLM_ENTRY_READY ? check_file(best->library, out, result)
                                                                : conform_fail(result, "no backend is usable here");
    nlm_plugins_destroy(plugins);
    return is_good;
}

bool abi_find(const conform_options *options, abi_plugin *out, conform_result *result) {
    memset(out, 0, sizeof *out);
    if (options->backend) return find_backend(options->backend, out, result);
    if (!options->library) return find_best(out, result);
    char absolute[PATH_MAX];
    if (realpath(options->library, absolute)) return check_file(absolute, out, result);
    return conform_fail(result, "cannot find %s: %s", options->library, strerror(errno));
}

bool abi_load_first(const conform_options *options, abi_plugin *out, conform_result *result) {
    nlm_verdict verdict = {0};
    if (!abi_find(options, out, result)) return false;
    if (!nlm_library_load(out->path, &out->library, &verdict)) return take(&verdict, result);
    nlm_library_keep(&out->library, out->path);
    nlm_negotiate(out->library.query, out->expected_name, &out->api, &verdict);
    return take(&verdict, result);
}

bool abi_load(const conform_options *options, abi_plugin *out, conform_result *result) {
    if (abi_load_first(options, out, result)) return true;
    if (result->verdict == CONFORM_FAILED) conform_fail(result, "cannot be checked before rules 1 to 3 hold");
    return false;
}

bool abi_probe(abi_plugin *plugin, const abi_host *host, conform_result *result) {
    nlm_probe_v1 probe;
    nlm_verdict verdict = {0};
    nlm_probe(&plugin->api, abi_host_table(host), &probe, &verdict);
    plugin->n_devices = probe.device_count;
    return take(&verdict, result);
}

/* ---- a device ------------------------------------------------------------------------------ */

bool abi_open(const abi_plugin *plugin, const abi_host *host, uint32_t ordinal, abi_device *out,
              conform_result *result) {
    nlm_error err = NLM_ERROR_INIT;
    *out = (abi_device){.raw = NULL};
    const nlm_status status = plugin->api.open(abi_host_table(host), ordinal, &out->raw, &err);
    if (status != NLM_OK) return conform_fail(result, "open of device %u fails: %.300s", ordinal, err.msg);
    if (!out->raw) return conform_fail(result, "open of device %u succeeds without giving a device", ordinal);
    uint32_t size;
    memcpy(&size, &out->raw->struct_size, sizeof size);
    memcpy(&out->api, out->raw, size < sizeof out->api ? size : sizeof out->api);
    if (out->api.describe && out->api.query && out->api.ops) return true;
    return conform_fail(result, "the table of device %u lacks ops, describe or query", ordinal);
}

bool abi_describe(const abi_device *device, nlm_device_info_v1 *out, conform_result *result) {
    guard_block block;
    nlm_error err = NLM_ERROR_INIT;
    if (!guard_alloc(&block, "nlm_device_info_v1", sizeof *out, 8, false)) return conform_fail(result, "no memory");
    nlm_device_info_v1 *info = (nlm_device_info_v1 *)(void *)block.data;
    *info = (nlm_device_info_v1){.struct_size = (uint32_t)sizeof *info};
    const nlm_status status = device->api.describe(device->api.self, info, &err);
    const bool is_intact = guard_is_intact(&block);
    *out = *info;
    guard_free(&block);
    if (!is_intact) return conform_fail(result, "describe writes beside the nlm_device_info_v1 it is given");
    return status == NLM_OK || conform_fail(result, "describe fails with status %d: %.300s", status, err.msg);
}

bool abi_query(const abi_device *device, nlm_op op, uint32_t args_bytes, nlm_status *out_status, nlm_caps_v1 *out,
               conform_result *result) {
    guard_block args, caps;
    if (!guard_alloc(&args, "the arguments", args_bytes, 8, false)) return conform_fail(result, "no memory");
    if (!guard_alloc(&caps, "nlm_caps_v1", sizeof *out, 8, false)) {
        guard_free(&args);
        return conform_fail(result, "no memory");
    }
    memset(args.data, 0, args_bytes);
    memcpy(args.data, &args_bytes, sizeof args_bytes);
    guard_protect(&args);
    nlm_caps_v1 *answer = (nlm_caps_v1 *)(void *)caps.data;
    *answer = (nlm_caps_v1){.struct_size = (uint32_t)sizeof *answer};
    *out_status = device->api.query(device->api.self, op, args.data, 1, answer);
    const bool is_intact = guard_is_intact(&caps);
    *out = *answer;
    guard_free(&caps);
    guard_free(&args);
    return is_intact || conform_fail(result, "query writes beside the nlm_caps_v1 it is given");
}

/* ---- all of it ----------------------------------------------------------------------------- */

static bool watch(const abi_watcher *watcher, const abi_host *host, const char *step, conform_result *result) {
    return watcher->after(watcher->user, host, step, result);
}

static bool walk_device(const abi_plugin *plugin, const abi_host *host, uint32_t ordinal, const abi_watcher *watcher,
                        conform_result *result) {
    abi_device device;
    nlm_device_info_v1 info;
    nlm_caps_v1 caps;
    nlm_status status;
    if (!abi_open(plugin, host, ordinal, &device, result) || !watch(watcher, host, "open", result)) return false;
    if (!abi_describe(&device, &info, result) || !watch(watcher, host, "describe", result)) return false;
    if (!abi_query(&device, NLM_OP_NONE, 8, &status, &caps, result)) return false;
    if (!watch(watcher, host, "query", result)) return false;
    plugin->api.close(device.raw);
    return watch(watcher, host, "close", result);
}

static bool walk_plugin(const conform_options *options, abi_host *host, const abi_watcher *watcher,
                        conform_result *result) {
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result) || !watch(watcher, host, "loading it", result)) return false;
    if (!abi_probe(&plugin, host, result) || !watch(watcher, host, "probe", result)) return false;
    for (uint32_t i = 0; i < plugin.n_devices && i < ABI_MAX_DEVICES; i++) {
        if (!walk_device(&plugin, host, i, watcher, result)) return false;
    }
    return true;
}

bool abi_walk(const conform_options *options, const abi_watcher *watcher, conform_result *result) {
    abi_host host;
    if (!abi_host_create(&host, result)) return false;
    const bool is_good = walk_plugin(options, &host, watcher, result);
    abi_host_destroy(&host);
    return is_good;
}
