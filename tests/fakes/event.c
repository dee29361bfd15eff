/* Events, and the clock that work moves on. */
#include <stdlib.h>

#include "fake.h"

void fake_let_go(fake_event *event) {
    if (event && --event->holders == 0) free(event);
}

void fake_reach(fake_device *device, fake_event *event) {
    event->reached++;
    event->time_ns = device->clock_ns;
}

nlm_status fake_event_create(void *self, uint32_t flags, void **out_event, nlm_error *error) {
    fake_device *device = self;
    const nlm_status status = fake_enter(device, "event_create", error);
    if (status != NLM_OK) return status;
    if (flags & ~NLM_EVENT_TIMING) return fake_blame(device, error, "event_create with flags 0x%x", flags);
    fake_event *event = calloc(1, sizeof *event);
    if (!event) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for an event");
    event->holders = 1;
    event->flags = flags;
    device->n_events++;
    *out_event = event;
    return NLM_OK;
}

void fake_event_destroy(void *self, void *event) {
    fake_enter_free(self, "event_destroy");
    ((fake_device *)self)->n_events--;
    fake_let_go(event);
}

static nlm_status enqueue_event(fake_device *device, fake_kind kind, void *stream, fake_event *event,
                                nlm_error *error) {
    fake_work work = {.kind = kind, .event = event, .turn = event->recorded};
    event->holders++;
    const nlm_status status = fake_enqueue(device, stream, &work, error);
    if (status != NLM_OK) fake_let_go(event);
    return status;
}

nlm_status fake_event_record(void *self, void *stream, void *recorded, nlm_error *error) {
    fake_device *device = self;
    fake_event *event = recorded;
    nlm_status status = fake_enter_on(device, stream, "event_record", error);
    if (status != NLM_OK) return status;
    if (!stream) return fake_blame(device, error, "event_record without a stream");
    if (!device->recorder) event->recorded++;
    status = enqueue_event(device, FAKE_RECORD, stream, event, error);
    if (status == NLM_OK) {
        event->device = device;
        event->recording = device->recorder ? device->recorder->recording : NULL;
    } else if (!device->recorder) {
        event->recorded--;
    }
    return fake_leave(device, status);
}

/* Of a recording, or of none: may this call see the event? */
static nlm_status check_event(const fake_device *device, const fake_event *event, const char *call,
                              nlm_error *error) {
    const fake_recording *recording = device->recorder ? device->recorder->recording : NULL;
    if (event->recording == recording) return NLM_OK;
    return fake_blame(device, error, "%s: the event is %s", call,
                      event->recording ? "one of a recording" : "none of this recording");
}

nlm_status fake_event_wait(void *self, void *stream, void *event, nlm_error *error) {
    fake_device *device = self;
    nlm_status status = fake_enter_on(device, stream, "event_wait", error);
    if (status != NLM_OK) return status;
    if (!stream) return fake_blame(device, error, "event_wait without a stream");
    if (fake_lies(device, "no_wait")) return NLM_OK;
    status = check_event(device, event, "event_wait", error);
    if (status == NLM_OK) status = enqueue_event(device, FAKE_WAIT, stream, event, error);
    return fake_leave(device, status);
}

/* Time goes by while a host asks. */
nlm_status fake_event_query(void *self, void *queried, uint32_t *out_is_done, nlm_error *error) {
    const fake_event *event = queried;
    nlm_status status = fake_enter(self, "event_query", error);
    if (status == NLM_OK) status = check_event(self, event, "event_query", error);
    if (status != NLM_OK) return status;
    *out_is_done = event->reached >= event->recorded && (event->recorded || !fake_lies(self, "query"));
    fake_progress(event->device ? event->device : self);
    return NLM_OK;
}

nlm_status fake_event_elapsed(void *self, void *from_event, void *to_event, uint64_t *out_ns, nlm_error *error) {
    const fake_event *from = from_event, *to = to_event;
    nlm_status status = fake_enter(self, "event_elapsed", error);
    if (status == NLM_OK) status = check_event(self, from, "event_elapsed", error);
    if (status == NLM_OK) status = check_event(self, to, "event_elapsed", error);
    if (status != NLM_OK) return status;
    if (!(from->flags & to->flags & NLM_EVENT_TIMING)) {
        return fake_blame(self, error, "event_elapsed of events without NLM_EVENT_TIMING");
    }
    const bool are_recorded = from->recorded && to->recorded;
    if (!are_recorded || from->reached < from->recorded || to->reached < to->recorded ||
        from->time_ns > to->time_ns) {
        return fake_blame(self, error, "event_elapsed of events that are not done, or the later one first");
    }
    *out_ns = fake_lies(self, "elapsed") ? 5 : to->time_ns - from->time_ns;
    return NLM_OK;
}
