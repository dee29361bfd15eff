/* Streams that are as late and as unordered as the contract lets them be. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

enum { WORK_NS = 1000 };

nlm_status fake_do(fake_device *device, fake_work *work, nlm_error *error) {
    device->clock_ns += WORK_NS + work->bytes;
    switch (work->kind) {
        case FAKE_OP: return fake_do_op(device, work, error);
        case FAKE_RECORD:
            if (!work->recording) fake_reach(device, work->event);
            return NLM_OK;
        case FAKE_WAIT: return NLM_OK;
        default: fake_do_transfer(work); return NLM_OK;
    }
}

/* ---- queues ---- */

nlm_status fake_append(fake_queue *queue, const fake_work *work, nlm_error *error) {
    fake_work *copy = malloc(sizeof *copy);
    if (!copy) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for work");
    *copy = *work;
    copy->next = NULL;
    *queue->last = copy;
    queue->last = &copy->next;
    return NLM_OK;
}

fake_work *fake_take_first(fake_queue *queue) {
    fake_work *work = queue->first;
    queue->first = work->next;
    if (!queue->first) queue->last = &queue->first;
    return work;
}

void fake_drop(fake_work *work) {
    if (work->recording) work->recording->n_pending--;
    fake_let_go(work->event);
    fake_release(work);
    free(work);
}

nlm_status fake_enqueue(fake_device *device, fake_stream *stream, fake_work *work, nlm_error *error) {
    if (!device->recorder) {
        const nlm_status status = fake_append(&stream->queue, work, error);
        if (status != NLM_OK) fake_release(work);
        return status;
    }
    fake_recording *recording = stream->recording;
    nlm_status status = NLM_OK;
    if (recording->n_parts == device->max_parts) {
        status = fake_fail(error, NLM_LIMIT, "told to record no more parts than these");
    }
    if (status == NLM_OK) status = fake_append(&recording->parts, work, error);
    if (status == NLM_OK && fake_lies(device, "eager")) {
        fake_work now = *work;
        status = fake_do(device, &now, error);
    }
    if (status != NLM_OK) {
        fake_release(work);
        return status;
    }
    recording->n_parts++;
    for (uint32_t i = 0; i < work->n_named; i++) work->named[i]->n_recorded++;
    return NLM_OK;
}

/* ---- streams ---- */

nlm_status fake_stream_create(void *self, void **out_stream, nlm_error *error) {
    fake_device *device = self;
    const nlm_status status = fake_enter(device, "stream_create", error);
    if (status != NLM_OK) return status;
    fake_stream *stream = calloc(1, sizeof *stream);
    if (!stream) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for a stream");
    stream->next = device->streams;
    stream->queue.last = &stream->queue.first;
    stream->error = (nlm_error)NLM_ERROR_INIT;
    device->streams = stream;
    *out_stream = stream;
    return NLM_OK;
}

static void drop_work(fake_device *device, fake_stream *stream) {
    while (stream->queue.first) {
        fake_work *work = fake_take_first(&stream->queue);
        if (work->kind == FAKE_RECORD && !work->recording) fake_reach(device, work->event);
        fake_drop(work);
    }
}

void fake_stream_destroy(void *self, void *destroyed) {
    fake_device *device = self;
    fake_stream *stream = destroyed;
    fake_enter_free(device, "stream_destroy");
    if (device->recorder == stream) fake_capture.abort(device, stream);
    for (fake_stream **link = &device->streams; *link; link = &(*link)->next) {
        if (*link != stream) continue;
        *link = stream->next;
        break;
    }
    if (stream->queue.first && !device->is_lost)
        fake_log(device, NLM_LOG_ERROR, "a stream is destroyed before its work is done");
    drop_work(device, stream);
    free(stream);
}

static bool is_ready(const fake_stream *stream) {
    const fake_work *work = stream->queue.first;
    return work && (work->kind != FAKE_WAIT || work->recording || work->event->reached >= work->turn);
}

/* A ready stream by lot. */
static fake_stream *choose(fake_device *device) {
    uint64_t n_ready = 0;
    for (fake_stream *s = device->streams; s; s = s->next) n_ready += is_ready(s) ? 1 : 0;
    if (n_ready == 0) return NULL;
    device->random = device->random * 6364136223846793005u + 1442695040888963407u;
    uint64_t number = (device->random >> 33) % n_ready;
    for (fake_stream *s = device->streams; s; s = s->next) {
        if (is_ready(s) && number-- == 0) return s;
    }
    return NULL;
}

static bool is_event(const fake_work *work) {
    return work->kind == FAKE_RECORD || work->kind == FAKE_WAIT;
}

/* Puts the first thing behind the second. */
static void overtake(fake_queue *queue) {
    fake_work *first = queue->first, *second = first->next;
    if (!second || is_event(first) || is_event(second)) return;
    first->next = second->next;
    second->next = first;
    queue->first = second;
    if (!first->next) queue->last = &first->next;
}

/* What follows a failure on its stream is not done, unless it is told to go on; the first error stays. */
static void step(fake_device *device, fake_stream *stream) {
    if (fake_lies(device, "order")) overtake(&stream->queue);
    fake_work *work = fake_take_first(&stream->queue);
    if (is_event(work) || stream->error.code == NLM_OK || device->goes_on) {
        nlm_error error = NLM_ERROR_INIT;
        nlm_status status = is_event(work) ? NLM_OK : fake_enter_work(device, &error);
        if (status == NLM_OK) status = fake_do(device, work, &error);
        error.code = status;
        if (status != NLM_OK && stream->error.code == NLM_OK) stream->error = error;
        if (status == NLM_DEVICE_LOST) device->is_lost = true;
    }
    fake_drop(work);
}

/* A stream waits for what was enqueued before, so that some stream of these devices can go on if any has work;
 * `depth` bounds the search among devices that wait for one another. */
static bool progress(fake_device *device, uint32_t depth) {
    fake_stream *chosen = choose(device);
    if (chosen) step(device, chosen);
    if (chosen || depth == 0) return chosen != NULL;
    for (fake_stream *s = device->streams; s; s = s->next) {
        fake_device *other = s->queue.first ? s->queue.first->event->device : NULL; /* all of them wait */
        if (other && other != device && progress(other, depth - 1)) return true;
    }
    return false;
}

bool fake_progress(fake_device *device) {
    return progress(device, FAKE_MAX_DEVICES);
}

static nlm_status take_error(const fake_device *device, fake_stream *stream, nlm_error *error) {
    const nlm_status status = stream->error.code;
    if (status != NLM_OK && error && stream->error.msg[0]) fake_fail(error, status, "%s", stream->error.msg);
    if (!fake_lies(device, "sticky")) stream->error = (nlm_error)NLM_ERROR_INIT;
    return status;
}

static bool has_work(const fake_device *device, const fake_stream *stream) {
    if (stream) return stream->queue.first != NULL;
    for (const fake_stream *s = device->streams; s; s = s->next) {
        if (s->queue.first) return true;
    }
    return false;
}

static nlm_status lose_all(fake_device *device, nlm_status status) {
    for (fake_stream *s = device->streams; s; s = s->next) drop_work(device, s);
    return status;
}

nlm_status fake_sync(void *self, void *waited, nlm_error *error) {
    fake_device *device = self;
    nlm_status status = fake_enter(device, "sync", error);
    if (device->is_lost) return lose_all(device, status);
    if (device->recorder) return status;
    if (!waited && fake_lies(device, "sync_null")) return status;
    if (waited && fake_lies(device, "idle")) return status;
    while (has_work(device, waited) && !device->is_lost) {
        if (!fake_progress(device)) return fake_fail(error, NLM_INTERNAL, "the streams wait for one another");
    }
    for (fake_stream *s = device->streams; s; s = s->next) {
        if (waited && s != waited) continue;
        nlm_error *to = status == NLM_OK ? error : NULL;
        const nlm_status stuck = take_error(device, s, to);
        if (status == NLM_OK) status = stuck;
    }
    if (device->is_lost && status != NLM_DEVICE_LOST)
        status = fake_fail(error, NLM_DEVICE_LOST, "sync: the device is lost");
    return device->is_lost ? lose_all(device, status) : status;
}
