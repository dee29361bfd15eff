/* Weights brought to a device: packed in parallel, uploaded, or read where they lie. */
#include "exec/weight.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/status.h"
#include "exec/pack_device.h"
#include "exec/packed_memory.h"
#include "tensor/dtype.h"

#define WHERE          "nlm_weight"
#define CHUNK_BYTES    (1ull << 18) /* of source, between two drops */
#define UPLOAD_BYTES   (1ull << 24)
#define DROP_ALIGNMENT (1ull << 16) /* a multiple of every page size in use */
#define HOST_ALIGNMENT 64u

static uintptr_t align_up(uintptr_t value, uint64_t alignment) {
    return (value + alignment - 1) & ~(uintptr_t)(alignment - 1);
}

/* Drops what was read since *cursor, whole pages only: a page at an edge has another reader. */
static void drop_behind(const nlm_weight *weight, uintptr_t *cursor, uintptr_t end) {
    end &= ~(uintptr_t)(DROP_ALIGNMENT - 1);
    if (!weight->drop_source || end <= *cursor) return;
    weight->drop_source(weight->source_user, (const void *)*cursor, end - *cursor);
    *cursor = end;
}

static void drop_all(const nlm_weight *weight) {
    if (!weight->drop_source) return;
    weight->drop_source(weight->source_user, weight->source.data, nlm_tensor_bytes(&weight->source));
}

/* ---- packing -------------------------------------------------------------------------------- */

/* What is packed, a matrix at a time: experts, [E, N, K], are E matrices, one behind the other. */
typedef struct pack_plan {
    nlm_pack_info_v1 info; /* of a matrix */
    int64_t n_matrices;
    uint64_t matrix_bytes; /* packed, a multiple of HOST_ALIGNMENT if there are several */
    uint64_t bytes;        /* of all */
} pack_plan;

static nlm_tensor matrix_of(const nlm_weight *weight, int64_t index) {
    nlm_tensor matrix = weight->source;
    if (matrix.rank < 3) return matrix;
    matrix.data = (char *)matrix.data + index * matrix.stride_bytes[0];
    matrix.rank = 2;
    for (int d = 0; d < 2; d++) {
        matrix.shape[d] = matrix.shape[d + 1];
        matrix.stride_bytes[d] = matrix.stride_bytes[d + 1];
    }
    matrix.shape[2] = 1;
    matrix.stride_bytes[2] = 0;
    return matrix;
}

typedef struct pack_job {
    const nlm_weight *weight;
    nlm_tensor source; /* a matrix */
    const nlm_device *device;
    uint32_t layout;
    int64_t row_multiple;
    int64_t chunk_rows; /* a multiple of row_multiple */
    void *packed;
    nlm_error *error;
    atomic_int status; /* the first failure's; its worker alone writes *error */
} pack_job;

static void record_failure(pack_job *job, nlm_status status, const nlm_error *error) {
    int expected = NLM_OK;
    if (!atomic_compare_exchange_strong(&job->status, &expected, status)) return;
    if (job->error) *job->error = *error;
}

/* One worker's share: an unbroken range of rows, so that it first touches what it writes. */
static void pack_rows(void *user, uint32_t ith, uint32_t nth) {
    pack_job *job = user;
    const nlm_tensor *source = &job->source;
    const nlm_device_v1 *api = &job->device->api;
    const int64_t units = (source->shape[0] + job->row_multiple - 1) / job->row_multiple;
    int64_t row = units * ith / nth * job->row_multiple;
    int64_t end = units * (ith + 1) / nth * job->row_multiple;
    if (end > source->shape[0]) end = source->shape[0];
    const uintptr_t base = (uintptr_t)source->data;
    const uint64_t row_bytes = (uint64_t)source->stride_bytes[0];
    uintptr_t cursor = align_up(base + (uint64_t)row * row_bytes, DROP_ALIGNMENT);
    while (row < end && atomic_load_explicit(&job->status, memory_order_relaxed) == NLM_OK) {
        const int64_t to = end - row < job->chunk_rows ? end : row + job->chunk_rows;
        nlm_error error = NLM_ERROR_INIT;
        const nlm_status status =
            api->pack(api->self, source, job->layout, job->weight->roles, row, to, job->packed, &error);
        if (status != NLM_OK) {
            record_failure(job, status, &error);
            return;
        }
        drop_behind(job->weight, &cursor, base + (uint64_t)to * row_bytes);
        row = to;
    }
}

static uint64_t alignment_of(const nlm_device *device) {
    return device->info.alignment_bytes > HOST_ALIGNMENT ? device->info.alignment_bytes : HOST_ALIGNMENT;
}

static nlm_status ask_pack_size(const nlm_weight *weight, const nlm_device *device, uint32_t layout, pack_plan *out,
                                nlm_error *err) {
    const nlm_device_v1 *api = &device->api;
    const nlm_tensor matrix = matrix_of(weight, 0);
    nlm_pack_info_v1 *info = &out->info;
    if (!api->pack || !api->pack_size) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "layout %u is wanted by a device that cannot pack", layout);
    }
    *out = (pack_plan){.info = {.struct_size = sizeof *info},
                       .n_matrices = weight->source.rank == 3 ? weight->source.shape[0] : 1};
    NLM_TRY(api->pack_size(api->self, &matrix, layout, weight->roles, info, err));
    if (info->bytes == 0 || info->row_multiple < 1) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "pack_size says %" PRIu64 " bytes, %" PRId64 " rows at a time",
                        info->bytes, info->row_multiple);
    }
    out->matrix_bytes = out->bytes = info->bytes;
    if (weight->source.rank < 3) return NLM_OK;
    if (!nlm_align_u64(info->bytes, HOST_ALIGNMENT, &out->matrix_bytes) ||
        !nlm_mul_u64(out->matrix_bytes, (uint64_t)out->n_matrices, &out->bytes)) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "%" PRId64 " times %" PRIu64 " packed bytes wrap", out->n_matrices,
                        info->bytes);
    }
    return NLM_OK;
}

/* Huge pages make quantised types and halves faster; f32 weights are read no faster from them, some slower. */
static void *alloc_packed(const nlm_weight *weight, uint64_t bytes, uint64_t alignment) {
    return nlm_packed_alloc(bytes, alignment, weight->source.dtype != NLM_F32);
}

/* Packs into fresh host memory, given to the caller. */
static nlm_status pack(const nlm_weight *weight, const nlm_device *device, uint32_t layout, const pack_plan *how,
                       nlm_pool *pool, void **out_packed, nlm_error *err) {
    char *packed = alloc_packed(weight, how->bytes, alignment_of(device));
    if (!packed) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %" PRIu64 " packed bytes", how->bytes);
    nlm_status status = NLM_OK;
    for (int64_t i = 0; i < how->n_matrices && status == NLM_OK; i++) {
        pack_job job = {.weight = weight,
                        .source = matrix_of(weight, i),
                        .device = device,
                        .layout = layout,
                        .row_multiple = how->info.row_multiple,
                        .packed = packed + (uint64_t)i * how->matrix_bytes,
                        .error = err};
        const uint64_t unit_bytes = (uint64_t)job.source.stride_bytes[0] * (uint64_t)job.row_multiple;
        const int64_t units = unit_bytes && unit_bytes < CHUNK_BYTES ? (int64_t)(CHUNK_BYTES / unit_bytes) : 1;
        job.chunk_rows = units * job.row_multiple;
        nlm_pool_run(pool, pack_rows, &job);
        status = atomic_load(&job.status);
    }
    if (status != NLM_OK) {
        nlm_packed_free(packed, how->bytes);
        return status;
    }
    drop_all(weight);
    *out_packed = packed;
    return NLM_OK;
}

/* ---- placing --------------------------------------------------------------------------------- */

static nlm_status upload(const nlm_weight *weight, nlm_weight_place *place, const void *data, uint64_t bytes,
                         nlm_error *err) {
    const nlm_device_v1 *api = &place->device->api;
    NLM_TRY(api->buffer_alloc(api->self, bytes, &place->buffer, &place->tensor.data, err));
    place->tensor.buffer = place->buffer;
    const bool is_source = data == weight->source.data;
    uintptr_t cursor = align_up((uintptr_t)data, DROP_ALIGNMENT);
    for (uint64_t offset = 0; offset < bytes;) {
        const uint64_t part = bytes - offset < UPLOAD_BYTES ? bytes - offset : UPLOAD_BYTES;
        const void *from = (const char *)data + offset;
        const nlm_status status = api->upload(api->self, NULL, place->buffer, offset, from, part, err);
        if (status != NLM_OK) {
            api->buffer_free(api->self, place->buffer);
            return status;
        }
        offset += part;
        if (is_source) drop_behind(weight, &cursor, (uintptr_t)data + offset);
    }
    if (is_source) drop_all(weight);
    return NLM_OK;
}

static nlm_packed describe_packed(const nlm_weight *weight, uint32_t layout, const pack_plan *how) {
    const nlm_tensor *source = &weight->source;
    const int64_t experts = source->rank == 3 ? source->shape[0] : 1, rows = source->shape[source->rank == 3 ? 1 : 0];
    return (nlm_packed){.name = weight->name,
                        .name_bytes = strlen(weight->name),
                        .dtype = (uint32_t)source->dtype,
                        .layout = layout,
                        .layout_version = how->info.layout_version,
                        .roles = weight->roles,
                        .rows = experts * rows,
                        .columns = source->rank > 1 ? source->shape[source->rank - 1] : 1,
                        .bytes = how->bytes};
}

/* Packed bytes in the host's memory, where they stay: mapped from the cache, or the place's own. */
static nlm_status keep_packed(const nlm_weight *weight, nlm_weight_place *place, const pack_plan *how, nlm_pool *pool,
                              nlm_error *err) {
    nlm_packed what = describe_packed(weight, place->layout, how);
    what.data = nlm_pack_cache_find(weight->cache, place->device, &what);
    if (!what.data) {
        NLM_TRY(pack(weight, place->device, place->layout, how, pool, &place->host, err));
        what.data = place->host;
        place->host_bytes = how->bytes;
        nlm_pack_cache_add(weight->cache, place->device, &what);
    }
    place->tensor.data = (void *)(uintptr_t)what.data;
    return NLM_OK;
}

/* By the device itself, in memory of its own. UNSUPPORTED: the host does it. */
static nlm_status pack_there(const nlm_weight *weight, nlm_weight_place *place, const nlm_pack_info_v1 *info,
                             nlm_error *err) {
    const nlm_device_v1 *api = &place->device->api;
    if (!api->pack_device || weight->source.rank > 2) return NLM_UNSUPPORTED;
    nlm_device_packing packing = {.device = place->device,
                                  .source = weight->source,
                                  .layout = place->layout,
                                  .roles = weight->roles,
                                  .row_multiple = info->row_multiple};
    NLM_TRY(api->buffer_alloc(api->self, info->bytes, &packing.packed.buffer, &packing.packed.address, err));
    const nlm_status status = nlm_pack_on_device(&packing, err);
    if (status != NLM_OK) {
        api->buffer_free(api->self, packing.packed.buffer);
        return status;
    }
    drop_all(weight);
    place->buffer = packing.packed.buffer;
    place->tensor.data = packing.packed.address;
    place->tensor.buffer = place->buffer;
    return NLM_OK;
}

static nlm_status fill_place(const nlm_weight *weight, nlm_weight_place *place, nlm_pool *pool, nlm_error *err) {
    const bool is_host = nlm_device_has_host_memory(place->device);
    place->tensor = weight->source;
    place->tensor.layout = place->layout;
    if (place->layout == NLM_LAYOUT_ROW_MAJOR) {
        if (is_host) return NLM_OK;
        return upload(weight, place, weight->source.data, nlm_tensor_bytes(&weight->source), err);
    }
    pack_plan how;
    NLM_TRY(ask_pack_size(weight, place->device, place->layout, &how, err));
    if (is_host) return keep_packed(weight, place, &how, pool, err);
    const nlm_status packed_there = pack_there(weight, place, &how.info, err);
    if (packed_there != NLM_UNSUPPORTED) return packed_there;
    void *packed = NULL;
    NLM_TRY(pack(weight, place->device, place->layout, &how, pool, &packed, err));
    const nlm_status status = upload(weight, place, packed, how.bytes, err);
    nlm_packed_free(packed, how.bytes);
    return status;
}

static nlm_status check_source(const nlm_weight *weight, nlm_error *err) {
    return weight->check_source ? weight->check_source(weight->source_user, err) : NLM_OK;
}

nlm_status nlm_weight_place_on(nlm_weight *weight, const nlm_device *device, uint32_t layout, uint32_t role,
                               nlm_pool *pool, const nlm_tensor **out, nlm_error *err) {
    weight->roles |= role;
    for (int32_t i = 0; i < weight->n_places; i++) {
        const nlm_weight_place *place = &weight->places[i];
        if (place->device != device || place->layout != layout) continue;
        *out = &place->tensor;
        return NLM_OK;
    }
    if (weight->n_places == NLM_WEIGHT_PLACES) {
        return nlm_fail(err, NLM_LIMIT, WHERE, "%s is wanted in more than %d places", weight->name,
                        NLM_WEIGHT_PLACES);
    }
    if (!nlm_tensor_is_contiguous(&weight->source)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s is not contiguous", weight->name);
    }
    nlm_weight_place *place = &weight->places[weight->n_places];
    *place = (nlm_weight_place){.device = device, .layout = layout};
    NLM_TRY(check_source(weight, err));
    NLM_TRY(nlm_status_prefix(fill_place(weight, place, pool, err), err, "weight %s on %s", weight->name,
                              device->backend));
    weight->n_places++;
    NLM_TRY(check_source(weight, err));
    *out = &place->tensor;
    return NLM_OK;
}

void nlm_weight_release(nlm_weight *weight) {
    for (int32_t i = 0; i < weight->n_places; i++) {
        const nlm_weight_place *place = &weight->places[i];
        if (place->buffer) place->device->api.buffer_free(place->device->api.self, place->buffer);
        nlm_packed_free(place->host, place->host_bytes);
    }
    weight->n_places = 0;
}
