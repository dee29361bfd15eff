/* Level 0: what plugin.h asks of every plugin, whatever its ops. docs/abi-rules.md has the rules by number. */
#include <string.h>

#include "abi.h"

#define VET_TIMEOUT_MS 5000u

static void file_is_a_plugin(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    if (abi_find(options, &plugin, result)) result->verdict = CONFORM_PASSED;
}

/* As the host vets a library from outside its installation, and never from memory. */
static void survives_vetting(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    nlm_verdict verdict = {0};
    if (!abi_find(options, &plugin, result)) return;
    const nlm_vet_job job = {plugin.path, plugin.expected_name, NULL, VET_TIMEOUT_MS};
    if (nlm_vet_in_child(&job, &verdict)) {
        result->verdict = CONFORM_PASSED;
    } else {
        conform_fail(result, "%s", verdict.reason);
    }
}

static void descriptor_is_whole(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    if (!abi_load_first(options, &plugin, result)) return;
    if (!plugin.api.version[0] || !plugin.api.description[0]) {
        conform_fail(result, "the descriptor has no %s", plugin.api.version[0] ? "description" : "version");
    } else {
        result->verdict = CONFORM_PASSED;
    }
}

/* A host of this minor: an answer if the plugin needs no later one; NULL or the truth if it does. */
static bool answers_host(nlm_plugin_query_v1_fn query, uint32_t minor, uint32_t needed, conform_result *result) {
    const nlm_plugin_v1 *answer = query(minor);
    if (!answer) {
        return minor < needed || conform_fail(result,
                                              "a host of plugin.h %d.%u gets no descriptor, though the plugin "
                                              "says it needs %d.%u",
                                              NLM_ABI_MAJOR, minor, NLM_ABI_MAJOR, needed);
    }
    uint32_t needs;
    memcpy(&needs, &answer->min_host_minor, sizeof needs);
    if (needs == needed) return true;
    return conform_fail(result, "a host of plugin.h %d.%u is told that %d.%u is needed, this one %d.%u",
                        NLM_ABI_MAJOR, minor, NLM_ABI_MAJOR, needs, NLM_ABI_MAJOR, needed);
}

static void negotiates_both_ways(const conform_options *options, conform_result *result) {
    static const uint32_t later[] = {NLM_ABI_MINOR + 1, NLM_ABI_MINOR + 1000, UINT32_MAX};
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result)) return;
    const uint32_t needed = plugin.api.min_host_minor;
    for (uint32_t minor = 0; minor <= NLM_ABI_MINOR; minor++) {
        if (!answers_host(plugin.library.query, minor, needed, result)) return;
    }
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (!answers_host(plugin.library.query, later[i], needed, result)) return;
    }
    result->verdict = CONFORM_PASSED;
}

/* The same answer before and after the plugin is used. */
static void query_is_constant(const conform_options *options, conform_result *result) {
    abi_plugin plugin;
    abi_host host;
    if (!abi_load(options, &plugin, result) || !abi_host_create(&host, result)) return;
    const nlm_plugin_v1 *first = plugin.library.query(NLM_ABI_MINOR), before = plugin.api;
    nlm_verdict verdict = {0};
    nlm_probe_v1 probe;
    nlm_probe(&plugin.api, abi_host_table(&host), &probe, &verdict); /* whatever it answers */
    const nlm_plugin_v1 *second = plugin.library.query(NLM_ABI_MINOR);
    nlm_negotiate(plugin.library.query, plugin.expected_name, &plugin.api, &verdict);
    if (first != second || memcmp(&before, &plugin.api, sizeof before) != 0) {
        conform_fail(result, "%s does not give the same descriptor each time", NLM_PLUGIN_QUERY_SYMBOL);
    } else {
        result->verdict = CONFORM_PASSED;
    }
    abi_host_destroy(&host);
}

static void unknown_extensions_are_null(const conform_options *options, conform_result *result) {
    static const struct {
        const char *name;
        uint32_t version;
    } rows[] = {{"nlm.no_such_extension", 1},
                {"", 0},
                {"nlm.capture", UINT32_MAX},
                {"nlm.metrics", UINT32_MAX},
                {"nlm.probes", UINT32_MAX}};
    abi_plugin plugin;
    if (!abi_load(options, &plugin, result)) return;
    result->verdict = CONFORM_PASSED;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!plugin.api.extension(rows[i].name, rows[i].version)) continue;
        conform_fail(result, "it claims to have the extension '%s' of version %u, which does not exist", rows[i].name,
                     rows[i].version);
    }
}

/* By number; a number is never given to another rule. */
static const conform_rule rules[] = {
    {"abi/01_file", file_is_a_plugin},
    {"abi/02_vetting", survives_vetting},
    {"abi/03_descriptor", descriptor_is_whole},
    {"abi/04_negotiation", negotiates_both_ways},
    {"abi/05_constant_query", query_is_constant},
    {"abi/06_extensions", unknown_extensions_are_null},
    {"abi/07_probe", abi_rule_probe},
    {"abi/08_device_tables", abi_rule_devices},
    {"abi/09_open_close", abi_rule_open_twice},
    {"abi/10_describe", abi_rule_describe},
    {"abi/11_unknown_ops", abi_rule_unknown_op},
    {"abi/12_short_arguments", abi_rule_short_arguments},
    {"abi/13_failed_allocation", abi_rule_allocation_fails},
    {"abi/14_memory", abi_rule_memory},
    {"abi/15_leftovers", abi_rule_leftovers},
    {"abi/16_process_state", abi_rule_process_state},
    {"abi/17_output", abi_rule_output},
    {"abi/18_transfers", abi_rule_transfers},
    {"abi/19_streams", abi_rule_streams},
    {"abi/20_events", abi_rule_events},
    {"abi/21_event_query", abi_rule_event_query},
    {"abi/22_event_elapsed", abi_rule_event_elapsed},
    {"abi/23_fill", abi_rule_fill},
    {"abi/24_pinned_memory", abi_rule_pinned},
    {"abi/25_freed_memory", abi_rule_freed},
    {"abi/26_sync_all", abi_rule_sync_all},
    {"abi/27_peers", abi_rule_peers},
    {"abi/28_recording", abi_rule_recording},
    {"abi/29_copied_calls", abi_rule_copied_calls},
    {"abi/30_late_errors", abi_rule_late_errors},
    {"abi/31_recorded_ops", abi_rule_recorded_ops},
    {"abi/32_prepare", abi_rule_prepare},
    {"abi/33_pack_device", abi_rule_pack_device},
    {"abi/34_slots", abi_rule_slots},
    {"abi/35_packing", abi_rule_packing},
    {"abi/36_metrics", abi_rule_metrics},
    {"abi/37_probes", abi_rule_probes},
};

const conform_rule *conform_rules(size_t *out_count) {
    *out_count = sizeof rules / sizeof *rules;
    return rules;
}
