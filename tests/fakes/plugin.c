/* The plugin: what it answers, and calls that become work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/* cpu_scalar's, under another name. */
const nlm_plugin_v1 *nlm_fake_scalar_query(uint32_t host_minor);

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)error;
    const fake_device *device = self;
    nlm_device_info_v1 info = {.kind = NLM_DEVICE_STREAM,
                               .ordinal = device->ordinal,
                               .alignment_bytes = FAKE_ALIGNMENT,
                               .name = "a stream device that is not there",
                               .arch = "any"};
    info.struct_size = out->struct_size;
    memcpy(out, &info, out->struct_size < sizeof info ? out->struct_size : sizeof info);
    return NLM_OK;
}

/* ---- query ---- */

/* Is the op one of the words of `list`? */
static bool is_listed(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = strstr(list, name); at; at = strstr(at + 1, name)) {
        const bool begins = at == list || at[-1] == ' ';
        if (begins && (at[length] == ' ' || at[length] == 0)) return true;
    }
    return false;
}

/* As the scalar ops see the arguments: reversed weights are row-major ones. */
static bool copy_args(nlm_op op, const void *args, nlm_any_args *out, nlm_tensor *tensors) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    bool has_reversed = false;
    memcpy(out, args, spec->args_bytes);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(out, &spec->fields[i]);
        if (!tensor) continue;
        tensors[i] = *tensor;
        if (tensor->layout == FAKE_REVERSED && op == NLM_OP_matmul) {
            tensors[i].layout = NLM_LAYOUT_ROW_MAJOR;
            has_reversed = true;
        }
        nlm_args_set_tensor(out, &spec->fields[i], &tensors[i]);
    }
    return has_reversed;
}

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    const fake_device *device = self;
    nlm_any_args plain;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    (void)nth;
    if (op < 1 || op >= NLM_OP_END) {
        snprintf(out->reason, sizeof out->reason, "not an op it knows");
        return NLM_UNSUPPORTED;
    }
    if (is_listed(device->refuse, nlm_op_spec_of(op)->name)) {
        snprintf(out->reason, sizeof out->reason, "told to refuse %s", nlm_op_spec_of(op)->name);
        return NLM_UNSUPPORTED;
    }
    uint32_t args_bytes;
    memcpy(&args_bytes, args, sizeof args_bytes);
    if (args_bytes < nlm_op_spec_of(op)->args_bytes) {
        snprintf(out->reason, sizeof out->reason, "the arguments are cut short");
        return NLM_UNSUPPORTED;
    }
    copy_args(op, args, &plain, tensors);
    const nlm_status status = device->scalar->query(device->scalar->self, op, &plain, 1, out);
    if (status == NLM_OK && op == NLM_OP_matmul && device->wants_packed) out->weight_layout = FAKE_REVERSED;
    return status;
}

static nlm_status pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                            nlm_error *error) {
    (void)self;
    (void)roles;
    if (layout != FAKE_REVERSED) return fake_fail(error, NLM_INVALID_ARGUMENT, "layout %u is not known", layout);
    out->bytes = (uint64_t)w->shape[0] * fake_row_bytes(w);
    out->row_multiple = 1;
    return NLM_OK;
}

static nlm_status pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                       int64_t row_to, void *packed, nlm_error *error) {
    (void)self;
    (void)roles;
    if (layout != FAKE_REVERSED) return fake_fail(error, NLM_INVALID_ARGUMENT, "layout %u is not known", layout);
    const size_t row_bytes = fake_row_bytes(w);
    for (int64_t row = row_from; row < row_to; row++) {
        memcpy((char *)packed + (size_t)(w->shape[0] - 1 - row) * row_bytes,
               (const char *)w->data + row * w->stride_bytes[0], row_bytes);
    }
    return NLM_OK;
}

/* ---- calls that become work ---- */

static nlm_status transfer(void *self, void *stream, fake_work *work, const char *call, nlm_error *error) {
    const nlm_status status = fake_enter(self, call, error);
    if (status != NLM_OK) return status;
    return stream ? fake_enqueue(stream, work, error) : fake_do(self, work, error);
}

static nlm_status upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                         nlm_error *error) {
    fake_work work = {.kind = FAKE_UPLOAD, .to = {buffer, offset}, .host_from = host, .bytes = bytes};
    return transfer(self, stream, &work, "upload", error);
}

static nlm_status download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                           nlm_error *error) {
    fake_work work = {.kind = FAKE_DOWNLOAD, .from = {buffer, offset}, .host_to = host, .bytes = bytes};
    return transfer(self, stream, &work, "download", error);
}

static nlm_status copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                       uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    fake_work work = {
        .kind = FAKE_COPY, .to = {to_buffer, to_offset}, .from = {from_buffer, from_offset}, .bytes = bytes};
    return transfer(self, stream, &work, "copy", error);
}

/* What the call's pointers lead to is valid for the call only. */
static nlm_status enqueue_op(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    const nlm_status status = fake_enter(x->device, nlm_op_spec_of(op)->name, x->error);
    if (status != NLM_OK) return status;
    fake_work work = {.kind = FAKE_OP, .op = op, .x = *x};
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    memcpy(&work.args, args, spec->args_bytes);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(&work.args, &spec->fields[i]);
        if (tensor) work.tensors[i] = *tensor;
    }
    for (uint32_t kind = 0; kind < NLM_ROWS_KINDS; kind++) {
        work.live_rows[kind] = x->live_rows ? x->live_rows[kind] : INT32_MAX;
    }
    return fake_enqueue(x->stream, &work, x->error);
}

#define NLM_OP(number, name)                                                                \
    static nlm_status enqueue_##name(const nlm_exec_v1 *x, const nlm_##name##_args *args) { \
        return enqueue_op(x, number, args);                                                 \
    }
#include <nlm/ops.def>
#undef NLM_OP

static const nlm_ops_v1 ops = {
    .struct_size = sizeof ops,
#define NLM_OP(number, name) .name = enqueue_##name,
#include <nlm/ops.def>
#undef NLM_OP
};

/* ---- the plugin ---- */

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    return NLM_OK;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    fake_device *device = calloc(1, sizeof *device);
    if (!device) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for a device");
    device->host = host;
    device->ordinal = ordinal;
    device->next_address = FAKE_FIRST_ADDRESS;
    const nlm_status status = nlm_fake_scalar_query(0)->open(host, 0, &device->scalar, error);
    if (status != NLM_OK) {
        free(device);
        return status;
    }
    fake_read_options(device);
    device->api = (nlm_device_v1){.struct_size = sizeof device->api,
                                  .self = device,
                                  .ops = &ops,
                                  .describe = describe,
                                  .query = query,
                                  .pack_size = pack_size,
                                  .pack = pack,
                                  .buffer_alloc = fake_buffer_alloc,
                                  .buffer_free = fake_buffer_free,
                                  .upload = upload,
                                  .download = download,
                                  .copy = copy,
                                  .stream_create = fake_stream_create,
                                  .stream_destroy = fake_stream_destroy,
                                  .sync = fake_sync,
                                  .event_create = fake_event_create,
                                  .event_destroy = fake_event_destroy,
                                  .event_record = fake_event_record,
                                  .event_wait = fake_event_wait};
    *out_device = &device->api;
    return NLM_OK;
}

/* What the host left is lost on purpose: a leak checker shows from where. */
static void close_device(const nlm_device_v1 *closed) {
    fake_device *device = closed->self;
    size_t n_buffers = 0, n_streams = 0;
    for (const fake_buffer *b = device->buffers; b; b = b->next) n_buffers++;
    for (const fake_stream *s = device->streams; s; s = s->next) n_streams++;
    if (n_buffers || n_streams || device->n_events) {
        fake_log(device, NLM_LOG_ERROR, "closed with %zu buffers, %zu streams and %u events left", n_buffers,
                 n_streams, device->n_events);
    }
    nlm_fake_scalar_query(0)->close(device->scalar);
    free(device);
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
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
