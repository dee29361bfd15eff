/* An opened device as the host sees it: the plugin's tables copied into full-size ones. */
#ifndef NLM_PLUGIN_DEVICE_H
#define NLM_PLUGIN_DEVICE_H

#include <nlm/plugin.h>
#include <stdbool.h>

typedef struct nlm_plugin nlm_plugin; /* a loaded plugin, see plugin/plugins.h */

typedef struct nlm_device {
    nlm_device_v1 api;       /* zero-filled past what the plugin gave; api.ops is &ops */
    nlm_ops_v1 ops;          /* empty slots hold a stub that returns UNSUPPORTED */
    nlm_device_info_v1 info; /* at open */
    nlm_capture_v1 capture;  /* begin is NULL: the device cannot record */
    nlm_metrics_v1 metrics;  /* read is NULL: it does not measure */
    nlm_probes_v1 probes;    /* measure is NULL: it has none */
    const nlm_plugin *plugin;
    const char *backend; /* the plugin's name */
    uint32_t device_id;  /* the ordinal chosen, kept everywhere */
} nlm_device;

static inline bool nlm_device_is_sliced(const nlm_device *device) {
    return device->info.kind == NLM_DEVICE_SLICED;
}
static inline bool nlm_device_has_host_memory(const nlm_device *device) {
    return (device->info.flags & NLM_DEVICE_HOST_MEMORY) != 0;
}

static inline bool nlm_device_can_capture(const nlm_device *device) {
    return device->capture.begin != NULL;
}
/* Does the device promise it of its numbers? Sliced devices must, of the first two: they are certified so. */
static inline bool nlm_device_claims(const nlm_device *device, uint32_t flag) {
    const uint32_t always = NLM_DEVICE_DETERMINISTIC | NLM_DEVICE_BATCH_INVARIANT;
    const uint32_t claimed = device->info.flags | (nlm_device_is_sliced(device) ? always : 0);
    return (claimed & flag) == flag;
}

/* The version that the device's plugin gives itself; "" for a device of no plugin. */
const char *nlm_device_backend_version(const nlm_device *device);

/* The op's name, "op 99" style numbers are "unknown op"; NLM_OP_NONE for an unknown name. */
const char *nlm_op_name(nlm_op op);
nlm_op nlm_op_from_name(const char *name);

/* query() with the answer checked: op the device lacks, a status that is neither OK nor UNSUPPORTED,
 * an unterminated reason. Returns OK or UNSUPPORTED with out->reason. */
nlm_status nlm_device_query(const nlm_device *device, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);
/* The same with NLM_CAPS_AS_HELD. The caller checks the layouts of the answer. */
nlm_status nlm_device_query_as_held(const nlm_device *device, nlm_op op, const void *args, uint32_t nth,
                                    nlm_caps_v1 *out);

/* measure() of the extension "nlm.probes" with the answer cleaned: texts that are not terminated, or not for a
 * terminal. Errors   NOT_FOUND (there are not so many, or no such extension), UNSUPPORTED (the hardware lacks it;
 * name and unit are there), what the plugin fails with. */
nlm_status nlm_device_probe(const nlm_device *device, uint32_t index, nlm_probed_v1 *out, nlm_error *err);

#endif
