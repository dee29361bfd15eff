/* Streams that are as late and as unordered as the contract lets them be. */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/* ---- doing ---- */

static nlm_status no_barrier(const nlm_exec_v1 *x) {
    (void)x;
    return NLM_OK;
}

static nlm_status call_scalar(const nlm_ops_v1 *ops, const fake_work *work) {
    switch (work->op) {
#define NLM_OP(number, name) \
    case number:             \
        return ops->name(&work->x, &work->args.name);
#include <nlm/ops.def>
#undef NLM_OP
        default: return NLM_UNSUPPORTED;
    }
}

/* Flips a bit that the op should have left as it was: behind its last argument, in its first one, or in the
 * exponent of the first result. */
static void spoil(const fake_device *device, const fake_work *work) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    uint8_t *first = work->tensors[0].data;
    const nlm_tensor *last = &work->tensors[spec->n_fields - 1];
    uint8_t *result = last->data;
    if (strcmp(device->spoil, "past") == 0 && result) result[last->shape[0] * last->stride_bytes[0]] ^= 1;
    if (strcmp(device->spoil, "input") == 0 && first) first[0] ^= 1;
    if (strcmp(device->spoil, "result") == 0 && result) result[3] ^= 0x40;
}

static nlm_status do_op(const fake_device *device, fake_work *work, nlm_error *error) {
    const nlm_status status = fake_translate(device, work, error);
    if (status != NLM_OK) return status;
    work->x.device = device->scalar->self;
    work->x.stream = NULL;
    work->x.live_rows = work->live_rows;
    work->x.barrier = no_barrier;
    work->x.error = error;
    const nlm_status done = call_scalar(device->scalar->ops, work);
    if (done == NLM_OK && device->spoil[0]) spoil(device, work);
    return done;
}

static nlm_status do_transfer(const fake_device *device, const fake_work *work, nlm_error *error) {
    uint8_t *to = work->host_to, *memory = NULL;
    const uint8_t *from = work->host_from;
    if (!to) {
        const nlm_status status = fake_find_range(device, work->to, work->bytes, &to, error);
        if (status != NLM_OK) return status;
    }
    if (!from) {
        const nlm_status status = fake_find_range(device, work->from, work->bytes, &memory, error);
        if (status != NLM_OK) return status;
        from = memory;
    }
    memmove(to, from, work->bytes);
    return NLM_OK;
}

nlm_status fake_do(fake_device *device, fake_work *work, nlm_error *error) {
    switch (work->kind) {
        case FAKE_OP: return do_op(device, work, error);
        case FAKE_RECORD: work->event->reached++; return NLM_OK;
        case FAKE_WAIT: return NLM_OK;
        default: return do_transfer(device, work, error);
    }
}

/* ---- events ---- */

static void let_go(fake_event *event) {
    if (event && --event->holders == 0) free(event);
}

nlm_status fake_event_create(void *self, uint32_t flags, void **out_event, nlm_error *error) {
    fake_device *device = self;
    (void)flags;
    const nlm_status status = fake_enter(device, "event_create", error);
    if (status != NLM_OK) return status;
    fake_event *event = calloc(1, sizeof *event);
    if (!event) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for an event");
    event->holders = 1;
    device->n_events++;
    *out_event = event;
    return NLM_OK;
}

void fake_event_destroy(void *self, void *event) {
    ((fake_device *)self)->n_events--;
    let_go(event);
}

static nlm_status enqueue_event(fake_kind kind, fake_stream *stream, fake_event *event, nlm_error *error) {
    const fake_work work = {.kind = kind, .event = event, .turn = event->recorded};
    const nlm_status status = fake_enqueue(stream, &work, error);
    if (status == NLM_OK) event->holders++;
    return status;
}

nlm_status fake_event_record(void *self, void *stream, void *event, nlm_error *error) {
    const nlm_status status = fake_enter(self, "event_record", error);
    if (status != NLM_OK) return status;
    ((fake_event *)event)->recorded++;
    return enqueue_event(FAKE_RECORD, stream, event, error);
}

nlm_status fake_event_wait(void *self, void *stream, void *event, nlm_error *error) {
    const nlm_status status = fake_enter(self, "event_wait", error);
    return status == NLM_OK ? enqueue_event(FAKE_WAIT, stream, event, error) : status;
}

/* ---- streams ---- */

nlm_status fake_enqueue(void *stream, const fake_work *work, nlm_error *error) {
    fake_stream *queue = stream;
    fake_work *copy = malloc(sizeof *copy);
    if (!copy) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for work");
    *copy = *work;
    copy->next = NULL;
    *queue->last = copy;
    queue->last = &copy->next;
    return NLM_OK;
}

static fake_work *take_first(fake_stream *stream) {
    fake_work *work = stream->first;
    stream->first = work->next;
    if (!stream->first) stream->last = &stream->first;
    return work;
}

nlm_status fake_stream_create(void *self, void **out_stream, nlm_error *error) {
    fake_device *device = self;
    const nlm_status status = fake_enter(device, "stream_create", error);
    if (status != NLM_OK) return status;
    fake_stream *stream = calloc(1, sizeof *stream);
    if (!stream) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for a stream");
    stream->next = device->streams;
    stream->last = &stream->first;
    stream->error = (nlm_error)NLM_ERROR_INIT;
    device->streams = stream;
    *out_stream = stream;
    return NLM_OK;
}

static void drop_work(fake_stream *stream) {
    while (stream->first) {
        fake_work *work = take_first(stream);
        if (work->kind == FAKE_RECORD) work->event->reached++;
        let_go(work->event);
        free(work);
    }
}

void fake_stream_destroy(void *self, void *destroyed) {
    fake_device *device = self;
    fake_stream *stream = destroyed;
    for (fake_stream **link = &device->streams; *link; link = &(*link)->next) {
        if (*link != stream) continue;
        *link = stream->next;
        break;
    }
    if (stream->first && !device->is_lost)
        fake_log(device, NLM_LOG_ERROR, "a stream is destroyed before its work is done");
    drop_work(stream);
    free(stream);
}

static bool is_ready(const fake_stream *stream) {
    const fake_work *work = stream->first;
    return work && (work->kind != FAKE_WAIT || work->event->reached >= work->turn);
}

/* A ready stream by lot; there is one while any has work, as a wait is for what was enqueued before it. */
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

/* What follows a failure on its stream is not done. */
static void step(fake_device *device, fake_stream *stream) {
    fake_work *work = take_first(stream);
    const bool is_event = work->kind == FAKE_RECORD || work->kind == FAKE_WAIT;
    if (is_event || stream->error.code == NLM_OK) {
        nlm_status status = is_event ? NLM_OK : fake_enter_work(device, &stream->error);
        if (status == NLM_OK) status = fake_do(device, work, &stream->error);
        stream->error.code = status;
    }
    let_go(work->event);
    free(work);
}

static nlm_status take_error(fake_stream *stream, nlm_error *error) {
    const nlm_status status = stream->error.code;
    if (status != NLM_OK && error && stream->error.msg[0]) fake_fail(error, status, "%s", stream->error.msg);
    stream->error = (nlm_error)NLM_ERROR_INIT;
    return status;
}

static bool has_work(const fake_device *device, const fake_stream *stream) {
    if (stream) return stream->first != NULL;
    for (const fake_stream *s = device->streams; s; s = s->next) {
        if (s->first) return true;
    }
    return false;
}

nlm_status fake_sync(void *self, void *waited, nlm_error *error) {
    fake_device *device = self;
    nlm_status status = fake_enter(device, "sync", error);
    if (device->is_lost) {
        for (fake_stream *s = device->streams; s; s = s->next) drop_work(s);
        return status;
    }
    while (has_work(device, waited)) {
        fake_stream *chosen = choose(device);
        if (!chosen) return fake_fail(error, NLM_INTERNAL, "the streams wait for one another");
        step(device, chosen);
    }
    for (fake_stream *s = device->streams; s; s = s->next) {
        if (waited && s != waited) continue;
        nlm_error *to = status == NLM_OK ? error : NULL;
        const nlm_status stuck = take_error(s, to);
        if (status == NLM_OK) status = stuck;
    }
    return status;
}
