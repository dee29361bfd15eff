/* Packing done by the device that wants it: rows are uploaded to a stage and packed from there, in the order of a
 * stream. */
#include "exec/pack_device.h"

#include "base/status.h"

#define STAGE_BYTES (1ull << 24)

typedef struct stage {
    const nlm_device_packing *packing;
    void *stream;
    nlm_place_v1 place;
    int64_t rows; /* it has room for, a multiple of row_multiple */
} stage;

static int64_t stage_rows(const nlm_device_packing *p) {
    const uint64_t unit_bytes = (uint64_t)p->source.stride_bytes[0] * (uint64_t)p->row_multiple;
    const int64_t units = unit_bytes && unit_bytes < STAGE_BYTES ? (int64_t)(STAGE_BYTES / unit_bytes) : 1;
    const int64_t rows = units * p->row_multiple;
    return rows < p->source.shape[0] ? rows : p->source.shape[0];
}

/* The next part overwrites the stage behind this one, as the stream has an order. */
static nlm_status pack_part(const stage *s, int64_t from, int64_t to, nlm_error *err) {
    const nlm_device_packing *p = s->packing;
    const nlm_device_v1 *api = &p->device->api;
    const uint64_t row_bytes = (uint64_t)p->source.stride_bytes[0];
    const char *rows = (const char *)p->source.data + (uint64_t)from * row_bytes;
    NLM_TRY(api->upload(api->self, s->stream, s->place.buffer, 0, rows, (uint64_t)(to - from) * row_bytes, err));
    nlm_tensor described = p->source;
    described.data = NULL;
    return api->pack_device(api->self, s->stream, &described, p->layout, p->roles, from, to, &s->place, &p->packed,
                            err);
}

static nlm_status pack_parts(const stage *s, nlm_error *err) {
    const nlm_device_v1 *api = &s->packing->device->api;
    const int64_t n_rows = s->packing->source.shape[0];
    nlm_status status = NLM_OK;
    for (int64_t row = 0; row < n_rows && status == NLM_OK; row += s->rows) {
        status = pack_part(s, row, n_rows - row < s->rows ? n_rows : row + s->rows, err);
    }
    /* The device may still read the rows; its own error would only hide the first. */
    const nlm_status synced = api->sync(api->self, s->stream, status == NLM_OK ? err : NULL);
    return status == NLM_OK ? synced : status;
}

static nlm_status pack_on_stream(stage *s, nlm_error *err) {
    const nlm_device_v1 *api = &s->packing->device->api;
    const uint64_t bytes = (uint64_t)s->rows * (uint64_t)s->packing->source.stride_bytes[0];
    NLM_TRY(api->buffer_alloc(api->self, bytes, &s->place.buffer, &s->place.address, err));
    const nlm_status status = pack_parts(s, err);
    api->buffer_free(api->self, s->place.buffer);
    return status;
}

nlm_status nlm_pack_on_device(const nlm_device_packing *packing, nlm_error *err) {
    const nlm_device_v1 *api = &packing->device->api;
    stage s = {.packing = packing, .rows = stage_rows(packing)};
    if (!api->pack_device) return NLM_UNSUPPORTED;
    NLM_TRY(api->stream_create(api->self, &s.stream, err));
    const nlm_status status = pack_on_stream(&s, err);
    api->stream_destroy(api->self, s.stream);
    return status;
}
