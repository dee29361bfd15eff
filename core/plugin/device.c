/* A device of a plugin opened, described and checked, with stubs where it has no function. */
#include "plugin/loaded.h"

#include "base/checked.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_1_0          NLM_SIZE_THROUGH(nlm_device_v1, event_wait) /* what follows is optional */
#define CAPTURE_SIZE_1_0  NLM_SIZE_THROUGH(nlm_capture_v1, destroy)
#define METRICS_SIZE_1_0  NLM_SIZE_THROUGH(nlm_metrics_v1, read)
#define PROBES_SIZE_1_0   NLM_SIZE_THROUGH(nlm_probes_v1, measure)
#define MAX_SIZE          65536u
#define MAX_ALIGNMENT     4096u
#define DEFAULT_ALIGNMENT 64u
/* More workspace than any machine has: a sum that wrapped. */
#define MAX_WORKSPACE     (UINT64_C(1) << 46)

struct nlm_opened {
    nlm_device device; /* first: an nlm_device * is an nlm_opened * */
    const nlm_device_v1 *raw;
    nlm_plugin *plugin;
    nlm_host *host;
    nlm_opened *next;
};

const char *nlm_device_backend_version(const nlm_device *device) {
    return device->plugin ? device->plugin->api.version : "";
}

static nlm_status fail(const nlm_opened *o, nlm_error *err, nlm_status status, const char *what) {
    return nlm_fail(err, status, o->plugin->name, "device %u: %s", o->device.device_id, what);
}

/* A call of the plugin failed: its sentence, under our name for it. */
static nlm_status fail_call(const nlm_opened *o, nlm_error *err, nlm_status status, const char *call,
                            nlm_error *fault) {
    nlm_make_printable(fault->msg, sizeof fault->msg);
    nlm_fail(err, nlm_clean_status(status), o->plugin->name, "device %u: %s failed: %.700s", o->device.device_id,
             call, fault->msg[0] ? fault->msg : nlm_status_text(status));
    if (err) err->native_code = fault->native_code;
    return nlm_clean_status(status);
}

static nlm_status copy_tables(nlm_opened *o, nlm_error *err) {
    nlm_device_v1 *api = &o->device.api;
    uint32_t size;
    memcpy(&size, &o->raw->struct_size, sizeof size);
    if (size < SIZE_1_0 || size > MAX_SIZE) {
        return nlm_fail(err, NLM_BAD_FORMAT, o->plugin->name,
                        "device %u: its table says it has %u bytes; expected %zu to %u", o->device.device_id, size,
                        SIZE_1_0, MAX_SIZE);
    }
    memcpy(api, o->raw, size < sizeof *api ? size : sizeof *api);
    api->struct_size = (uint32_t)sizeof *api;
    if (!api->ops) return fail(o, err, NLM_BAD_FORMAT, "it has no table of ops");
    nlm_error fault = NLM_ERROR_INIT;
    if (nlm_ops_copy(api->ops, &o->device.ops, &fault) != NLM_OK) return fail(o, err, NLM_BAD_FORMAT, fault.msg);
    api->ops = &o->device.ops;
    return NLM_OK;
}

static nlm_status describe(nlm_opened *o, nlm_error *err) {
    nlm_device_info_v1 *info = &o->device.info;
    *info = (nlm_device_info_v1){.struct_size = (uint32_t)sizeof *info};
    if (!o->device.api.describe) return fail(o, err, NLM_BAD_FORMAT, "its table lacks the function describe");
    nlm_error fault = NLM_ERROR_INIT;
    const nlm_status status = o->device.api.describe(o->device.api.self, info, &fault);
    if (status != NLM_OK) return fail_call(o, err, status, "describe", &fault);
    info->struct_size = (uint32_t)sizeof *info;
    nlm_make_printable(info->name, sizeof info->name);
    nlm_make_printable(info->arch, sizeof info->arch);
    if (!info->name[0]) snprintf(info->name, sizeof info->name, "%s", o->plugin->name);
    if (info->alignment_bytes == 0) info->alignment_bytes = DEFAULT_ALIGNMENT;
    if (!nlm_is_power_of_two(info->alignment_bytes) || info->alignment_bytes > MAX_ALIGNMENT) {
        return fail(o, err, NLM_BAD_FORMAT, "its alignment_bytes is not a power of two up to 4096");
    }
    if (info->ordinal != o->device.device_id) {
        return fail(o, err, NLM_BAD_FORMAT, "it describes itself with another ordinal than the one that was opened");
    }
    if (info->kind != NLM_DEVICE_SLICED && info->kind != NLM_DEVICE_STREAM) {
        return fail(o, err, NLM_BAD_FORMAT, "its kind is neither NLM_DEVICE_SLICED nor NLM_DEVICE_STREAM");
    }
    return NLM_OK;
}

typedef struct requirement {
    const char *name;
    bool is_present;
} requirement;

static nlm_status require(const nlm_opened *o, const requirement *list, size_t count, const char *because,
                          nlm_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (list[i].is_present) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, o->plugin->name, "device %u: its table lacks the function %s, %s",
                        o->device.device_id, list[i].name, because);
    }
    return NLM_OK;
}

/* Which slots must be there depends on what describe answered. */
static nlm_status check_slots(const nlm_opened *o, nlm_error *err) {
    const nlm_device_v1 *api = &o->device.api;
    const requirement always[] = {{"query", api->query}};
    const requirement memory[] = {{"buffer_alloc", api->buffer_alloc},
                                  {"buffer_free", api->buffer_free},
                                  {"upload", api->upload},
                                  {"download", api->download},
                                  {"copy", api->copy}};
    const requirement streams[] = {{"stream_create", api->stream_create},
                                   {"stream_destroy", api->stream_destroy},
                                   {"sync", api->sync},
                                   {"event_create", api->event_create},
                                   {"event_destroy", api->event_destroy},
                                   {"event_record", api->event_record},
                                   {"event_wait", api->event_wait}};
    const requirement packing[] = {{"pack_size", api->pack_size}, {"pack", api->pack}};
    const requirement pinned[] = {{"host_alloc", api->host_alloc}, {"host_free", api->host_free}};
    NLM_TRY(require(o, always, 1, "which every device needs", err));
    if (!nlm_device_has_host_memory(&o->device)) {
        if (nlm_device_is_sliced(&o->device)) {
            return fail(o, err, NLM_BAD_FORMAT, "a sliced device must have NLM_DEVICE_HOST_MEMORY");
        }
        NLM_TRY(require(o, memory, 5, "which a device without NLM_DEVICE_HOST_MEMORY needs", err));
    }
    if (!nlm_device_is_sliced(&o->device)) NLM_TRY(require(o, streams, 7, "which a stream device needs", err));
    if (api->pack_size || api->pack)
        NLM_TRY(require(o, packing, 2, "which goes with the other half of packing", err));
    if (api->host_alloc || api->host_free)
        NLM_TRY(require(o, pinned, 2, "which goes with the other half of pinned memory", err));
    if (api->pack_device && !api->pack_size)
        return fail(o, err, NLM_BAD_FORMAT, "its table has pack_device without pack_size");
    return NLM_OK;
}

/* The table of an extension, copied as far as both know it; `least` and `most` bytes are what 1.0 and this host have.
 */
static nlm_status copy_extension(const nlm_opened *o, const char *name, const void *from, void *to, size_t least,
                                 size_t most, nlm_error *err) {
    uint32_t size; /* every table begins with it */
    const uint32_t own = (uint32_t)most;
    memcpy(&size, from, sizeof size);
    if (size < least || size > MAX_SIZE) {
        return nlm_fail(err, NLM_BAD_FORMAT, o->plugin->name,
                        "its extension %s says it has %u bytes; expected %zu to %u", name, size, least, MAX_SIZE);
    }
    memcpy(to, from, size < most ? size : most);
    memcpy(to, &own, sizeof own);
    return NLM_OK;
}

/* The extension "nlm.capture" of a stream device, copied as the other tables are; a plugin without it is fine. */
static nlm_status copy_capture(nlm_opened *o, nlm_error *err) {
    nlm_capture_v1 *to = &o->device.capture;
    if (nlm_device_is_sliced(&o->device)) return NLM_OK;
    const nlm_capture_v1 *from = o->plugin->api.extension(NLM_CAPTURE_EXTENSION, 1);
    if (!from) return NLM_OK;
    NLM_TRY(copy_extension(o, NLM_CAPTURE_EXTENSION, from, to, CAPTURE_SIZE_1_0, sizeof *to, err));
    const requirement all[] = {{"begin", to->begin},
                               {"end", to->end},
                               {"abort", to->abort},
                               {"launch", to->launch},
                               {"destroy", to->destroy}};
    return require(o, all, 5, "which its extension " NLM_CAPTURE_EXTENSION " needs", err);
}

/* The extension "nlm.metrics", of any device. */
static nlm_status copy_metrics(nlm_opened *o, nlm_error *err) {
    nlm_metrics_v1 *to = &o->device.metrics;
    const nlm_metrics_v1 *from = o->plugin->api.extension(NLM_METRICS_EXTENSION, 1);
    if (!from) return NLM_OK;
    NLM_TRY(copy_extension(o, NLM_METRICS_EXTENSION, from, to, METRICS_SIZE_1_0, sizeof *to, err));
    const requirement all[] = {{"read", to->read}};
    return require(o, all, 1, "which its extension " NLM_METRICS_EXTENSION " needs", err);
}

/* The extension "nlm.probes", of any device. */
static nlm_status copy_probes(nlm_opened *o, nlm_error *err) {
    nlm_probes_v1 *to = &o->device.probes;
    const nlm_probes_v1 *from = o->plugin->api.extension(NLM_PROBES_EXTENSION, 1);
    if (!from) return NLM_OK;
    NLM_TRY(copy_extension(o, NLM_PROBES_EXTENSION, from, to, PROBES_SIZE_1_0, sizeof *to, err));
    const requirement all[] = {{"measure", to->measure}};
    return require(o, all, 1, "which its extension " NLM_PROBES_EXTENSION " needs", err);
}

static nlm_status open_raw(nlm_opened *o, nlm_error *err) {
    nlm_error fault = NLM_ERROR_INIT;
    const nlm_status status = o->plugin->api.open(nlm_host_table(o->host), o->device.device_id, &o->raw, &fault);
    if (status != NLM_OK) {
        o->raw = NULL;
        return fail_call(o, err, status, "open", &fault);
    }
    if (!o->raw) return fail(o, err, NLM_BAD_FORMAT, "open succeeded without giving a device");
    nlm_status checked = copy_tables(o, err);
    if (checked == NLM_OK) checked = describe(o, err);
    if (checked == NLM_OK) checked = check_slots(o, err);
    if (checked == NLM_OK) checked = copy_capture(o, err);
    if (checked == NLM_OK) checked = copy_metrics(o, err);
    if (checked == NLM_OK) checked = copy_probes(o, err);
    if (checked != NLM_OK) o->plugin->api.close(o->raw);
    return checked;
}

static void free_opened(nlm_opened *o) {
    nlm_host_destroy(o->host);
    free(o);
}

nlm_status nlm_device_open(nlm_plugin *plugin, uint32_t ordinal, const char *const *options, nlm_device **out,
                           nlm_error *err) {
    *out = NULL;
    nlm_opened *o = calloc(1, sizeof *o);
    if (!o) return nlm_fail(err, NLM_OUT_OF_MEMORY, plugin->name, "no memory to open device %u", ordinal);
    o->plugin = plugin;
    o->device.plugin = plugin;
    o->device.backend = plugin->name;
    o->device.device_id = ordinal;
    nlm_status status = nlm_host_create(plugin->name, plugin->options, options, &o->host, err);
    if (status == NLM_OK) status = open_raw(o, err);
    if (status != NLM_OK) {
        free_opened(o);
        return status;
    }
    pthread_mutex_lock(&plugin->mutex);
    o->next = plugin->opened;
    plugin->opened = o;
    plugin->n_open++;
    pthread_mutex_unlock(&plugin->mutex);
    *out = &o->device;
    return NLM_OK;
}

/* A plugin may use the host table of one device for another, so tables live until the last device of
 * the plugin is closed. */
static void release_all(nlm_plugin *plugin) {
    for (nlm_opened *o = plugin->opened; o;) {
        nlm_opened *next = o->next;
        const uint64_t left = nlm_host_outstanding(o->host);
        if (left)
            nlm_log(NLM_LOG_WARN, "%s: left %llu allocations after close", plugin->name, (unsigned long long)left);
        free_opened(o);
        o = next;
    }
    plugin->opened = NULL;
}

void nlm_device_close(nlm_device *device) {
    if (!device) return;
    nlm_opened *o = (nlm_opened *)device;
    nlm_plugin *plugin = o->plugin;
    plugin->api.close(o->raw);
    pthread_mutex_lock(&plugin->mutex);
    if (--plugin->n_open == 0) release_all(plugin);
    pthread_mutex_unlock(&plugin->mutex);
}

/* ---- query -------------------------------------------------------------------------------- */

static nlm_status say_no(nlm_caps_v1 *out, const char *reason) {
    *out = (nlm_caps_v1){.struct_size = (uint32_t)sizeof *out};
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    return NLM_UNSUPPORTED;
}

static nlm_status check_yes(const nlm_device *device, nlm_caps_v1 *out) {
    for (uint32_t i = 0; i < NLM_CAPS_WEIGHTS; i++) {
        if (out->weight_layout[i] == NLM_LAYOUT_ROW_MAJOR || device->api.pack) continue;
        return say_no(out, "query names a packed layout, but the device has no function pack");
    }
    if (out->workspace_bytes > MAX_WORKSPACE || out->scratch_bytes > MAX_WORKSPACE) {
        return say_no(out, "query asks for more workspace than any machine has");
    }
    return NLM_OK;
}

static nlm_status query(const nlm_device *device, nlm_op op, const void *args, uint32_t nth, uint32_t flags,
                        nlm_caps_v1 *out) {
    char reason[96];
    if (!nlm_ops_has(&device->ops, op)) {
        snprintf(reason, sizeof reason, "the device has no op '%s'", nlm_op_name(op));
        return say_no(out, reason);
    }
    uint32_t size = 0;
    if (args) memcpy(&size, args, sizeof size); /* every argument struct starts with its size */
    if (size < nlm_ops_args_size(op)) {
        snprintf(reason, sizeof reason, "the arguments say they have %u bytes; expected %u", size,
                 nlm_ops_args_size(op));
        return say_no(out, reason);
    }
    *out = (nlm_caps_v1){.struct_size = (uint32_t)sizeof *out, .flags = flags};
    const nlm_status status = device->api.query(device->api.self, op, args, nth, out);
    out->struct_size = (uint32_t)sizeof *out;
    nlm_make_printable(out->reason, sizeof out->reason);
    if (status == NLM_OK) return check_yes(device, out);
    if (status != NLM_UNSUPPORTED) {
        snprintf(reason, sizeof reason, "query answered status %d (%s) in place of yes or no", status,
                 nlm_status_text(status));
        return say_no(out, reason);
    }
    if (!out->reason[0]) return say_no(out, "the backend gives no reason");
    return NLM_UNSUPPORTED;
}

nlm_status nlm_device_query(const nlm_device *device, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    return query(device, op, args, nth, 0, out);
}

nlm_status nlm_device_query_as_held(const nlm_device *device, nlm_op op, const void *args, uint32_t nth,
                                    nlm_caps_v1 *out) {
    return query(device, op, args, nth, NLM_CAPS_AS_HELD, out);
}

nlm_status nlm_device_probe(const nlm_device *device, uint32_t index, nlm_probed_v1 *out, nlm_error *err) {
    *out = (nlm_probed_v1){.struct_size = (uint32_t)sizeof *out};
    if (!device->probes.measure || index >= NLM_PROBES_MOST)
        return nlm_fail(err, NLM_NOT_FOUND, device->backend, "there is no probe %u", index);
    nlm_error fault = NLM_ERROR_INIT;
    const nlm_status status = nlm_clean_status(device->probes.measure(device->api.self, index, out, &fault));
    out->struct_size = (uint32_t)sizeof *out;
    nlm_make_printable(out->name, sizeof out->name);
    nlm_make_printable(out->unit, sizeof out->unit);
    nlm_make_printable(fault.msg, sizeof fault.msg);
    if (status == NLM_OK) return NLM_OK;
    return nlm_fail(err, status, device->backend, "%s", fault.msg[0] ? fault.msg : nlm_status_text(status));
}
