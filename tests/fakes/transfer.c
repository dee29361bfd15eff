/* Bytes that are moved, set or packed. */
#include <string.h>

#include "fake.h"

static nlm_status submit(fake_device *device, void *stream, fake_work *work, nlm_error *error) {
    if (work->to.buffer) fake_hold(work, work->to.buffer);
    if (work->from.buffer) fake_hold(work, work->from.buffer);
    if (stream) return fake_enqueue(device, stream, work, error);
    const nlm_status status = fake_do(device, work, error);
    fake_release(work);
    return status;
}

nlm_status fake_upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                       nlm_error *error) {
    fake_work work = {.kind = FAKE_TRANSFER, .host_from = host, .bytes = bytes};
    nlm_status status = fake_enter_on(self, stream, "upload", error);
    if (status != NLM_OK) return status;
    status = fake_find_range(self, buffer, offset, bytes, &work.to, error);
    if (fake_lies(self, "offset")) work.to.offset = 0;
    if (fake_lies(self, "at_once") && !((fake_device *)self)->recorder) stream = NULL;
    if (status == NLM_OK) status = submit(self, stream, &work, error);
    return fake_leave(self, status);
}

nlm_status fake_download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                         nlm_error *error) {
    fake_work work = {.kind = FAKE_TRANSFER, .host_to = host, .bytes = bytes};
    nlm_status status = fake_enter_on(self, stream, "download", error);
    if (status != NLM_OK) return status;
    status = fake_find_range(self, buffer, offset, bytes, &work.from, error);
    if (fake_lies(self, "from_offset")) work.from.offset = 0;
    if (status == NLM_OK) status = submit(self, stream, &work, error);
    return fake_leave(self, status);
}

nlm_status fake_copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                     uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    fake_work work = {.kind = FAKE_TRANSFER, .bytes = bytes};
    nlm_status status = fake_enter_on(self, stream, "copy", error);
    if (status != NLM_OK) return status;
    status = fake_find_range(self, to_buffer, to_offset, bytes, &work.to, error);
    if (status == NLM_OK) status = fake_find_range(self, from_buffer, from_offset, bytes, &work.from, error);
    if (fake_lies(self, "swapped")) {
        const fake_range to = work.to;
        work.to = work.from;
        work.from = to;
    }
    if (status == NLM_OK) status = submit(self, stream, &work, error);
    return fake_leave(self, status);
}

nlm_status fake_copy_from(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                          uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *error) {
    fake_device *device = self;
    fake_work work = {.kind = FAKE_TRANSFER, .bytes = bytes};
    nlm_status status = fake_enter(device, "copy_from", error);
    if (status != NLM_OK) return status;
    if (device->is_alone) return fake_fail(error, NLM_UNSUPPORTED, "told to reach no other device");
    if (!stream || peer == self) return fake_blame(device, error, "copy_from needs a stream and another device");
    status = fake_find_range(device, to_buffer, to_offset, bytes, &work.to, error);
    if (status == NLM_OK) status = fake_find_range(peer, from_buffer, from_offset, bytes, &work.from, error);
    if (fake_lies(device, "peer")) work.from.offset = 0;
    return status == NLM_OK ? submit(device, stream, &work, error) : status;
}

nlm_status fake_fill(void *self, void *stream, uint64_t buffer, uint64_t offset, uint32_t byte, uint64_t bytes,
                     nlm_error *error) {
    fake_work work = {.kind = FAKE_FILL, .byte = byte, .bytes = bytes};
    nlm_status status = fake_enter_on(self, stream, "fill", error);
    if (status != NLM_OK) return status;
    if (byte > 255) return fake_leave(self, fake_blame(self, error, "fill with %u, which is no byte", byte));
    status = fake_find_range(self, buffer, offset, bytes, &work.to, error);
    if (fake_lies(self, "fill") && bytes) work.bytes--;
    if (status == NLM_OK) status = submit(self, stream, &work, error);
    return fake_leave(self, status);
}

/* ---- packing: the last row first ---- */

nlm_status fake_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                          nlm_error *error) {
    (void)self;
    (void)roles;
    if (layout != FAKE_REVERSED) return fake_fail(error, NLM_INVALID_ARGUMENT, "layout %u is not known", layout);
    out->bytes = (uint64_t)w->shape[0] * fake_row_bytes(w);
    out->row_multiple = 1;
    return NLM_OK;
}

static void reverse_rows(const nlm_tensor *w, int64_t row_from, int64_t row_to, const uint8_t *rows, int64_t stride,
                         uint8_t *packed) {
    const size_t row_bytes = fake_row_bytes(w);
    for (int64_t row = row_from; row < row_to; row++) {
        memcpy(packed + (size_t)(w->shape[0] - 1 - row) * row_bytes, rows + (row - row_from) * stride, row_bytes);
    }
}

nlm_status fake_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                     int64_t row_to, void *packed, nlm_error *error) {
    (void)self;
    (void)roles;
    if (layout != FAKE_REVERSED) return fake_fail(error, NLM_INVALID_ARGUMENT, "layout %u is not known", layout);
    const int64_t stride = w->stride_bytes[0];
    reverse_rows(w, row_from, row_to, (const uint8_t *)w->data + row_from * stride, stride, packed);
    return NLM_OK;
}

nlm_status fake_pack_device(void *self, void *stream, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                            int64_t row_from, int64_t row_to, const nlm_place_v1 *rows, const nlm_place_v1 *packed,
                            nlm_error *error) {
    fake_device *device = self;
    fake_work work = {.kind = FAKE_PACK, .tensors = {*w}, .row_from = row_from, .row_to = row_to};
    const uint64_t row_bytes = fake_row_bytes(w);
    (void)roles;
    nlm_status status = fake_enter(device, "pack_device", error);
    if (status != NLM_OK) return status;
    if (!device->packs_itself) return fake_fail(error, NLM_UNSUPPORTED, "told to pack nothing itself");
    if (layout != FAKE_REVERSED) return fake_fail(error, NLM_INVALID_ARGUMENT, "layout %u is not known", layout);
    if (!stream || w->data || row_from < 0 || row_from >= row_to || row_to > w->shape[0]) {
        return fake_blame(device, error, "pack_device without a stream, with data, or of no rows");
    }
    status = fake_find_place(device, rows, (uint64_t)(row_to - row_from) * row_bytes, &work.from, error);
    if (status != NLM_OK) return status;
    status = fake_find_place(device, packed, (uint64_t)w->shape[0] * row_bytes, &work.to, error);
    if (fake_lies(device, "pack")) {
        work.kind = FAKE_TRANSFER;
        work.bytes = (uint64_t)(row_to - row_from) * row_bytes;
        work.to.offset += (uint64_t)row_from * row_bytes;
    }
    return status == NLM_OK ? submit(device, stream, &work, error) : status;
}

/* ---- doing ---- */

static uint8_t *memory_of(fake_range range) {
    return range.buffer->memory + range.offset;
}

void fake_do_transfer(const fake_work *work) {
    uint8_t *to = work->to.buffer ? memory_of(work->to) : work->host_to;
    const uint8_t *from = work->from.buffer ? memory_of(work->from) : work->host_from;
    if (work->kind == FAKE_FILL) {
        memset(to, (int)work->byte, work->bytes);
    } else if (work->kind == FAKE_PACK) {
        const nlm_tensor *w = &work->tensors[0];
        reverse_rows(w, work->row_from, work->row_to, from, (int64_t)fake_row_bytes(w), to);
    } else if (work->bytes) {
        memmove(to, from, work->bytes);
    }
}
