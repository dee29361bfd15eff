/* The plugin's descriptor, and its device from open to close. */
#include "device.h"

static const nlm_device_info_v1 info = {
    .struct_size = sizeof info,
    .kind = NLM_DEVICE_STREAM,
    .flags = NLM_DEVICE_DETERMINISTIC | NLM_DEVICE_BATCH_INVARIANT,
    .alignment_bytes = 64,
    .name = "threads that stand for a device",
    .arch = "any",
};

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)self;
    return nlm_kit_describe((void *)(uintptr_t)&info, out, error);
}

static const nlm_device_v1 functions = {
    .struct_size = sizeof functions,
    .ops = &example_ops,
    .describe = describe,
    .query = query,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .upload = upload,
    .download = download,
    .copy = copy,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .sync = stream_sync,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_wait = event_wait,
};

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    if (ordinal != 0) {
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open", "device %u, but there is only device 0", ordinal);
    }
    device *d = host->alloc(host->self, sizeof *d, 64);
    if (!d) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "open", "no memory for a device");
    memset(d, 0, sizeof *d);
    d->api = functions;
    d->api.self = d;
    d->host = host;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->changed, NULL);
    *out_device = &d->api;
    return NLM_OK;
}

/* The host has destroyed its streams and freed its buffers. */
static void close_device(const nlm_device_v1 *closed) {
    device *d = closed->self;
    const nlm_host_v1 *host = d->host;
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    host->release(host->self, d);
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "example_stream",
    .version = "0.1",
    .description = "an example: streams and memory of its own, on threads",
    .probe = nlm_kit_probe_one,
    .open = open_device,
    .close = close_device,
    .extension = nlm_kit_no_extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
