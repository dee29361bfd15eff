/* The plugin: what it is, opening and closing. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)error;
    const fake_device *device = self;
    nlm_device_info_v1 info = {.kind = NLM_DEVICE_STREAM,
                               .flags = device->claims | (device->is_shared ? NLM_DEVICE_HOST_MEMORY : 0),
                               .ordinal = device->ordinal,
                               .alignment_bytes = FAKE_ALIGNMENT,
                               .name = "a stream device that is not there",
                               .arch = "any"};
    info.struct_size = out->struct_size;
    memcpy(out, &info, out->struct_size < sizeof info ? out->struct_size : sizeof info);
    return NLM_OK;
}

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)error;
    out->device_count = fake_count_devices(host);
    return NLM_OK;
}

static const nlm_device_v1 all_slots = {.struct_size = sizeof all_slots,
                                        .ops = &fake_ops,
                                        .describe = describe,
                                        .query = fake_query,
                                        .pack_size = fake_pack_size,
                                        .pack = fake_pack,
                                        .buffer_alloc = fake_buffer_alloc,
                                        .buffer_free = fake_buffer_free,
                                        .upload = fake_upload,
                                        .download = fake_download,
                                        .copy = fake_copy,
                                        .stream_create = fake_stream_create,
                                        .stream_destroy = fake_stream_destroy,
                                        .sync = fake_sync,
                                        .event_create = fake_event_create,
                                        .event_destroy = fake_event_destroy,
                                        .event_record = fake_event_record,
                                        .event_wait = fake_event_wait,
                                        .prepare = fake_prepare,
                                        .fill = fake_fill,
                                        .host_alloc = fake_host_alloc,
                                        .host_free = fake_host_free,
                                        .event_query = fake_event_query,
                                        .event_elapsed = fake_event_elapsed,
                                        .pack_device = fake_pack_device,
                                        .copy_from = fake_copy_from};

static void remove_slots(nlm_device_v1 *api, const char *without) {
    if (fake_is_listed(without, "prepare")) api->prepare = NULL;
    if (fake_is_listed(without, "fill")) api->fill = NULL;
    if (fake_is_listed(without, "host_alloc")) api->host_alloc = NULL, api->host_free = NULL;
    if (fake_is_listed(without, "event_query")) api->event_query = NULL;
    if (fake_is_listed(without, "event_elapsed")) api->event_elapsed = NULL;
    if (fake_is_listed(without, "pack_device")) api->pack_device = NULL;
    if (fake_is_listed(without, "copy_from")) api->copy_from = NULL;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    fake_device *device = calloc(1, sizeof *device);
    if (!device) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for a device");
    device->host = host;
    device->ordinal = ordinal;
    device->next_address = FAKE_FIRST_ADDRESS * (ordinal + 1); /* no device's is another's */
    const nlm_status status = fake_scalar_open(host, &device->scalar, error);
    if (status != NLM_OK) {
        free(device);
        return status;
    }
    fake_read_options(device);
    device->api = all_slots;
    device->api.self = device;
    remove_slots(&device->api, device->without);
    *out_device = &device->api;
    return NLM_OK;
}

/* What the host left is lost on purpose: a leak checker shows from where. */
static void close_device(const nlm_device_v1 *closed) {
    fake_device *device = closed->self;
    size_t n_buffers = 0, n_streams = 0, n_pinned = 0, n_recordings = 0;
    for (const fake_buffer *b = device->buffers; b; b = b->next) n_buffers++;
    for (const fake_stream *s = device->streams; s; s = s->next) n_streams++;
    for (const fake_pinned *p = device->pinned; p; p = p->next) n_pinned++;
    for (const fake_recording *r = device->recordings; r; r = r->next) n_recordings++;
    if (n_buffers || n_streams || device->n_events || n_pinned || n_recordings) {
        fake_log(
            device, NLM_LOG_ERROR,
            "closed with %zu buffers, %zu streams, %u events, %zu blocks of pinned memory and %zu recordings left",
            n_buffers, n_streams, device->n_events, n_pinned, n_recordings);
    }
    fake_scalar_close(device->scalar);
    free(device->prepared);
    free(device);
}

/* Made up, but for the device's own number. */
static nlm_status read_metrics(void *self, nlm_device_metrics_v1 *out, nlm_error *error) {
    const fake_device *device = self;
    if (fake_is_listed(device->without, "metrics")) return fake_fail(error, NLM_UNSUPPORTED, "told not to measure");
    const nlm_device_metrics_v1 metrics = {.struct_size = out->struct_size,
                                           .known = NLM_METRIC_MEMORY | NLM_METRIC_TEMPERATURE | NLM_METRIC_POWER,
                                           .memory_used_bytes = 1 << 20,
                                           .memory_total_bytes = 1 << 30,
                                           .temperature_celsius = 40 + (int32_t)device->ordinal,
                                           .power_milliwatts = 70500};
    memcpy(out, &metrics, out->struct_size < sizeof metrics ? out->struct_size : sizeof metrics);
    return NLM_OK;
}

static const nlm_metrics_v1 fake_metrics = {.struct_size = sizeof fake_metrics, .read = read_metrics};

/* One that it has, and one that it lacks. */
static nlm_status measure_probe(void *self, uint32_t index, nlm_probed_v1 *out, nlm_error *error) {
    (void)self;
    if (index > 1) return fake_fail(error, NLM_NOT_FOUND, "there are two probes");
    snprintf(out->name, sizeof out->name, "%s", index == 0 ? "copy" : "gap");
    snprintf(out->unit, sizeof out->unit, "%s", index == 0 ? "GB/s" : "us");
    if (index == 1) return fake_fail(error, NLM_UNSUPPORTED, "its time stands still");
    out->value = 12.5;
    out->expected = 25;
    return NLM_OK;
}

static const nlm_probes_v1 fake_probes = {.struct_size = sizeof fake_probes, .measure = measure_probe};

static const void *extension(const char *name, uint32_t version) {
    if (strcmp(name, NLM_PROBES_EXTENSION) == 0 && version == 1) return &fake_probes;
    if (strcmp(name, NLM_CAPTURE_EXTENSION) == 0 && version == 1) return &fake_capture;
    return strcmp(name, NLM_METRICS_EXTENSION) == 0 && version == 1 ? &fake_metrics : NULL;
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = FAKE_NAME,
    .version = "1",
    .description = "a stream device for tests: late, unordered, failing on demand",
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .extension = extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
