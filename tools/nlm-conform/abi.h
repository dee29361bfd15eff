/* Level 0 from the inside: a plugin loaded without the host's care, so that what it does can be seen. */
#ifndef NLM_CONFORM_ABI_H
#define NLM_CONFORM_ABI_H

#include <limits.h>
#include <stdatomic.h>

#include "conform.h"
#include "guard.h"
#include "plugin/loaded.h"

/* A host that counts, and whose memory may run out. Its table ends at a guard page. */
typedef struct abi_host {
    guard_block block;
    _Atomic uint64_t n_allocs; /* asked for so far */
    _Atomic uint64_t held;     /* granted and not released */
    uint64_t fail_at;          /* the number of the allocation that is not granted, from 1; 0: none */
} abi_host;

bool abi_host_create(abi_host *host, conform_result *result);
void abi_host_destroy(abi_host *host); /* the table's memory is gone: a plugin that still uses it faults */
const nlm_host_v1 *abi_host_table(const abi_host *host);

typedef struct abi_plugin {
    char path[PATH_MAX];
    const char *expected_name; /* NULL: any */
    nlm_library library;
    nlm_plugin_v1 api;
    uint32_t n_devices; /* after abi_probe */
} abi_plugin;

/* Each fails the result with a sentence, and returns false. */
bool abi_find(const conform_options *options, abi_plugin *out, conform_result *result);       /* the file alone */
bool abi_load_first(const conform_options *options, abi_plugin *out, conform_result *result); /* and its descriptor */
/* For the rules that take for granted that it loads: what is wrong with it is said by those before them. */
bool abi_load(const conform_options *options, abi_plugin *out, conform_result *result);
/* Not usable here is UNSUPPORTED, with the plugin's reason. */
bool abi_probe(abi_plugin *plugin, const abi_host *host, conform_result *result);

typedef struct abi_device {
    const nlm_device_v1 *raw; /* the plugin's own */
    nlm_device_v1 api;        /* what of it this host knows */
} abi_device;

bool abi_open(const abi_plugin *plugin, const abi_host *host, uint32_t ordinal, abi_device *out,
              conform_result *result);
/* describe() into a struct that ends at a guard page. */
bool abi_describe(const abi_device *device, nlm_device_info_v1 *out, conform_result *result);
/* query() with args and an answer that end at guard pages; args are args_bytes long and say so. */
bool abi_query(const abi_device *device, nlm_op op, uint32_t args_bytes, nlm_status *out_status, nlm_caps_v1 *out,
               conform_result *result);

/* What a host does with a plugin from loading it to closing its devices, with `after` called behind each step;
 * `step` is what was just done ("open"). At most ABI_MAX_DEVICES devices are opened. */
#define ABI_MAX_DEVICES 4u
typedef struct abi_watcher {
    bool (*after)(void *user, const abi_host *host, const char *step, conform_result *result);
    void *user;
} abi_watcher;
bool abi_walk(const conform_options *options, const abi_watcher *watcher, conform_result *result);

/* What goes to standard output and error between the two is kept and can be looked at. */
typedef struct abi_output {
    int file, saved[2];
} abi_output;
bool abi_output_begin(abi_output *output, conform_result *result);
bool abi_output_is_empty(const abi_output *output);
void abi_output_end(abi_output *output);

/* abi_device.c, abi_process.c: rules of docs/abi-rules.md. */
void abi_rule_probe(const conform_options *options, conform_result *result);
void abi_rule_devices(const conform_options *options, conform_result *result);
void abi_rule_open_twice(const conform_options *options, conform_result *result);
void abi_rule_describe(const conform_options *options, conform_result *result);
void abi_rule_metrics(const conform_options *options, conform_result *result);
void abi_rule_probes(const conform_options *options, conform_result *result);
void abi_rule_unknown_op(const conform_options *options, conform_result *result);
void abi_rule_short_arguments(const conform_options *options, conform_result *result);
void abi_rule_allocation_fails(const conform_options *options, conform_result *result);
void abi_rule_memory(const conform_options *options, conform_result *result);
void abi_rule_leftovers(const conform_options *options, conform_result *result);
void abi_rule_process_state(const conform_options *options, conform_result *result);
void abi_rule_output(const conform_options *options, conform_result *result);
/* abi_stream.c, abi_record.c: of stream devices. */
void abi_rule_transfers(const conform_options *options, conform_result *result);
void abi_rule_streams(const conform_options *options, conform_result *result);
void abi_rule_events(const conform_options *options, conform_result *result);
void abi_rule_event_query(const conform_options *options, conform_result *result);
void abi_rule_event_elapsed(const conform_options *options, conform_result *result);
void abi_rule_fill(const conform_options *options, conform_result *result);
void abi_rule_pinned(const conform_options *options, conform_result *result);
void abi_rule_freed(const conform_options *options, conform_result *result);
void abi_rule_sync_all(const conform_options *options, conform_result *result);
void abi_rule_peers(const conform_options *options, conform_result *result);
void abi_rule_recording(const conform_options *options, conform_result *result);
void abi_rule_copied_calls(const conform_options *options, conform_result *result);
void abi_rule_late_errors(const conform_options *options, conform_result *result);
void abi_rule_recorded_ops(const conform_options *options, conform_result *result);
void abi_rule_prepare(const conform_options *options, conform_result *result);
void abi_rule_pack_device(const conform_options *options, conform_result *result);

/* abi_slots.c */
void abi_rule_slots(const conform_options *options, conform_result *result);
void abi_rule_packing(const conform_options *options, conform_result *result);

#endif
