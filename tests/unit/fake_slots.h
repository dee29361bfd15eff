/* What a fake stream device may have beside what it must: preparation, pinned memory, fill, time, recordings. */
#ifndef NLM_TESTS_FAKE_SLOTS_H
#define NLM_TESTS_FAKE_SLOTS_H

#include "unit/fake_device.h"

/* As many as there are things between them. */
static inline nlm_status fake_event_elapsed(void *self, void *from, void *to, uint64_t *out_ns, nlm_error *err) {
    (void)self;
    (void)err;
    *out_ns = 1000 * (((fake_event *)to)->mark - ((fake_event *)from)->mark);
    return NLM_OK;
}

static inline nlm_status fake_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *err) {
    (void)args;
    (void)nth;
    fake_device *fake = self;
    if (op == fake->unpreparable) return nlm_fail(err, NLM_DEVICE_ERROR, "fake", "told not to compile");
    fake->prepared[op]++;
    return NLM_OK;
}

static inline nlm_status fake_host_alloc(void *self, uint64_t bytes, void **out_memory, nlm_error *err) {
    (void)err;
    ((fake_device *)self)->n_pinned++;
    *out_memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    return NLM_OK;
}

static inline void fake_host_free(void *self, void *memory) {
    ((fake_device *)self)->n_pinned--;
    free(memory);
}

static inline nlm_status fake_fill(void *self, void *stream, uint64_t buffer, uint64_t offset, uint32_t byte,
                                   uint64_t bytes, nlm_error *err) {
    (void)stream;
    (void)err;
    ((fake_device *)self)->n_fills++;
    memset((char *)(uintptr_t)buffer + offset, (int)byte, bytes);
    return NLM_OK;
}

/* As work of the stream, from row to row, in REVERSED_LAYOUT. */
static inline nlm_status fake_pack_device(void *self, void *stream, const nlm_tensor *w, uint32_t layout,
                                          uint32_t roles, int64_t row_from, int64_t row_to, const nlm_place_v1 *rows,
                                          const nlm_place_v1 *packed, nlm_error *err) {
    (void)roles;
    fake_device *fake = self;
    if (fake->pack_device_status != NLM_OK) return fake->pack_device_status;
    if (w->data || layout != REVERSED_LAYOUT || row_from != fake->packed_rows || row_from % 2 != 0) {
        return nlm_fail(err, NLM_INTERNAL, "fake", "asked to pack something else");
    }
    const uint64_t row_bytes = (uint64_t)w->stride_bytes[0];
    for (int64_t row = row_from; row < row_to; row++) {
        const uint64_t from = rows->offset + (uint64_t)(row - row_from) * row_bytes;
        const uint64_t to = packed->offset + (uint64_t)(w->shape[0] - 1 - row) * row_bytes;
        fake_copy(self, stream, packed->buffer, to, rows->buffer, from, row_bytes, err);
    }
    fake->packed_rows = row_to == w->shape[0] ? 0 : row_to;
    fake->packed_parts++;
    return NLM_OK;
}

static inline nlm_status fake_begin(void *self, void *stream, nlm_error *err) {
    (void)stream;
    (void)err;
    fake_device *fake = self;
    fake->begins++;
    if (fake->begin_status != NLM_OK) return fake->begin_status;
    fake->recording = calloc(1, sizeof *fake->recording);
    fake->n_recordings++;
    return NLM_OK;
}

static inline void fake_recording_destroy(void *self, void *destroyed) {
    fake_recording *recording = destroyed;
    ((fake_device *)self)->n_recordings--;
    free(recording->work);
    free(recording);
}

static inline nlm_status fake_end(void *self, void *stream, void **out_recording, nlm_error *err) {
    (void)stream;
    (void)err;
    fake_device *fake = self;
    if (fake->end_status != NLM_OK) return fake->end_status;
    *out_recording = fake->recording;
    fake->recording = NULL;
    return NLM_OK;
}

static inline void fake_abort(void *self, void *stream) {
    (void)stream;
    fake_device *fake = self;
    fake->aborts++;
    if (fake->recording) fake_recording_destroy(fake, fake->recording);
    fake->recording = NULL;
}

static inline nlm_status fake_launch(void *self, void *launched, void *stream, nlm_error *err) {
    (void)stream;
    (void)err;
    fake_device *fake = self;
    const fake_recording *recording = launched;
    if (fake->launch_status != NLM_OK) return fake->launch_status;
    fake->launches++;
    for (size_t i = 0; i < recording->n_work; i++) *add_work(fake) = recording->work[i];
    return NLM_OK;
}

static inline void fake_can_capture(fake_device *fake) {
    fake->device.capture = (nlm_capture_v1){.struct_size = sizeof fake->device.capture,
                                            .begin = fake_begin,
                                            .end = fake_end,
                                            .abort = fake_abort,
                                            .launch = fake_launch,
                                            .destroy = fake_recording_destroy};
}

#endif
