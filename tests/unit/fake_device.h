/* Devices for tests: each wraps the reference backend, opened through the registry, and adds what a
 * case needs: ops it refuses, failures, packed weights, or the manners of a GPU. */
#ifndef NLM_TESTS_FAKE_DEVICE_H
#define NLM_TESTS_FAKE_DEVICE_H

#include "base/status.h"
#include "exec/dispatch.h"
#include "exec/op_spec.h"
#include "plugin/plugins.h"
#include "tensor/dtype.h"
#include "unit/check.h"
#include "unit/fake_barrier.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define OP_BIT(name) (UINT64_C(1) << NLM_OP_##name)

/* Rows in reverse order: a layout that is easy to read with a negative stride, and wrong if read as
 * anything else. */
#define REVERSED_LAYOUT 7u

/* Added to every address of the fake stream device: what the host must never follow. */
#define FAR_AWAY ((uintptr_t)1 << 60)

typedef struct fake_device fake_device;

/* Work that a stream was given and has not done yet. */
typedef struct fake_work {
    nlm_op op; /* NLM_OP_NONE: a transfer, or a wait */
    nlm_any_args args;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    nlm_exec_v1 x;
    int32_t live_rows[NLM_ROWS_KINDS];
    void *to;
    const void *from;
    uint64_t bytes;
    fake_device *waited; /* until it has done so much work; NULL: no wait */
    uint64_t until;
} fake_work;

typedef struct fake_recording {
    fake_work *work;
    size_t n_work;
} fake_recording;

/* Stands behind the first `mark` things that the device's stream was given. */
typedef struct fake_event {
    fake_device *device;
    uint64_t mark;
} fake_event;

/* How often, and how many bytes. */
typedef struct fake_traffic {
    uint32_t calls;
    uint64_t bytes;
} fake_traffic;

struct fake_device {
    nlm_device device;
    nlm_device *inner;
    uint64_t refused;        /* OP_BITs that query says no to */
    uint64_t reversing;      /* OP_BITs whose weights it wants in REVERSED_LAYOUT */
    uint64_t reads_reversed; /* OP_BITs that take weights in it if they are so already */
    uint64_t takes_as_held;  /* OP_BITs of `reversing` that take others as they are */
    uint64_t with_workspace; /* OP_BITs that ask for a little workspace */
    nlm_op failing_op;       /* fails in worker failing_worker */
    uint32_t failing_worker;
    nlm_op waiting_op; /* its other workers wait at the slot's barrier */
    atomic_uint calls[NLM_OP_END];
    atomic_uint pack_calls, query_calls;
    bool pack_fails;
    uint32_t layout_version; /* of REVERSED_LAYOUT */
    /* stream devices */
    uintptr_t bias; /* of its addresses: FAR_AWAY, or 0 in host memory */
    fake_work *work;
    size_t n_work, work_capacity, next_work;
    uint64_t n_given, n_done; /* things, ever */
    nlm_status stuck;         /* an error of enqueued work */
    nlm_error stuck_error;
    uint64_t memory_left;
    uint32_t n_buffers, n_streams, n_events, n_syncs;
    fake_traffic uploads, downloads, peer_copies; /* on streams */
    /* optional slots */
    fake_recording *recording; /* under way */
    uint32_t n_recordings;     /* alive */
    uint32_t begins, aborts, launches;
    nlm_status begin_status, end_status, launch_status;
    nlm_op unrecordable; /* LIMIT while recording */
    int64_t max_context; /* of the last slot called */
    uint32_t prepared[NLM_OP_END];
    nlm_op unpreparable;
    uint32_t n_pinned, n_fills;
    nlm_status pack_device_status;
    int64_t packed_rows; /* of the weight under way */
    uint32_t packed_parts;
};

/* ---- the registry's reference backend ------------------------------------------------------------ */

static nlm_plugins *fake_plugins;

static inline nlm_device *open_reference(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_device *device = NULL;
    if (!fake_plugins) {
        const nlm_plugins_options options = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
        nlm_plugins_create(&options, &fake_plugins, &err);
    }
    if (fake_plugins) nlm_plugins_open(fake_plugins, "cpu_scalar", 0, NULL, &device, &err);
    if (!device) printf("\n%s: %s\n", err.where, err.msg);
    return device;
}

static inline void close_reference(nlm_device *device) {
    nlm_device_close(device);
    nlm_plugins_destroy(fake_plugins);
    fake_plugins = NULL;
}

/* ---- ops ------------------------------------------------------------------------------------------ */

static inline nlm_tensor unreversed(const nlm_tensor *tensor) {
    nlm_tensor plain = *tensor;
    if (tensor->layout != REVERSED_LAYOUT) return plain;
    plain.layout = NLM_LAYOUT_ROW_MAJOR;
    const int64_t row_bytes = (int64_t)nlm_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->shape[1]);
    plain.stride_bytes[0] = -row_bytes;
    if (plain.data) plain.data = (char *)plain.data + (tensor->shape[0] - 1) * row_bytes;
    return plain;
}

/* A copy of the arguments whose tensors are row-major ones in `tensors`. */
static inline void copy_args(nlm_op op, const void *args, nlm_any_args *out, nlm_tensor *tensors, uintptr_t bias) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    memcpy(out, args, spec->args_bytes);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(out, &spec->fields[i]);
        if (!tensor) continue;
        tensors[i] = *tensor;
        if (tensors[i].data) tensors[i].data = (void *)((uintptr_t)tensors[i].data - bias);
        tensors[i] = unreversed(&tensors[i]);
        nlm_args_set_tensor(out, &spec->fields[i], &tensors[i]);
    }
}

static inline nlm_status run_now(fake_device *fake, const nlm_exec_v1 *x, nlm_op op, const void *args) {
    if (op == fake->failing_op && x->ith == fake->failing_worker) {
        return nlm_fail(x->error, NLM_DEVICE_ERROR, "fake", "worker %u was told to fail", x->ith);
    }
    if (op == fake->waiting_op) NLM_TRY(x->barrier(x));
    nlm_any_args plain;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    copy_args(op, args, &plain, tensors, 0);
    nlm_exec_v1 inner = *x;
    inner.device = fake->inner->api.self;
    return nlm_dispatch(fake->inner, op, &inner, &plain);
}

static inline fake_work *add_recorded(fake_recording *recording) {
    recording->work = realloc(recording->work, (recording->n_work + 1) * sizeof *recording->work);
    fake_work *work = &recording->work[recording->n_work++];
    memset(work, 0, sizeof *work);
    return work;
}

static inline fake_work *add_work(fake_device *fake) {
    if (fake->recording) return add_recorded(fake->recording);
    if (fake->n_work == fake->work_capacity) {
        fake->work_capacity = fake->work_capacity ? fake->work_capacity * 2 : 16;
        fake->work = realloc(fake->work, fake->work_capacity * sizeof *fake->work);
    }
    fake_work *work = &fake->work[fake->n_work++];
    memset(work, 0, sizeof *work);
    fake->n_given++;
    return work;
}

/* Keeps all that the call's pointers lead to: they are valid for the call only. */
static inline nlm_status run_later(fake_device *fake, const nlm_exec_v1 *x, nlm_op op, const void *args) {
    const bool is_recording = (x->flags & NLM_EXEC_RECORDING) != 0;
    if (is_recording != (fake->recording != NULL) || (is_recording && x->live_rows)) {
        return nlm_fail(x->error, NLM_INTERNAL, "fake", "a slot was told otherwise than nlm.capture");
    }
    if (is_recording && op == fake->unrecordable) return NLM_LIMIT;
    fake->max_context = x->max_context;
    fake_work *work = add_work(fake);
    work->op = op;
    memcpy(&work->args, args, nlm_op_spec_of(op)->args_bytes);
    copy_args(op, args, &work->args, work->tensors, fake->bias);
    work->x = *x;
    if (x->live_rows) memcpy(work->live_rows, x->live_rows, sizeof work->live_rows);
    return NLM_OK;
}

static inline nlm_status fake_run(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    fake_device *fake = x->device;
    atomic_fetch_add(&fake->calls[op], 1);
    if (nlm_device_is_sliced(&fake->device)) return run_now(fake, x, op, args);
    return run_later(fake, x, op, args);
}

#define NLM_OP(number, name)                                                                    \
    static inline nlm_status slot_##name(const nlm_exec_v1 *x, const nlm_##name##_args *args) { \
        return fake_run(x, number, args);                                                       \
    }
#include <nlm/ops.def>
#undef NLM_OP

static inline nlm_status fake_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    fake_device *fake = self;
    atomic_fetch_add(&fake->query_calls, 1);
    if (fake->refused & (UINT64_C(1) << op)) {
        snprintf(out->reason, sizeof out->reason, "told to refuse %s", nlm_op_name(op));
        return NLM_UNSUPPORTED;
    }
    bool has_reversed = false;
    const bool is_as_held = (fake->takes_as_held & (UINT64_C(1) << op)) && (out->flags & NLM_CAPS_AS_HELD);
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(args, &spec->fields[i]);
        if (tensor && tensor->layout == REVERSED_LAYOUT) has_reversed = true;
    }
    if (has_reversed && !((fake->reversing | fake->reads_reversed) & (UINT64_C(1) << op))) {
        snprintf(out->reason, sizeof out->reason, "reads row-major weights alone");
        return NLM_UNSUPPORTED;
    }
    nlm_any_args plain;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    copy_args(op, args, &plain, tensors, 0);
    const nlm_status status = fake->inner->api.query(fake->inner->api.self, op, &plain, nth, out);
    if (fake->with_workspace & (UINT64_C(1) << op)) out->workspace_bytes += 64;
    for (int i = 0; i < NLM_CAPS_WEIGHTS; i++) {
        if (((fake->reversing & (UINT64_C(1) << op)) && !is_as_held) || has_reversed)
            out->weight_layout[i] = REVERSED_LAYOUT;
    }
    return status;
}

/* ---- packing -------------------------------------------------------------------------------------- */

static inline nlm_status fake_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                                        nlm_pack_info_v1 *out, nlm_error *err) {
    (void)layout;
    (void)roles;
    (void)err;
    out->bytes = nlm_tensor_bytes(w);
    out->row_multiple = 2;
    out->layout_version = ((fake_device *)self)->layout_version;
    return NLM_OK;
}

static inline nlm_status fake_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                                   int64_t row_to, void *packed, nlm_error *err) {
    fake_device *fake = self;
    atomic_fetch_add(&fake->pack_calls, 1);
    if (fake->pack_fails || layout != REVERSED_LAYOUT || row_from % 2 != 0) {
        return nlm_fail(err, NLM_NUMERIC, "fake", "told not to pack (roles %u)", roles);
    }
    const size_t row_bytes = (size_t)w->stride_bytes[0];
    for (int64_t row = row_from; row < row_to; row++) {
        memcpy((char *)packed + (size_t)(w->shape[0] - 1 - row) * row_bytes,
               (char *)w->data + (size_t)row * row_bytes, row_bytes);
    }
    return NLM_OK;
}

/* ---- the stream device's memory and queue ------------------------------------------------------------ */

static inline nlm_status fake_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address,
                                    nlm_error *err) {
    fake_device *fake = self;
    if (bytes > fake->memory_left)
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "fake", "no %llu bytes", (unsigned long long)bytes);
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(memory, 0xff, bytes); /* f32 NaN: what is read before it is written shows */
    fake->memory_left -= bytes;
    fake->n_buffers++;
    *out_buffer = (uint64_t)(uintptr_t)memory;
    *out_address = (void *)((uintptr_t)memory + fake->bias);
    return NLM_OK;
}

static inline void fake_free(void *self, uint64_t buffer) {
    fake_device *fake = self;
    fake->n_buffers--;
    free((void *)(uintptr_t)buffer);
}

static inline nlm_status move_bytes(fake_device *fake, void *stream, void *to, const void *from, uint64_t bytes,
                                    fake_traffic *traffic) {
    if (!stream) {
        memmove(to, from, bytes);
        return NLM_OK;
    }
    fake_work *work = add_work(fake);
    work->to = to;
    work->from = from;
    work->bytes = bytes;
    if (traffic) {
        traffic->calls++;
        traffic->bytes += bytes;
    }
    return NLM_OK;
}

static inline nlm_status fake_upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host,
                                     uint64_t bytes, nlm_error *err) {
    (void)err;
    fake_device *fake = self;
    return move_bytes(fake, stream, (char *)(uintptr_t)buffer + offset, host, bytes, &fake->uploads);
}

static inline nlm_status fake_download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host,
                                       uint64_t bytes, nlm_error *err) {
    (void)err;
    fake_device *fake = self;
    return move_bytes(fake, stream, host, (char *)(uintptr_t)buffer + offset, bytes, &fake->downloads);
}

static inline nlm_status fake_copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset,
                                   uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *err) {
    (void)err;
    return move_bytes(self, stream, (char *)(uintptr_t)to_buffer + to_offset,
                      (char *)(uintptr_t)from_buffer + from_offset, bytes, NULL);
}

static inline nlm_status fake_copy_from(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                                        uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *err) {
    (void)peer;
    (void)err;
    fake_device *fake = self;
    return move_bytes(fake, stream, (char *)(uintptr_t)to_buffer + to_offset,
                      (char *)(uintptr_t)from_buffer + from_offset, bytes, &fake->peer_copies);
}

static inline nlm_status fake_stream_create(void *self, void **out_stream, nlm_error *err) {
    (void)err;
    fake_device *fake = self;
    fake->n_streams++;
    *out_stream = fake;
    return NLM_OK;
}

static inline void fake_stream_destroy(void *self, void *stream) {
    (void)stream;
    ((fake_device *)self)->n_streams--;
}

static inline void do_until(fake_device *fake, uint64_t until);

static inline void do_work(fake_device *fake, fake_work *work) {
    if (work->waited) {
        do_until(work->waited, work->until);
        return;
    }
    if (work->op == NLM_OP_NONE) {
        memmove(work->to, work->from, work->bytes);
        return;
    }
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (nlm_args_tensor(&work->args, &spec->fields[i])) {
            nlm_args_set_tensor(&work->args, &spec->fields[i], &work->tensors[i]);
        }
    }
    work->x.workspace = (void *)((uintptr_t)work->x.workspace - fake->bias);
    work->x.scratch = (void *)((uintptr_t)work->x.scratch - fake->bias);
    const int32_t *counts = (const int32_t *)((uintptr_t)work->x.live_rows_device - fake->bias);
    if (work->x.live_rows && memcmp(counts, work->live_rows, sizeof work->live_rows) != 0) {
        fake->stuck = nlm_fail(&fake->stuck_error, NLM_INTERNAL, "fake", "the counts differ on the device");
        return;
    }
    work->x.live_rows = counts;
    work->x.error = &fake->stuck_error;
    work->x.barrier = fake_alone;
    fake->stuck = run_now(fake, &work->x, work->op, &work->args);
}

/* What follows a failure is not done. */
static inline void do_until(fake_device *fake, uint64_t until) {
    while (fake->n_done < until) {
        fake->n_done++;
        fake_work *work = &fake->work[fake->next_work++];
        if (fake->stuck == NLM_OK) do_work(fake, work);
    }
}

/* All that was enqueued happens here, not before, unless another stream waits for it. */
static inline nlm_status fake_sync(void *self, void *stream, nlm_error *err) {
    (void)stream;
    fake_device *fake = self;
    fake->n_syncs++;
    do_until(fake, fake->n_given);
    fake->n_work = 0;
    fake->next_work = 0;
    const nlm_status status = fake->stuck;
    if (status != NLM_OK && err) *err = fake->stuck_error;
    fake->stuck = NLM_OK;
    return status;
}

static inline nlm_status fake_event_create(void *self, uint32_t flags, void **out_event, nlm_error *err) {
    (void)flags;
    (void)err;
    fake_event *event = calloc(1, sizeof *event);
    event->device = self;
    event->device->n_events++;
    *out_event = event;
    return NLM_OK;
}

static inline void fake_event_destroy(void *self, void *event) {
    ((fake_device *)self)->n_events--;
    free(event);
}

static inline nlm_status fake_event_record(void *self, void *stream, void *event, nlm_error *err) {
    (void)stream;
    (void)err;
    ((fake_event *)event)->mark = ((fake_device *)self)->n_given;
    return NLM_OK;
}

static inline nlm_status fake_event_wait(void *self, void *stream, void *waited, nlm_error *err) {
    (void)stream;
    (void)err;
    const fake_event *event = waited;
    fake_work *work = add_work(self);
    work->waited = event->device;
    work->until = event->mark;
    return NLM_OK;
}

/* ---- making them ------------------------------------------------------------------------------------- */

static inline void fake_init(fake_device *fake, nlm_device *inner, const char *name, uint32_t kind) {
    memset(fake, 0, sizeof *fake);
    fake->inner = inner;
    fake->memory_left = UINT64_MAX;
    nlm_device *device = &fake->device;
    device->backend = name;
    device->info = (nlm_device_info_v1){.struct_size = sizeof device->info, .kind = kind};
    device->ops.struct_size = sizeof device->ops;
#define NLM_OP(number, op) device->ops.op = slot_##op;
#include <nlm/ops.def>
#undef NLM_OP
    device->api = (nlm_device_v1){.struct_size = sizeof device->api,
                                  .self = fake,
                                  .ops = &device->ops,
                                  .query = fake_query,
                                  .pack_size = fake_pack_size,
                                  .pack = fake_pack};
}

static inline void fake_sliced(fake_device *fake, nlm_device *inner, const char *name) {
    fake_init(fake, inner, name, NLM_DEVICE_SLICED);
    fake->device.info.flags = NLM_DEVICE_HOST_MEMORY;
}

static inline void fake_stream(fake_device *fake, nlm_device *inner, const char *name) {
    fake_init(fake, inner, name, NLM_DEVICE_STREAM);
    fake->bias = FAR_AWAY;
    nlm_device_v1 *api = &fake->device.api;
    api->buffer_alloc = fake_alloc;
    api->buffer_free = fake_free;
    api->upload = fake_upload;
    api->download = fake_download;
    api->copy = fake_copy;
    api->stream_create = fake_stream_create;
    api->stream_destroy = fake_stream_destroy;
    api->sync = fake_sync;
    api->event_create = fake_event_create;
    api->event_destroy = fake_event_destroy;
    api->event_record = fake_event_record;
    api->event_wait = fake_event_wait;
}

/* A queue over the host's own memory, as integrated GPUs and NPUs have. */
static inline void fake_shared_stream(fake_device *fake, nlm_device *inner, const char *name) {
    fake_stream(fake, inner, name);
    fake->bias = 0;
    fake->device.info.flags = NLM_DEVICE_HOST_MEMORY;
    nlm_device_v1 *api = &fake->device.api;
    api->buffer_alloc = NULL;
    api->buffer_free = NULL;
    api->upload = NULL;
    api->download = NULL;
    api->copy = NULL;
}

static inline void fake_release(fake_device *fake) {
    free(fake->work);
    fake->work = NULL;
}

#endif
