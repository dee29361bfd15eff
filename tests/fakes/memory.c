/* Buffers, and memory of the host that transfers are fastest with. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

static void let_go(fake_buffer *buffer) {
    if (--buffer->holders > 0) return;
    free(buffer->memory);
    free(buffer);
}

nlm_status fake_buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error) {
    fake_device *device = self;
    nlm_status status = fake_enter(device, "buffer_alloc", error);
    if (status == NLM_OK) status = fake_enter_alloc(device, bytes, error);
    if (status != NLM_OK) return status;
    fake_buffer *buffer = calloc(1, sizeof *buffer);
    uint8_t *memory = malloc(bytes ? bytes : 1);
    if (!buffer || !memory) {
        free(buffer);
        free(memory);
        return fake_fail(error, NLM_OUT_OF_MEMORY, "no %" PRIu64 " bytes", bytes);
    }
    memset(memory, 0xff, bytes); /* a NaN in every type that has one */
    *buffer = (fake_buffer){.next = device->buffers,
                            .handle = ++device->next_handle,
                            .address = device->next_address,
                            .bytes = bytes,
                            .memory = memory,
                            .holders = 1};
    if (fake_lies(device, "alignment")) buffer->address += FAKE_ALIGNMENT / 2;
    device->buffers = buffer;
    device->next_address += (bytes / FAKE_ADDRESS_STRIDE + 2) * FAKE_ADDRESS_STRIDE;
    *out_buffer = buffer->handle;
    *out_address = (void *)(uintptr_t)buffer->address;
    return NLM_OK;
}

void fake_buffer_free(void *self, uint64_t handle) {
    fake_device *device = self;
    fake_enter_free(device, "buffer_free");
    for (fake_buffer **link = &device->buffers; *link; link = &(*link)->next) {
        fake_buffer *buffer = *link;
        if (buffer->handle != handle) continue;
        if (buffer->n_recorded) {
            fake_log(device, NLM_LOG_ERROR, "buffer %" PRIu64 " is freed, but a recording names it", handle);
        }
        *link = buffer->next;
        if (fake_lies(device, "free")) memset(buffer->memory, 0xee, buffer->bytes);
        if (fake_lies(device, "leak")) {
            static fake_buffer *kept; /* where no leak checker sees it */
            buffer->next = kept;
            kept = buffer;
        } else {
            let_go(buffer);
        }
        return;
    }
    fake_log(device, NLM_LOG_ERROR, "buffer %" PRIu64 " is freed, but there is none", handle);
}

nlm_status fake_find_range(const fake_device *device, uint64_t handle, uint64_t offset, uint64_t bytes,
                           fake_range *out, nlm_error *error) {
    fake_buffer *buffer = device->buffers;
    while (buffer && buffer->handle != handle) buffer = buffer->next;
    if (!buffer) return fake_fail(error, NLM_DEVICE_ERROR, "there is no buffer %" PRIu64, handle);
    if (offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return fake_fail(error, NLM_DEVICE_ERROR, "%" PRIu64 " bytes at %" PRIu64 " of a buffer of %" PRIu64, bytes,
                         offset, buffer->bytes);
    }
    *out = (fake_range){buffer, offset};
    return NLM_OK;
}

nlm_status fake_find_place(const fake_device *device, const nlm_place_v1 *place, uint64_t bytes, fake_range *out,
                           nlm_error *error) {
    const nlm_status status = fake_find_range(device, place->buffer, place->offset, bytes, out, error);
    if (status != NLM_OK) return status;
    if ((uint64_t)(uintptr_t)place->address == out->buffer->address + out->offset) return NLM_OK;
    return fake_blame(device, error, "a place's address is not that of its buffer and offset");
}

void fake_hold(fake_work *work, fake_buffer *buffer) {
    buffer->holders++;
    work->named[work->n_named++] = buffer;
}

void fake_release(fake_work *work) {
    for (uint32_t i = 0; i < work->n_named; i++) let_go(work->named[i]);
    work->n_named = 0;
}

/* ---- pinned memory ---- */

nlm_status fake_host_alloc(void *self, uint64_t bytes, void **out_memory, nlm_error *error) {
    fake_device *device = self;
    nlm_status status = fake_enter(device, "host_alloc", error);
    if (status == NLM_OK) status = fake_enter_alloc(device, bytes, error);
    if (status != NLM_OK) return status;
    fake_pinned *block = calloc(1, sizeof *block);
    uint8_t *memory = aligned_alloc(64, bytes / 64 * 64 + 128);
    if (!block || !memory) {
        free(block);
        free(memory);
        return fake_fail(error, NLM_OUT_OF_MEMORY, "no %" PRIu64 " bytes of the host", bytes);
    }
    memset(memory, 0xff, bytes);
    *block = (fake_pinned){.next = device->pinned, .bytes = bytes, .memory = memory, .base = memory};
    if (fake_lies(device, "pinned")) block->memory += 16;
    device->pinned = block;
    *out_memory = block->memory;
    return NLM_OK;
}

static bool is_in(const fake_pinned *block, const void *pointer) {
    const uint8_t *at = pointer;
    return at && at >= block->memory && at < block->memory + block->bytes;
}

static bool is_named(const fake_queue *queue, const fake_pinned *block) {
    for (const fake_work *work = queue->first; work; work = work->next) {
        if (is_in(block, work->host_to) || is_in(block, work->host_from)) return true;
    }
    return false;
}

static bool is_in_use(const fake_device *device, const fake_pinned *block) {
    for (const fake_stream *s = device->streams; s; s = s->next) {
        if (is_named(&s->queue, block)) return true;
    }
    for (const fake_recording *r = device->recordings; r; r = r->next) {
        if (is_named(&r->parts, block)) return true;
    }
    return false;
}

void fake_host_free(void *self, void *memory) {
    fake_device *device = self;
    fake_enter_free(device, "host_free");
    for (fake_pinned **link = &device->pinned; *link; link = &(*link)->next) {
        fake_pinned *block = *link;
        if (block->memory != memory) continue;
        if (!device->is_lost && is_in_use(device, block)) {
            fake_log(device, NLM_LOG_ERROR, "pinned memory is freed, but work or a recording names it");
        }
        *link = block->next;
        free(block->base);
        free(block);
        return;
    }
    fake_log(device, NLM_LOG_ERROR, "pinned memory is freed that is none");
}
