/* nlm.capture: work that is recorded once and done many times. */
#include <inttypes.h>
#include <stdlib.h>

#include "fake.h"

static void free_recording(fake_recording *recording) {
    while (recording->parts.first) {
        fake_work *part = fake_take_first(&recording->parts);
        for (uint32_t i = 0; i < part->n_named; i++) part->named[i]->n_recorded--;
        fake_drop(part);
    }
    free(recording);
}

static nlm_status begin(void *self, void *begun, nlm_error *error) {
    fake_device *device = self;
    fake_stream *stream = begun;
    const nlm_status status = fake_enter_on(device, stream, "begin", error);
    if (status != NLM_OK) return status;
    if (fake_is_listed(device->without, "capture")) return fake_fail(error, NLM_UNSUPPORTED, "told not to record");
    if (!stream) return fake_blame(device, error, "begin without a stream");
    if (device->recorder) return fake_leave(device, fake_blame(device, error, "begin while the stream records"));
    fake_recording *recording = calloc(1, sizeof *recording);
    if (!recording) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory to record");
    recording->device = device;
    recording->parts.last = &recording->parts.first;
    stream->recording = recording;
    stream->is_broken = false;
    device->recorder = stream;
    return NLM_OK;
}

static nlm_status end(void *self, void *stream, void **out_recording, nlm_error *error) {
    fake_device *device = self;
    const nlm_status status = fake_enter_on(device, stream, "end", error);
    if (status != NLM_OK) return status;
    if (!device->recorder) return fake_blame(device, error, "end, but the stream does not record");
    fake_recording *recording = device->recorder->recording;
    device->recorder->recording = NULL;
    device->recorder = NULL;
    recording->next = device->recordings;
    device->recordings = recording;
    *out_recording = recording;
    return NLM_OK;
}

static void abort_recording(void *self, void *stream) {
    fake_device *device = self;
    if (!stream || device->recorder != stream) {
        fake_log(device, NLM_LOG_ERROR, "abort, but the stream does not record");
        return;
    }
    fake_recording *recording = device->recorder->recording;
    device->recorder->recording = NULL;
    device->recorder = NULL;
    for (const fake_work *part = recording->parts.first; part && fake_lies(device, "abort"); part = part->next) {
        fake_work now = *part;
        if (part->kind != FAKE_RECORD) fake_do(device, &now, NULL);
    }
    free_recording(recording);
}

static nlm_status enqueue_part(fake_stream *stream, fake_recording *recording, const fake_work *part,
                               nlm_error *error) {
    fake_work work = *part;
    work.recording = recording;
    const nlm_status status = fake_append(&stream->queue, &work, error);
    if (status != NLM_OK) return status;
    for (uint32_t i = 0; i < part->n_named; i++) part->named[i]->holders++;
    if (part->event) part->event->holders++;
    recording->n_pending++;
    return NLM_OK;
}

static nlm_status launch(void *self, void *launched, void *stream, nlm_error *error) {
    fake_device *device = self;
    fake_recording *recording = launched;
    nlm_status status = fake_enter(device, "launch", error);
    if (status == NLM_OK) status = fake_enter_on(device, stream, "launch", error);
    if (status != NLM_OK) return status;
    if (!stream || recording->device != device) {
        return fake_blame(device, error, "launch without a stream, or of another device's recording");
    }
    if (recording->n_launches++ && fake_lies(device, "once")) return NLM_OK;
    for (const fake_work *part = recording->parts.first; part && status == NLM_OK; part = part->next) {
        status = enqueue_part(stream, recording, part, error);
    }
    return status;
}

static void destroy(void *self, void *destroyed) {
    fake_device *device = self;
    fake_recording *recording = destroyed;
    fake_enter_free(device, "destroy");
    if (recording->n_pending && !device->is_lost) {
        fake_log(device, NLM_LOG_ERROR, "a recording is destroyed, but %" PRIu64 " parts of a launch are pending",
                 recording->n_pending);
    }
    for (fake_stream *s = device->streams; s; s = s->next) {
        for (fake_work *work = s->queue.first; work; work = work->next) {
            if (work->recording == recording) work->recording = NULL;
        }
    }
    for (fake_recording **link = &device->recordings; *link; link = &(*link)->next) {
        if (*link != recording) continue;
        *link = recording->next;
        break;
    }
    free_recording(recording);
}

const nlm_capture_v1 fake_capture = {.struct_size = sizeof fake_capture,
                                     .begin = begin,
                                     .end = end,
                                     .abort = abort_recording,
                                     .launch = launch,
                                     .destroy = destroy};
