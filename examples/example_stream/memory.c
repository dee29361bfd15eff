/* Memory of the device, and bytes that are moved to it, in it and from it. */
#include "device.h"

#include <stdlib.h>

nlm_status buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error) {
    (void)self;
    buffer *b = calloc(1, sizeof *b);
    char *memory = bytes < UINT64_MAX - 64 ? aligned_alloc(64, (bytes + 64) / 64 * 64) : NULL;
    if (!b || !memory) {
        free(b);
        free(memory);
        return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "buffer_alloc", "no memory for %llu bytes",
                            (unsigned long long)bytes);
    }
    b->bytes = bytes;
    b->memory = memory;
    *out_buffer = (uint64_t)(uintptr_t)b;
    *out_address = (void *)((uintptr_t)memory + DEVICE_BASE);
    return NLM_OK;
}

/* Work is done in any order, but a stream's own in the order of its numbers. */
static bool is_in_use(const device *d, const buffer *b) {
    for (const stream *s = d->streams; s; s = s->next) {
        if (s->first && s->first->number <= b->freed_at) return true;
    }
    return false;
}

void release_freed(device *d) {
    for (buffer **link = &d->freed; *link;) {
        buffer *b = *link;
        if (is_in_use(d, b)) {
            link = &b->next;
            continue;
        }
        *link = b->next;
        free(b->memory);
        free(b);
    }
}

void buffer_free(void *self, uint64_t handle) {
    device *d = self;
    buffer *b = (buffer *)(uintptr_t)handle;
    pthread_mutex_lock(&d->mutex);
    b->freed_at = d->n_given;
    b->next = d->freed;
    d->freed = b;
    release_freed(d);
    pthread_mutex_unlock(&d->mutex);
}

/* ---- transfers ----------------------------------------------------------------------------- */

/* NULL: the range is not in the buffer. */
static char *place(uint64_t handle, uint64_t offset, uint64_t bytes, nlm_error *error) {
    const buffer *b = (const buffer *)(uintptr_t)handle;
    if (b && offset <= b->bytes && bytes <= b->bytes - offset) return b->memory + offset;
    nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "transfer", "%llu bytes at %llu are not in a buffer of %llu",
                 (unsigned long long)bytes, (unsigned long long)offset, b ? (unsigned long long)b->bytes : 0);
    return NULL;
}

/* As work of the stream; without one, at once, whatever streams have yet to do. */
static nlm_status move(stream *on, void *to, const void *from, uint64_t bytes, nlm_error *error) {
    if (!to || !from) return NLM_INVALID_ARGUMENT;
    if (!on) {
        memmove(to, from, bytes);
        return NLM_OK;
    }
    work *w = work_create(WORK_MOVE, error);
    if (!w) return NLM_OUT_OF_MEMORY;
    w->to = to;
    w->from = from;
    w->bytes = bytes;
    return enqueue(on, w);
}

nlm_status upload(void *self, void *on, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                  nlm_error *error) {
    (void)self;
    return move(on, place(buffer, offset, bytes, error), host, bytes, error);
}

nlm_status download(void *self, void *on, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                    nlm_error *error) {
    (void)self;
    return move(on, host, place(buffer, offset, bytes, error), bytes, error);
}

nlm_status copy(void *self, void *on, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    (void)self;
    return move(on, place(to_buffer, to_offset, bytes, error), place(from_buffer, from_offset, bytes, error), bytes,
                error);
}
