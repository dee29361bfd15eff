/* How long ops take on a stream device: between two events where it can time them, else by the host's clock from the
 * call to the end of a sync. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "exec/dispatch.h"
#include "perf.h"

/* ---- the queue ---- */

nlm_status perf_queue_open(const nlm_device *device, uint64_t cold_bytes, perf_queue *queue, nlm_error *err) {
    const nlm_device_v1 *api = &device->api;
    *queue = (perf_queue){.device = device, .cold_bytes = cold_bytes};
    NLM_TRY(api->stream_create(api->self, &queue->stream, err));
    for (int i = 0; api->event_elapsed && i < 2; i++) {
        NLM_TRY(api->event_create(api->self, NLM_EVENT_TIMING, &queue->events[i], err));
    }
    if (nlm_device_has_host_memory(device)) return NLM_OK;
    void *address;
    return api->buffer_alloc(api->self, cold_bytes, &queue->cold_buffer, &address, err);
}

void perf_queue_close(perf_queue *queue) {
    if (!queue->device) return;
    const nlm_device_v1 *api = &queue->device->api;
    for (int i = 0; i < 2; i++) {
        if (queue->events[i]) api->event_destroy(api->self, queue->events[i]);
    }
    if (queue->cold_buffer) api->buffer_free(api->self, queue->cold_buffer);
    if (queue->stream) {
        api->sync(api->self, queue->stream, NULL);
        api->stream_destroy(api->self, queue->stream);
    }
    *queue = (perf_queue){0};
}

/* ---- placing ---- */

static nlm_status to_device(bench *b, int index, const void *host, uint64_t bytes, void **out_address,
                            nlm_error *err) {
    const nlm_device_v1 *api = &b->device->api;
    NLM_TRY(api->buffer_alloc(api->self, bytes, &b->buffers[index], out_address, err));
    return host ? api->upload(api->self, NULL, b->buffers[index], 0, host, bytes, err) : NLM_OK;
}

static nlm_status move_all(bench *b, nlm_error *err) {
    for (int i = 0; i < b->in.n_tensors; i++) {
        void *address;
        NLM_TRY(to_device(b, i, b->memory[i], b->bytes[i], &address, err));
        b->descs[i].data = address;
        b->descs[i].buffer = b->buffers[i];
    }
    free(b->workspace);
    free(b->scratch);
    b->workspace = b->scratch = NULL; /* from here on device addresses */
    if (b->caps.workspace_bytes)
        NLM_TRY(to_device(b, NLM_OP_MAX_FIELDS, NULL, b->caps.workspace_bytes, &b->workspace, err));
    if (b->caps.scratch_bytes)
        NLM_TRY(to_device(b, NLM_OP_MAX_FIELDS + 1, NULL, b->caps.scratch_bytes, &b->scratch, err));
    return NLM_OK;
}

nlm_status perf_stream_place(bench *b, nlm_error *err) {
    const nlm_device_v1 *api = &b->device->api;
    if (!nlm_device_has_host_memory(b->device)) NLM_TRY(move_all(b, err));
    return api->prepare ? api->prepare(api->self, b->in.c.op, &b->args, 1, err) : NLM_OK;
}

void perf_stream_release(bench *b) {
    const nlm_device_v1 *api = &b->device->api;
    if (nlm_device_has_host_memory(b->device)) return;
    b->workspace = b->scratch = NULL;
    for (size_t i = 0; i < sizeof b->buffers / sizeof *b->buffers; i++) {
        if (b->buffers[i]) api->buffer_free(api->self, b->buffers[i]);
    }
}

/* ---- running ---- */

static nlm_status enqueue(const bench *b, nlm_error *err) {
    const nlm_exec_v1 x = {.struct_size = sizeof x,
                           .nth = 1,
                           .device = b->device->api.self,
                           .stream = b->queue->stream,
                           .workspace = b->workspace,
                           .workspace_bytes = b->caps.workspace_bytes,
                           .scratch = b->scratch,
                           .scratch_bytes = b->caps.scratch_bytes,
                           .live_rows = b->in.live,
                           .error = err};
    return nlm_dispatch(b->device, b->in.c.op, &x, &b->args);
}

/* Overwrites what is cached on the device. */
static nlm_status cool(const bench *b, nlm_error *err) {
    const nlm_device_v1 *api = &b->device->api;
    const perf_queue *q = b->queue;
    const uint64_t half = q->cold_bytes / 2;
    if (!b->is_cold || !q->cold_buffer) return NLM_OK;
    NLM_TRY(api->copy(api->self, q->stream, q->cold_buffer, half, q->cold_buffer, 0, half, err));
    return q->events[0] ? NLM_OK : api->sync(api->self, q->stream, err);
}

static nlm_status run_once(const bench *b, uint64_t *out_ns, nlm_error *err) {
    const nlm_device_v1 *api = &b->device->api;
    const perf_queue *q = b->queue;
    NLM_TRY(cool(b, err));
    const uint64_t start = nlm_clock_ns();
    if (q->events[0]) NLM_TRY(api->event_record(api->self, q->stream, q->events[0], err));
    NLM_TRY(enqueue(b, err));
    if (q->events[0]) NLM_TRY(api->event_record(api->self, q->stream, q->events[1], err));
    NLM_TRY(api->sync(api->self, q->stream, err));
    *out_ns = nlm_clock_ns() - start;
    return q->events[0] ? api->event_elapsed(api->self, q->events[0], q->events[1], out_ns, err) : NLM_OK;
}

nlm_status perf_stream_run(bench *b, nlm_error *err) {
    for (int i = 0; i < b->runs; i++) NLM_TRY(run_once(b, &b->times[i], err));
    return NLM_OK;
}
