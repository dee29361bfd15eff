/* The stream devices of a program: what is enqueued on them, in which order, and how their errors are told. */
#include "base/clock.h"
#include "base/status.h"
#include "exec/dispatch.h"
#include "exec/program_impl.h"

#define WHERE "nlm_program_run"

static nlm_status sync_queue(nlm_queue *queue, nlm_error *err) {
    const nlm_device *device = queue->device;
    nlm_error cause = NLM_ERROR_INIT;
    queue->has_pending = false;
    const nlm_status status = nlm_clean_status(device->api.sync(device->api.self, queue->region->stream, &cause));
    if (status == NLM_OK) return NLM_OK;
    /* Which op it was the queue does not say. */
    nlm_fail(err, status, WHERE, "%s: %s", device->backend, cause.msg[0] ? cause.msg : nlm_status_text(status));
    if (err) err->native_code = cause.native_code;
    return status;
}

nlm_status nlm_queues_sync(nlm_program *program, nlm_error *err) {
    nlm_status first = NLM_OK;
    for (uint32_t d = 0; d < program->n_queues; d++) {
        nlm_queue *queue = &program->queues[d];
        if (!queue->has_pending) continue;
        const nlm_status status = sync_queue(queue, first == NLM_OK ? err : NULL);
        if (first == NLM_OK) first = status;
    }
    return first;
}

nlm_status nlm_queues_finish(nlm_program *program, nlm_error *err) {
    NLM_TRY(nlm_queues_sync(program, err));
    for (uint32_t d = 0; d < program->n_queues; d++) {
        if (program->queues[d].n_timed) NLM_TRY(nlm_timing_collect(program, &program->queues[d], err));
        program->queues[d].n_timed = 0; /* a run that has paused goes on */
    }
    return NLM_OK;
}

static void bind_queue(nlm_queue *queue) {
    const nlm_device_region *region = queue->region;
    if (queue->generation == region->generation) return;
    for (uint32_t i = 0; i < queue->n_rebinds; i++) {
        queue->rebinds[i].tensor->data = region->address + queue->rebinds[i].offset;
        queue->rebinds[i].tensor->buffer = region->buffer;
    }
    queue->worker.x.workspace = region->address + queue->workspace_offset;
    queue->worker.x.scratch = region->address + queue->scratch_offset;
    queue->generation = region->generation;
}

void nlm_queues_begin(nlm_program *program) {
    const int64_t max_context = nlm_context_bound(program->context_bucket);
    for (uint32_t d = 0; d < program->n_queues; d++) {
        nlm_queue *queue = &program->queues[d];
        if (!queue->device) continue;
        bind_queue(queue);
        queue->worker.x.live_rows = program->live_rows;
        queue->worker.x.max_context = max_context;
        queue->n_timed = 0;
    }
}

nlm_status nlm_queue_step(const nlm_program *program, nlm_queue *queue, uint32_t index, nlm_error *err) {
    const nlm_step *step = &program->steps[index];
    nlm_worker_clear(&queue->worker);
    const nlm_status status = nlm_dispatch(step->device, step->op, &queue->worker.x, &step->args);
    return status == NLM_OK ? NLM_OK : nlm_step_fail(step, status, &queue->worker.error, err);
}

/* For the profile of a device whose events have no time. */
static nlm_status run_and_wait(nlm_program *program, nlm_queue *queue, uint32_t step, nlm_error *err) {
    const uint64_t start_ns = nlm_clock_ns();
    NLM_TRY(nlm_queue_step(program, queue, step, err));
    NLM_TRY(sync_queue(queue, err));
    nlm_step_profile(program, &program->steps[step], nlm_clock_ns() - start_ns);
    return NLM_OK;
}

nlm_status nlm_queue_run(nlm_program *program, uint32_t index, nlm_error *err) {
    const nlm_item *item = &program->items[index];
    nlm_queue *queue = &program->queues[item->device];
    bool is_done = false;
    queue->has_pending = true;
    if (!program->env.profile) NLM_TRY(nlm_recording_run(program, index, &is_done, err));
    if (!is_done && program->times > 1) { /* the counts of what is enqueued op by op are the host's */
        return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "%s does not record the program, which runs in a row need",
                        queue->device->backend);
    }
    for (uint32_t i = item->first; !is_done && i < item->first + item->count; i++) {
        nlm_status status;
        if (queue->events)
            status = nlm_timing_run(program, queue, i, err);
        else if (program->env.profile)
            status = run_and_wait(program, queue, i, err);
        else
            status = nlm_queue_step(program, queue, i, err);
        NLM_TRY(status);
    }
    return NLM_OK;
}

static nlm_status upload(nlm_program *program, uint32_t device, const nlm_transfer *t, uint64_t bytes,
                         nlm_error *err) {
    nlm_queue *queue = &program->queues[device];
    const nlm_device_v1 *api = &queue->device->api;
    const nlm_device_region *region = queue->region;
    queue->has_pending = true;
    return api->upload(api->self, region->stream, region->buffer, t->to_offset, program->host_base + t->host_offset,
                       bytes, err);
}

static nlm_status download(nlm_program *program, uint32_t device, const nlm_transfer *t, char *to, uint64_t bytes,
                           nlm_error *err) {
    nlm_queue *queue = &program->queues[device];
    const nlm_device_v1 *api = &queue->device->api;
    const nlm_device_region *region = queue->region;
    queue->has_pending = true;
    return api->download(api->self, region->stream, region->buffer, t->from_offset, to, bytes, err);
}

/* From peer to peer; by way of the host if they cannot reach each other. */
static nlm_status copy(nlm_program *program, const nlm_transfer *t, uint64_t bytes, nlm_error *err) {
    nlm_queue *to = &program->queues[t->to - 1];
    const nlm_queue *from = &program->queues[t->from - 1];
    const nlm_device_v1 *api = &to->device->api;
    to->has_pending = true;
    const nlm_status status =
        api->copy_from(api->self, to->region->stream, to->region->buffer, t->to_offset, from->device->api.self,
                       from->region->buffer, t->from_offset, bytes, err);
    if (status != NLM_UNSUPPORTED) return status;
    NLM_TRY(nlm_queues_sync(program, err));
    NLM_TRY(download(program, t->from - 1, t, program->host_base + t->host_offset, bytes, err));
    NLM_TRY(nlm_queues_sync(program, err));
    return upload(program, t->to - 1, t, bytes, err);
}

nlm_status nlm_queue_transfer(nlm_program *program, const nlm_item *item, nlm_error *err) {
    const nlm_transfer *t = &item->transfer;
    const uint64_t bytes = (uint64_t)nlm_rows_of(t->rows, program->live_rows) * t->row_bytes;
    if (bytes == 0) return NLM_OK;
    char *landing = program->landings[item - program->items];
    nlm_status status;
    if (t->from == NLM_SPACE_HOST)
        status = upload(program, item->device, t, bytes, err);
    else if (t->to == NLM_SPACE_HOST)
        status =
            download(program, item->device, t, landing ? landing : program->host_base + t->host_offset, bytes, err);
    else
        status = copy(program, t, bytes, err);
    return nlm_status_prefix(status, err, "transfer of activations, on %s",
                             program->queues[item->device].device->backend);
}

/* The host stands between devices that do not know each other's events. */
static bool can_wait_for(const nlm_queue *queue, const nlm_queue *other) {
    return other->region->event && nlm_device_is_peer(queue->device, other->device);
}

nlm_status nlm_queue_order(nlm_program *program, const nlm_item *item, nlm_error *err) {
    nlm_queue *queue = &program->queues[item->device];
    const nlm_queue *before = &program->queues[item->after];
    if (!before->has_pending) return NLM_OK;
    if (!can_wait_for(queue, before)) return nlm_queues_sync(program, err);
    const nlm_device_v1 *from = &before->device->api, *to = &queue->device->api;
    nlm_status status = from->event_record(from->self, before->region->stream, before->region->event, err);
    if (status == NLM_OK) {
        status = to->event_wait(to->self, queue->region->stream, before->region->event, err);
        queue->has_pending = true;
    }
    return nlm_status_prefix(status, err, "%s waits for %s", queue->device->backend, before->device->backend);
}
