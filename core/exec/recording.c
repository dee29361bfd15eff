/* Steps that a stream device records once and replays after: one call a run in place of one an op. A recording holds
 * addresses and a bound of positions; contents and the counts of live rows are read when it is replayed. */
#include "base/status.h"
#include "exec/program_impl.h"

#define WHERE "nlm_program_run"

/* The device cannot, or not so many: the steps are enqueued each time. */
static bool is_refusal(nlm_status status) {
    return status == NLM_UNSUPPORTED || status == NLM_LIMIT;
}

static nlm_status record_steps(const nlm_program *program, nlm_queue *queue, const nlm_item *item, nlm_error *err) {
    nlm_exec_v1 *x = &queue->worker.x;
    x->flags |= NLM_EXEC_RECORDING;
    x->live_rows = NULL;
    nlm_status status = NLM_OK;
    for (uint32_t i = item->first; i < item->first + item->count && status == NLM_OK; i++) {
        status = nlm_queue_step(program, queue, i, err);
    }
    x->flags &= ~NLM_EXEC_RECORDING;
    x->live_rows = program->live_rows;
    return status;
}

static nlm_status record(const nlm_program *program, nlm_queue *queue, const nlm_item *item, void **out_handle,
                         nlm_error *err) {
    const nlm_capture_v1 *capture = &queue->device->capture;
    void *self = queue->device->api.self, *stream = queue->region->stream;
    NLM_TRY(nlm_status_prefix(capture->begin(self, stream, err), err, "recording on %s", queue->device->backend));
    nlm_status status = record_steps(program, queue, item, err);
    if (status == NLM_OK) {
        status = nlm_status_prefix(capture->end(self, stream, out_handle, err), err, "recording on %s",
                                   queue->device->backend);
    }
    if (status != NLM_OK) capture->abort(self, stream);
    return status;
}

nlm_status nlm_recording_run(nlm_program *program, uint32_t item, bool *out_is_done, nlm_error *err) {
    nlm_recording *recordings = program->recordings[item];
    *out_is_done = false;
    if (!recordings) return NLM_OK;
    nlm_recording *recording = &recordings[program->context_bucket];
    nlm_queue *queue = &program->queues[program->items[item].device];
    if (!recording->handle && !recording->is_refused) {
        const nlm_status status = record(program, queue, &program->items[item], &recording->handle, err);
        if (status != NLM_OK) recording->handle = NULL;
        recording->is_refused = is_refusal(status);
        if (!recording->is_refused) NLM_TRY(status);
    }
    if (recording->is_refused) return NLM_OK;
    *out_is_done = true;
    const nlm_status status =
        queue->device->capture.launch(queue->device->api.self, recording->handle, queue->region->stream, err);
    return nlm_status_prefix(status, err, "replay on %s", queue->device->backend);
}

void nlm_recordings_drop(nlm_program *program, uint32_t device) {
    const nlm_device *of = program->queues[device].device;
    for (uint32_t i = 0; i < program->n_items; i++) {
        if (program->items[i].device != device) continue;
        for (uint32_t b = 0; program->recordings[i] && b < NLM_CONTEXT_BUCKETS; b++) {
            nlm_recording *recording = &program->recordings[i][b];
            if (recording->handle) of->capture.destroy(of->api.self, recording->handle);
            recording->handle = NULL;
        }
    }
}
