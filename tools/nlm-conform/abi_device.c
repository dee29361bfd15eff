/* Rules on probe and on devices. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "abi.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/status.h"

/* What a rule is asked of every device with; returns false when it has failed the result. */
typedef bool (*device_check)(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result);

static bool check_devices(const conform_options *options, device_check check, conform_result *result) {
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result)) return false;
    for (uint32_t i = 0; i == 0 || (i < plugin.n_devices && i < ABI_MAX_DEVICES); i++) {
        abi_host host; /* each device gets a host of its own, gone when the device is closed */
        if (!abi_host_create(&host, result)) return false;
        const bool is_good = abi_probe(&plugin, &host, result) && check(&plugin, &host, i, result);
        abi_host_destroy(&host);
        if (!is_good) return false;
    }
    result->verdict = CONFORM_PASSED;
    return true;
}

/* ---- probe --------------------------------------------------------------------------------- */

static bool probe_once(const abi_plugin *plugin, const abi_host *host, nlm_probe_v1 *out, conform_result *result) {
    guard_block block;
    nlm_error err = NLM_ERROR_INIT;
    if (!guard_alloc(&block, "nlm_probe_v1", sizeof *out, 8, false)) return conform_fail(result, "no memory");
    nlm_probe_v1 *probe = (nlm_probe_v1 *)(void *)block.data;
    *probe = (nlm_probe_v1){.struct_size = (uint32_t)sizeof *probe};
    const nlm_status status = plugin->api.probe(abi_host_table(host), probe, &err);
    const bool is_intact = guard_is_intact(&block);
    *out = *probe;
    guard_free(&block);
    if (!is_intact) return conform_fail(result, "probe writes beside the nlm_probe_v1 it is given");
    if (status != NLM_OK) return conform_fail(result, "probe fails with status %d: %.300s", status, err.msg);
    if (!memchr(out->reason, 0, sizeof out->reason)) return conform_fail(result, "probe's reason has no end");
    if (out->device_count > 0 || out->reason[0]) return true;
    return conform_fail(result, "probe finds no device and gives no reason");
}

void abi_rule_probe(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    abi_host host;
    nlm_probe_v1 first, second;
    if (!abi_load(options, &plugin, result) || !abi_host_create(&host, result)) return;
    const bool is_good = probe_once(&plugin, &host, &first, result) && probe_once(&plugin, &host, &second, result);
    const uint64_t held = atomic_load(&host.held);
    abi_host_destroy(&host);
    if (!is_good) return;
    if (first.device_count != second.device_count || first.score != second.score) {
        conform_fail(result, "probe answers %u devices and score %d, then %u and %d", first.device_count, first.score,
                     second.device_count, second.score);
    } else if (held) {
        conform_fail(result, "probe keeps %llu allocations from the host", (unsigned long long)held);
    } else {
        result->verdict = CONFORM_PASSED;
    }
}

/* ---- open and close ------------------------------------------------------------------------ */

static bool open_with_host(nlm_plugins *plugins, const abi_plugin *plugin, conform_result *result) {
    const nlm_plugin_entry *entry;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_plugins_add_library(plugins, plugin->path, &entry, &err) != NLM_OK) {
        return conform_fail(result, "%s", err.msg);
    }
    if (entry->state != NLM_ENTRY_READY) {
        conform_fail(result, "%s", entry->reason);
        if (entry->state == NLM_ENTRY_SKIPPED) result->verdict = CONFORM_UNSUPPORTED;
        return false;
    }
    for (uint32_t i = 0; i < entry->device_count && i < ABI_MAX_DEVICES; i++) {
        nlm_device *device;
        if (nlm_plugins_open(plugins, entry->name, (int32_t)i, NULL, &device, &err) != NLM_OK) {
            return conform_fail(result, "%s", err.msg);
        }
        nlm_device_close(device);
    }
    return true;
}

void abi_rule_devices(const conform_options *options, conform_result *result) {
    const nlm_plugins_options no_registry = {.registry = ""};
    abi_plugin plugin;
    nlm_plugins *plugins;
    nlm_error err = NLM_ERROR_INIT;
    if (!abi_find(options, &plugin, result)) return;
    if (nlm_plugins_create(&no_registry, &plugins, &err) != NLM_OK) {
        conform_fail(result, "%s", err.msg);
        return;
    }
    if (open_with_host(plugins, &plugin, result)) result->verdict = CONFORM_PASSED;
    nlm_plugins_destroy(plugins);
}

/* The host waits for it when a program ends. */
#define CLOSE_LIMIT_NS UINT64_C(1000000000)

/* One after the other, then both at once, the first closed first. */
static bool opens_twice(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    abi_device first, second;
    nlm_device_info_v1 info;
    uint64_t quickest_ns = UINT64_MAX; /* a busy machine may hold one up */
    for (int i = 0; i < 2; i++) {
        if (!abi_open(plugin, host, ordinal, &first, result)) return false;
        const uint64_t start_ns = nlm_clock_ns();
        plugin->api.close(first.raw);
        const uint64_t taken_ns = nlm_clock_ns() - start_ns;
        quickest_ns = taken_ns < quickest_ns ? taken_ns : quickest_ns;
    }
    if (quickest_ns > CLOSE_LIMIT_NS)
        return conform_fail(result, "close of device %u takes %.1f s, at most %d are allowed", ordinal,
                            (double)quickest_ns / 1e9, (int)(CLOSE_LIMIT_NS / 1000000000));
    if (!abi_open(plugin, host, ordinal, &first, result)) return false;
    if (!abi_open(plugin, host, ordinal, &second, result)) return false;
    plugin->api.close(first.raw);
    const bool is_good = abi_describe(&second, &info, result);
    plugin->api.close(second.raw);
    return is_good;
}

void abi_rule_open_twice(const conform_options *options, conform_result *result) {
    check_devices(options, opens_twice, result);
}

/* A status that is one, no device, and nothing kept. */
static bool fails_well(const abi_host *host, nlm_status status, const nlm_device_v1 *device, conform_result *result) {
    const unsigned long long n = (unsigned long long)host->fail_at;
    if (status < NLM_OK || status > NLM_NUMERIC) {
        return conform_fail(result, "open answers %d, which is no status, when allocation %llu fails", status, n);
    }
    if (device) return conform_fail(result, "open gives a device though it fails, as allocation %llu did", n);
    if (atomic_load(&host->held) == 0) return true;
    return conform_fail(result, "open fails as allocation %llu did, and keeps %llu others", n,
                        (unsigned long long)atomic_load(&host->held));
}

/* Lets the first allocation of open fail, then the second, until it makes no more. */
static bool survives_no_memory(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    for (host->fail_at = 1;; host->fail_at++) {
        const nlm_device_v1 *device = NULL;
        nlm_error err = NLM_ERROR_INIT;
        atomic_store(&host->n_allocs, 0);
        const nlm_status status = plugin->api.open(abi_host_table(host), ordinal, &device, &err);
        if (status != NLM_OK && !fails_well(host, status, device, result)) return false;
        if (status == NLM_OK) plugin->api.close(device);
        if (atomic_load(&host->n_allocs) >= host->fail_at) continue;
        return status == NLM_OK ||
               conform_fail(result, "open no longer works after an allocation has failed: %.300s", err.msg);
    }
}

void abi_rule_allocation_fails(const conform_options *options, conform_result *result) {
    check_devices(options, survives_no_memory, result);
}

/* ---- describe and query -------------------------------------------------------------------- */

static bool is_text(const char *text, size_t bytes) {
    const char *end = memchr(text, 0, bytes);
    for (const char *c = text; end && c < end; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7F) return false;
    }
    return end != NULL;
}

static bool describes_itself(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    abi_device device;
    nlm_device_info_v1 info = {0};
    if (!abi_open(plugin, host, ordinal, &device, result)) return false;
    const bool is_good = abi_describe(&device, &info, result);
    plugin->api.close(device.raw);
    if (!is_good) return false;
    if (!is_text(info.name, sizeof info.name) || !is_text(info.arch, sizeof info.arch) || !info.name[0]) {
        return conform_fail(result, "describe's name and arch are not each one line of text with an end");
    }
    if (info.ordinal != ordinal) return conform_fail(result, "device %u says it is %u", ordinal, info.ordinal);
    if (info.kind != NLM_DEVICE_SLICED && info.kind != NLM_DEVICE_STREAM) {
        return conform_fail(result, "describe's kind is %u", info.kind);
    }
    const uint32_t known = NLM_DEVICE_HOST_MEMORY | NLM_DEVICE_DETERMINISTIC | NLM_DEVICE_BATCH_INVARIANT |
                           NLM_DEVICE_REPLAY_EXACT | NLM_DEVICE_F16_ACTIVATIONS | NLM_DEVICE_BF16_ACTIVATIONS;
    if (info.flags & ~known) return conform_fail(result, "describe's flags are 0x%x", info.flags);
    if (info.alignment_bytes && (!nlm_is_power_of_two(info.alignment_bytes) || info.alignment_bytes > 4096)) {
        return conform_fail(result, "describe's alignment_bytes is no power of two up to 4096");
    }
    return info.memory_total_bytes == 0 || info.memory_free_bytes <= info.memory_total_bytes ||
           conform_fail(result, "describe's memory_free_bytes is more than its memory_total_bytes");
}

void abi_rule_describe(const conform_options *options, conform_result *result) {
    check_devices(options, describes_itself, result);
}

/* Twice into a struct that ends at a guard page; a device need not measure. */
static bool reads_metrics(const abi_device *device, const nlm_metrics_v1 *table, nlm_device_metrics_v1 *out,
                          conform_result *result) {
    const uint32_t known = (NLM_METRIC_ECC << 1) - 1;
    guard_block block;
    nlm_error err = NLM_ERROR_INIT;
    if (!guard_alloc(&block, "nlm_device_metrics_v1", sizeof *out, 8, false))
        return conform_fail(result, "no memory");
    nlm_device_metrics_v1 *guarded = (nlm_device_metrics_v1 *)(void *)block.data;
    *guarded = (nlm_device_metrics_v1){.struct_size = (uint32_t)sizeof *guarded};
    const nlm_status status = table->read(device->api.self, guarded, &err);
    const bool is_intact = guard_is_intact(&block);
    *out = *guarded;
    guard_free(&block);
    if (!is_intact) return conform_fail(result, "read writes beside the nlm_device_metrics_v1 it is given");
    if (status == NLM_UNSUPPORTED && err.msg[0]) return true;
    if (status != NLM_OK) return conform_fail(result, "read: %s: %.300s", nlm_status_text(status), err.msg);
    if (out->known & ~known) return conform_fail(result, "read knows 0x%x", out->known);
    if ((out->known & NLM_METRIC_MEMORY) && out->memory_used_bytes > out->memory_total_bytes) {
        return conform_fail(result, "read: more memory is used than there is");
    }
    return (out->utilization_percent <= 100 && out->memory_utilization_percent <= 100) ||
           conform_fail(result, "read: a utilization is over 100 percent");
}

static bool measures_itself(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    abi_device device;
    nlm_device_metrics_v1 m = {0};
    const nlm_metrics_v1 *table = plugin->api.extension(NLM_METRICS_EXTENSION, 1);
    if (table->struct_size < offsetof(nlm_metrics_v1, read) + sizeof table->read || !table->read) {
        return conform_fail(result, "its extension " NLM_METRICS_EXTENSION " has no read");
    }
    if (!abi_open(plugin, host, ordinal, &device, result)) return false;
    const bool is_good = reads_metrics(&device, table, &m, result) && reads_metrics(&device, table, &m, result);
    plugin->api.close(device.raw);
    return is_good;
}

void abi_rule_metrics(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result)) return;
    if (plugin.api.extension(NLM_METRICS_EXTENSION, 1)) {
        check_devices(options, measures_itself, result);
    } else {
        result->verdict = CONFORM_NOT_OFFERED;
        snprintf(result->message, sizeof result->message, "%s", NLM_METRICS_EXTENSION);
    }
}

static bool ends(const char *text, size_t size) {
    return text[0] && memchr(text, 0, size);
}

/* One probe, into a struct that ends at a guard page. */
static bool measures_one(const abi_device *device, const nlm_probes_v1 *table, uint32_t index, bool *out_is_there,
                         conform_result *result) {
    guard_block block;
    nlm_error err = NLM_ERROR_INIT;
    if (!guard_alloc(&block, "nlm_probed_v1", sizeof(nlm_probed_v1), 8, false))
        return conform_fail(result, "no memory");
    nlm_probed_v1 *guarded = (nlm_probed_v1 *)(void *)block.data;
    *guarded = (nlm_probed_v1){.struct_size = (uint32_t)sizeof *guarded};
    const nlm_status status = table->measure(device->api.self, index, guarded, &err);
    const nlm_probed_v1 got = *guarded;
    const bool is_intact = guard_is_intact(&block);
    guard_free(&block);
    if (!is_intact) return conform_fail(result, "measure writes beside the nlm_probed_v1 it is given");
    *out_is_there = status != NLM_NOT_FOUND;
    if (status == NLM_NOT_FOUND) return true;
    if (status != NLM_OK && status != NLM_UNSUPPORTED)
        return conform_fail(result, "measure %u: %s: %.300s", index, nlm_status_text(status), err.msg);
    if (!ends(got.name, sizeof got.name) || !ends(got.unit, sizeof got.unit))
        return conform_fail(result, "measure %u gives no name, or no unit", index);
    if (status == NLM_UNSUPPORTED)
        return err.msg[0] || conform_fail(result, "measure %u, %s: no, but without a reason", index, got.name);
    return (isfinite(got.value) && got.value > 0 && isfinite(got.expected) && got.expected >= 0) ||
           conform_fail(result, "measure %u, %s: %g %s, expected %g", index, got.name, got.value, got.unit,
                        got.expected);
}

static bool has_probes(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    abi_device device;
    const nlm_probes_v1 *table = plugin->api.extension(NLM_PROBES_EXTENSION, 1);
    if (table->struct_size < offsetof(nlm_probes_v1, measure) + sizeof table->measure || !table->measure)
        return conform_fail(result, "its extension " NLM_PROBES_EXTENSION " has no measure");
    if (!abi_open(plugin, host, ordinal, &device, result)) return false;
    bool is_good = true, is_there = true;
    for (uint32_t i = 0; is_good && is_there; i++) {
        is_good = measures_one(&device, table, i, &is_there, result);
        if (is_good && is_there && i == NLM_PROBES_MOST)
            is_good = conform_fail(result, "measure has more than %d probes", NLM_PROBES_MOST);
    }
    plugin->api.close(device.raw);
    return is_good;
}

void abi_rule_probes(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result)) return;
    if (plugin.api.extension(NLM_PROBES_EXTENSION, 1)) {
        check_devices(options, has_probes, result);
    } else {
        result->verdict = CONFORM_NOT_OFFERED;
        snprintf(result->message, sizeof result->message, "%s", NLM_PROBES_EXTENSION);
    }
}

static bool says_no(const abi_device *device, nlm_op op, uint32_t args_bytes, const char *what,
                    conform_result *result) {
    nlm_status status;
    nlm_caps_v1 caps;
    if (!abi_query(device, op, args_bytes, &status, &caps, result)) return false;
    if (status != NLM_UNSUPPORTED) {
        return conform_fail(result, "query of op %u (%s) with %s: status %d (%s), expected %d (%s)", op,
                            nlm_op_name(op), what, status, nlm_status_text(status), NLM_UNSUPPORTED,
                            nlm_status_text(NLM_UNSUPPORTED));
    }
    if (memchr(caps.reason, 0, sizeof caps.reason) && caps.reason[0]) return true;
    return conform_fail(result, "query of op %u (%s) with %s: no, but without a reason", op, nlm_op_name(op), what);
}

static bool knows_what_it_does_not_know(const abi_plugin *plugin, abi_host *host, uint32_t ordinal,
                                        conform_result *result) {
    static const nlm_op numbers[] = {NLM_OP_NONE, NLM_OP_END, NLM_OP_END + 1000, 0x80000000u, UINT32_MAX};
    abi_device device;
    bool is_good = abi_open(plugin, host, ordinal, &device, result);
    if (!is_good) return false;
    for (size_t i = 0; is_good && i < sizeof numbers / sizeof *numbers; i++) {
        is_good = says_no(&device, numbers[i], 8, "a number that no op has", result);
    }
    plugin->api.close(device.raw);
    return is_good;
}

void abi_rule_unknown_op(const conform_options *options, conform_result *result) {
    check_devices(options, knows_what_it_does_not_know, result);
}

/* Every length short of this host's; all arguments have had struct_size and flags since 1.0. */
static bool reads_no_further(const abi_plugin *plugin, abi_host *host, uint32_t ordinal, conform_result *result) {
    abi_device device;
    bool is_good = abi_open(plugin, host, ordinal, &device, result);
    if (!is_good) return false;
    for (nlm_op op = 1; is_good && op < NLM_OP_END; op++) {
        for (uint32_t bytes = 8; is_good && bytes < nlm_ops_args_size(op); bytes += 8) {
            is_good = says_no(&device, op, bytes, "arguments cut short", result);
        }
    }
    plugin->api.close(device.raw);
    return is_good;
}

void abi_rule_short_arguments(const conform_options *options, conform_result *result) {
    check_devices(options, reads_no_further, result);
}
