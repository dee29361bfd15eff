/* Streams and events. */
#include "step.h"

static nlm_status stream_create(void *self, void **out_stream, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    nlm_cuda_stream *s = d->host->alloc(d->host->self, sizeof *s, 16);
    if (!s) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "stream_create", "no host memory");
    *s = (nlm_cuda_stream){.device = d};
    const CUresult result = d->cu->cuStreamCreate(&s->stream, CU_STREAM_NON_BLOCKING);
    if (result != CUDA_SUCCESS) {
        d->host->release(d->host->self, s);
        return nlm_cuda_fail(d, error, "cuStreamCreate", result);
    }
    pthread_mutex_lock(&d->lock);
    s->fault = nlm_cuda_fault_take(d);
    if (s->fault != UINT32_MAX) {
        s->next = d->streams;
        d->streams = s;
    }
    pthread_mutex_unlock(&d->lock);
    if (s->fault == UINT32_MAX) {
        d->cu->cuStreamDestroy(s->stream);
        d->host->release(d->host->self, s);
        return nlm_kit_fail(error, NLM_LIMIT, "stream_create", "GPU %u has %d streams and recordings", d->ordinal,
                            NLM_CUDA_FAULTS);
    }
    *out_stream = s;
    return NLM_OK;
}

static void stream_destroy(void *self, void *stream) {
    nlm_cuda_device *d = self;
    nlm_cuda_stream *s = stream;
    NLM_CUDA_IN(d);
    d->cu->cuStreamDestroy(s->stream);
    pthread_mutex_lock(&d->lock);
    for (nlm_cuda_stream **at = &d->streams; *at; at = &(*at)->next) {
        if (*at != s) continue;
        *at = s->next;
        break;
    }
    for (nlm_cuda_recording *r = d->recordings; r; r = r->next) {
        if (r->launched_on == s) r->launched_on = NULL;
    }
    nlm_cuda_fault_give_back(d, s->fault);
    nlm_cuda_free_pending(d);
    pthread_mutex_unlock(&d->lock);
    d->host->release(d->host->self, s);
}

/* What kernels of the stream told, and of recordings launched on it. The caller holds the lock. */
static nlm_status read_faults(nlm_cuda_device *d, nlm_cuda_stream *s, nlm_error *error) {
    nlm_status first = nlm_cuda_fault_read(d, s->fault, error);
    for (nlm_cuda_recording *r = d->recordings; r; r = r->next) {
        if (r->launched_on != s) continue;
        r->launched_on = NULL;
        const nlm_status status = nlm_cuda_fault_read(d, r->fault, first == NLM_OK ? error : NULL);
        if (first == NLM_OK) first = status;
    }
    return first;
}

static nlm_status sync_one(nlm_cuda_device *d, nlm_cuda_stream *s, nlm_error *error) {
    NLM_CUDA_TRY(cuStreamSynchronize, s->stream);
    pthread_mutex_lock(&d->lock);
    s->is_busy = false;
    const nlm_status status = read_faults(d, s, error);
    nlm_cuda_free_pending(d);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static nlm_status sync_stream(void *self, void *stream, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    if (stream) return sync_one(d, stream, error);
    nlm_status first = NLM_OK;
    for (nlm_cuda_stream *s = d->streams; s; s = s->next) {
        const nlm_status status = sync_one(d, s, first == NLM_OK ? error : NULL);
        if (first == NLM_OK) first = status;
    }
    return first;
}

static nlm_status event_create(void *self, uint32_t flags, void **out_event, nlm_error *error) {
    nlm_cuda_device *d = self;
    CUevent event;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuEventCreate, &event, flags & NLM_EVENT_TIMING ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING);
    *out_event = event;
    return NLM_OK;
}

static void event_destroy(void *self, void *event) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    d->cu->cuEventDestroy(event);
}

static nlm_status event_record(void *self, void *stream, void *event, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuEventRecord, event, ((nlm_cuda_stream *)stream)->stream);
    return NLM_OK;
}

static nlm_status event_wait(void *self, void *stream, void *event, nlm_error *error) {
    nlm_cuda_device *d = self;
    nlm_cuda_stream *s = stream;
    NLM_CUDA_IN(d);
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuStreamWaitEvent, s->stream, event, 0);
    s->is_busy = true;
    return NLM_OK;
}

static nlm_status event_query(void *self, void *event, uint32_t *out_is_done, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    const CUresult result = d->cu->cuEventQuery(event);
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY) {
        return nlm_cuda_fail(d, error, "cuEventQuery", result);
    }
    *out_is_done = result == CUDA_SUCCESS;
    return NLM_OK;
}

static nlm_status event_elapsed(void *self, void *from_event, void *to_event, uint64_t *out_ns, nlm_error *error) {
    nlm_cuda_device *d = self;
    float ms = 0;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuEventElapsedTime, &ms, from_event, to_event);
    *out_ns = (uint64_t)((double)ms * 1e6);
    return NLM_OK;
}

void nlm_cuda_stream_slots(nlm_device_v1 *api) {
    api->stream_create = stream_create;
    api->stream_destroy = stream_destroy;
    api->sync = sync_stream;
    api->event_create = event_create;
    api->event_destroy = event_destroy;
    api->event_record = event_record;
    api->event_wait = event_wait;
    api->event_query = event_query;
    api->event_elapsed = event_elapsed;
}
