/* Work recorded once and launched many times: CUDA graphs behind nlm.capture. */
#include "step.h"

/* Ends a recording that is under way or done; the stream can be used again. */
static void drop(nlm_cuda_device *d, nlm_cuda_recording *r) {
    if (r->exec) d->cu->cuGraphExecDestroy(r->exec);
    if (r->graph) d->cu->cuGraphDestroy(r->graph);
    pthread_mutex_lock(&d->lock);
    for (nlm_cuda_recording **at = &d->recordings; *at; at = &(*at)->next) {
        if (*at != r) continue;
        *at = r->next;
        break;
    }
    nlm_cuda_fault_give_back(d, r->fault);
    pthread_mutex_unlock(&d->lock);
    if (r->held) d->host->release(d->host->self, r->held);
    d->host->release(d->host->self, r);
}

static nlm_status begin(void *self, void *stream, nlm_error *error) {
    nlm_cuda_device *d = self;
    nlm_cuda_stream *s = stream;
    NLM_CUDA_IN(d);
    nlm_cuda_recording *r = d->host->alloc(d->host->self, sizeof *r, 16);
    if (!r) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "capture", "no host memory");
    *r = (nlm_cuda_recording){0};
    pthread_mutex_lock(&d->lock);
    const bool holds = d->has_step_kernels;
    r->fault = nlm_cuda_fault_take(d);
    if (r->fault != UINT32_MAX) {
        r->next = d->recordings;
        d->recordings = r;
    }
    pthread_mutex_unlock(&d->lock);
    if (r->fault == UINT32_MAX) {
        d->host->release(d->host->self, r);
        return nlm_kit_fail(error, NLM_LIMIT, "capture", "GPU %u has %d streams and recordings", d->ordinal,
                            NLM_CUDA_FAULTS);
    }
    if (holds) r->held = d->host->alloc(d->host->self, sizeof *r->held, 16);
    if (holds && !r->held) {
        drop(d, r);
        return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "capture", "no host memory");
    }
    if (r->held) r->held->n = 0;
    const CUresult result = d->cu->cuStreamBeginCapture(s->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result != CUDA_SUCCESS) {
        drop(d, r);
        return nlm_cuda_fail(d, error, "cuStreamBeginCapture", result);
    }
    s->recording = r;
    return NLM_OK;
}

static nlm_status end(void *self, void *stream, void **out_recording, nlm_error *error) {
    nlm_cuda_device *d = self;
    nlm_cuda_stream *s = stream;
    nlm_cuda_recording *r = s->recording;
    NLM_CUDA_IN(d);
    NLM_KIT_TRY(nlm_cuda_step_flush(s, error));
    NLM_CUDA_TRY(cuStreamEndCapture, s->stream, &r->graph);
    NLM_CUDA_TRY(cuGraphInstantiate, &r->exec, r->graph, 0);
    if (r->held) d->host->release(d->host->self, r->held);
    r->held = NULL;
    s->recording = NULL;
    *out_recording = r;
    return NLM_OK;
}

static void abort_recording(void *self, void *stream) {
    nlm_cuda_device *d = self;
    nlm_cuda_stream *s = stream;
    nlm_cuda_recording *r = s->recording;
    int status = CU_STREAM_CAPTURE_STATUS_NONE;
    NLM_CUDA_IN(d);
    if (!r) return;
    s->recording = NULL;
    if (d->cu->cuStreamIsCapturing(s->stream, &status) == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE) {
        CUgraph graph = NULL;
        d->cu->cuStreamEndCapture(s->stream, &graph);
        if (graph) d->cu->cuGraphDestroy(graph);
    }
    drop(d, r);
}

static nlm_status launch(void *self, void *recording, void *stream, nlm_error *error) {
    nlm_cuda_device *d = self;
    nlm_cuda_recording *r = recording;
    nlm_cuda_stream *s = stream;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuGraphLaunch, r->exec, s->stream);
    pthread_mutex_lock(&d->lock);
    s->is_busy = true;
    r->launched_on = s;
    pthread_mutex_unlock(&d->lock);
    return NLM_OK;
}

static void destroy(void *self, void *recording) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    drop(d, recording);
}

const nlm_capture_v1 nlm_cuda_capture = {
    .struct_size = sizeof nlm_cuda_capture,
    .begin = begin,
    .end = end,
    .abort = abort_recording,
    .launch = launch,
    .destroy = destroy,
};
