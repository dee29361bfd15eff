/* Buffers of device memory, and copies to, from and between them. */
#include <stdlib.h>

#include "step.h"

static nlm_cuda_buffer *buffer_of(uint64_t handle) {
    return (nlm_cuda_buffer *)(uintptr_t)handle;
}

static CUdeviceptr place(uint64_t buffer, uint64_t offset) {
    return buffer_of(buffer)->address + offset;
}

static bool is_idle(const nlm_cuda_device *d) {
    for (const nlm_cuda_stream *s = d->streams; s; s = s->next) {
        if (s->is_busy) return false;
    }
    return true;
}

static void free_buffer(nlm_cuda_device *d, nlm_cuda_buffer *buffer) {
    d->cu->cuMemFree(buffer->address);
    d->host->release(d->host->self, buffer);
}

void nlm_cuda_free_pending(nlm_cuda_device *d) {
    if (!d->unfreed || !is_idle(d)) return;
    for (nlm_cuda_buffer *next; d->unfreed; d->unfreed = next) {
        next = d->unfreed->next;
        free_buffer(d, d->unfreed);
    }
}

/* The sentence of memory that does not fit says what would have. */
static nlm_status no_memory(nlm_cuda_device *d, uint64_t bytes, CUresult result, nlm_error *error) {
    size_t free_bytes = 0, total = 0;
    if (result != CUDA_ERROR_OUT_OF_MEMORY || d->cu->cuMemGetInfo(&free_bytes, &total) != CUDA_SUCCESS) {
        return nlm_cuda_fail(d, error, "cuMemAlloc", result);
    }
    return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "cuMemAlloc",
                        "GPU %u (%s): %.1f MiB wanted, %.1f of %.1f MiB are free", d->ordinal, d->name,
                        (double)bytes / (1 << 20), (double)free_bytes / (1 << 20), (double)total / (1 << 20));
}

static nlm_status buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address,
                               nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    nlm_cuda_buffer *buffer = d->host->alloc(d->host->self, sizeof *buffer, 16);
    if (!buffer) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "buffer_alloc", "no host memory");
    *buffer = (nlm_cuda_buffer){.bytes = bytes};
    const CUresult result = d->cu->cuMemAlloc(&buffer->address, bytes ? bytes : 1);
    if (result != CUDA_SUCCESS) {
        d->host->release(d->host->self, buffer);
        return no_memory(d, bytes, result, error);
    }
    *out_buffer = (uintptr_t)buffer;
    *out_address = (void *)(uintptr_t)buffer->address;
    return NLM_OK;
}

static void buffer_free(void *self, uint64_t handle) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    pthread_mutex_lock(&d->lock);
    buffer_of(handle)->next = d->unfreed;
    d->unfreed = buffer_of(handle);
    nlm_cuda_free_pending(d);
    pthread_mutex_unlock(&d->lock);
}

/* Where a copy goes: the caller's stream, or one that is waited for. */
static CUstream stream_of(nlm_cuda_device *d, nlm_cuda_stream *stream) {
    if (!stream) return d->transfers;
    stream->is_busy = true;
    return stream->stream;
}

static nlm_status finish(nlm_cuda_device *d, const nlm_cuda_stream *stream, nlm_error *error) {
    if (!stream) NLM_CUDA_TRY(cuStreamSynchronize, d->transfers);
    return NLM_OK;
}

static nlm_status upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                         nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    if (!bytes) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuMemcpyHtoDAsync, place(buffer, offset), host, bytes, stream_of(d, stream));
    return finish(d, stream, error);
}

static nlm_status download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                           nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    if (!bytes) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuMemcpyDtoHAsync, host, place(buffer, offset), bytes, stream_of(d, stream));
    return finish(d, stream, error);
}

static nlm_status copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                       uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    if (!bytes) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuMemcpyDtoDAsync, place(to_buffer, to_offset), place(from_buffer, from_offset), bytes,
                 stream_of(d, stream));
    return finish(d, stream, error);
}

static nlm_status fill(void *self, void *stream, uint64_t buffer, uint64_t offset, uint32_t byte, uint64_t bytes,
                       nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    if (!bytes) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuMemsetD8Async, place(buffer, offset), (unsigned char)byte, bytes, stream_of(d, stream));
    return finish(d, stream, error);
}

static nlm_status host_alloc(void *self, uint64_t bytes, void **out_memory, nlm_error *error) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuMemHostAlloc, out_memory, bytes ? bytes : 1, CU_MEMHOSTALLOC_PORTABLE);
    return NLM_OK;
}

static void host_free(void *self, void *memory) {
    nlm_cuda_device *d = self;
    NLM_CUDA_IN(d);
    d->cu->cuMemFreeHost(memory);
}

static nlm_status copy_from(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                            uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    nlm_cuda_device *d = self;
    const nlm_cuda_device *other = peer;
    NLM_CUDA_IN(d);
    if (!bytes) return NLM_OK;
    NLM_KIT_TRY(nlm_cuda_step_flush(stream, error));
    NLM_CUDA_TRY(cuMemcpyPeerAsync, place(to_buffer, to_offset), d->context, place(from_buffer, from_offset),
                 other->context, bytes, stream_of(d, stream));
    return NLM_OK;
}

void nlm_cuda_memory_slots(nlm_device_v1 *api) {
    api->buffer_alloc = buffer_alloc;
    api->buffer_free = buffer_free;
    api->upload = upload;
    api->download = download;
    api->copy = copy;
    api->fill = fill;
    api->host_alloc = host_alloc;
    api->host_free = host_free;
    api->copy_from = copy_from;
}

void nlm_cuda_memory_close(nlm_cuda_device *d) {
    for (nlm_cuda_buffer *next; d->unfreed; d->unfreed = next) {
        next = d->unfreed->next;
        free_buffer(d, d->unfreed);
    }
}
