/* Tensors that outlive runs, in host memory or on a device. */
#include "exec/state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/status.h"
#include "tensor/dtype.h"

#define WHERE       "nlm_state"
#define PAGE_BYTES  4096u
#define CHUNK_BYTES 65536u

/* Uploaded where memory of a device that cannot fill is to be zero. */
static const unsigned char zeros[CHUNK_BYTES];

nlm_status nlm_state_init(nlm_state *state, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                          nlm_error *err) {
    *state = (nlm_state){.name = name};
    NLM_TRY(nlm_tensor_init(&state->tensor, dtype, rank, shape, NULL, err));
    state->bytes = nlm_tensor_bytes(&state->tensor);
    return NLM_OK;
}

static nlm_status place_on_host(nlm_state *state, nlm_error *err) {
    void *memory =
        mmap(NULL, state->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, WHERE, "cannot get %llu bytes for state %s",
                              (unsigned long long)state->bytes, state->name);
    }
    state->tensor.data = memory;
    return NLM_OK;
}

/* Says which state and where. */
static nlm_status told(const nlm_state *state, nlm_status status, nlm_error *err) {
    return nlm_status_prefix(status, err, "state %s on %s", state->name, state->device->backend);
}

static nlm_status fill_zeros(const nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    const nlm_device_v1 *api = &state->device->api;
    if (api->fill)
        return told(state, api->fill(api->self, NULL, state->buffer, state->from + offset, 0, bytes, err), err);
    while (bytes > 0) {
        const uint64_t part = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
        NLM_TRY(
            told(state, api->upload(api->self, NULL, state->buffer, state->from + offset, zeros, part, err), err));
        offset += part;
        bytes -= part;
    }
    return NLM_OK;
}

static nlm_status place_on_device(nlm_state *state, const nlm_device *device, nlm_error *err) {
    const nlm_device_v1 *api = &device->api;
    NLM_TRY(nlm_status_prefix(api->buffer_alloc(api->self, state->bytes, &state->buffer, &state->tensor.data, err),
                              err, "state %s on %s", state->name, device->backend));
    state->tensor.buffer = state->buffer;
    state->device = device;
    const nlm_status status = fill_zeros(state, 0, state->bytes, err);
    if (status != NLM_OK) nlm_state_release(state);
    return status;
}

nlm_status nlm_state_place(nlm_state *state, const nlm_device *device, nlm_error *err) {
    if (state->device == device) return NLM_OK;
    const bool is_shared =
        state->device && nlm_device_has_host_memory(state->device) && nlm_device_has_host_memory(device);
    if (is_shared) return NLM_OK;
    if (state->device) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "state %s is on %s and cannot move to %s", state->name,
                        state->device->backend, device->backend);
    }
    if (state->bytes == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "state %s has no elements", state->name);
    }
    if (!nlm_device_has_host_memory(device)) return place_on_device(state, device, err);
    NLM_TRY(place_on_host(state, err));
    state->device = device;
    return NLM_OK;
}

static nlm_status check_range(const nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    uint64_t end;
    if (nlm_add_u64(offset, bytes, &end) && end <= state->bytes) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "state %s: %llu bytes at %llu, but it has %llu", state->name,
                    (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)state->bytes);
}

static bool is_on_host(const nlm_state *state) {
    return nlm_device_has_host_memory(state->device);
}

nlm_status nlm_state_read(const nlm_state *state, uint64_t offset, void *out, uint64_t bytes, nlm_error *err) {
    NLM_TRY(check_range(state, offset, bytes, err));
    if (bytes == 0) return NLM_OK;
    if (!state->device) {
        memset(out, 0, bytes);
        return NLM_OK;
    }
    if (is_on_host(state)) {
        memcpy(out, (const char *)state->tensor.data + offset, bytes);
        return NLM_OK;
    }
    const nlm_device_v1 *api = &state->device->api;
    return told(state, api->download(api->self, NULL, state->buffer, state->from + offset, out, bytes, err), err);
}

nlm_status nlm_state_write(nlm_state *state, uint64_t offset, const void *data, uint64_t bytes, nlm_error *err) {
    NLM_TRY(check_range(state, offset, bytes, err));
    if (!state->device) return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "state %s is not placed yet", state->name);
    if (bytes == 0) return NLM_OK;
    if (is_on_host(state)) {
        memcpy((char *)state->tensor.data + offset, data, bytes);
        return NLM_OK;
    }
    const nlm_device_v1 *api = &state->device->api;
    return told(state, api->upload(api->self, NULL, state->buffer, state->from + offset, data, bytes, err), err);
}

/* Whole pages are given back, which zeroes them: a cleared cache costs no memory. */
static void zero_host(char *from, uint64_t bytes) {
    const uint64_t head = (PAGE_BYTES - (uintptr_t)from % PAGE_BYTES) % PAGE_BYTES;
    const uint64_t pages = bytes > head ? (bytes - head) / PAGE_BYTES * PAGE_BYTES : 0;
    if (pages < CHUNK_BYTES || madvise(from + head, pages, MADV_DONTNEED) != 0) {
        memset(from, 0, bytes);
        return;
    }
    memset(from, 0, head);
    memset(from + head + pages, 0, bytes - head - pages);
}

nlm_status nlm_state_zero(nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    NLM_TRY(check_range(state, offset, bytes, err));
    if (!state->device || bytes == 0) return NLM_OK;
    if (!is_on_host(state)) return fill_zeros(state, offset, bytes, err);
    zero_host((char *)state->tensor.data + offset, bytes);
    return NLM_OK;
}

nlm_status nlm_state_copy(nlm_state *state, uint64_t to, uint64_t from, uint64_t bytes, nlm_error *err) {
    NLM_TRY(check_range(state, to, bytes, err));
    NLM_TRY(check_range(state, from, bytes, err));
    if (!state->device || bytes == 0 || to == from) return NLM_OK;
    if ((to > from ? to - from : from - to) < bytes) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "state %s: a copy of %llu bytes from %llu to %llu overlaps",
                        state->name, (unsigned long long)bytes, (unsigned long long)from, (unsigned long long)to);
    }
    if (is_on_host(state)) {
        char *base = state->tensor.data;
        memcpy(base + to, base + from, bytes);
        return NLM_OK;
    }
    const nlm_device_v1 *api = &state->device->api;
    const uint64_t to_byte = state->from + to, from_byte = state->from + from;
    return told(state, api->copy(api->self, NULL, state->buffer, to_byte, state->buffer, from_byte, bytes, err), err);
}

void nlm_state_release(nlm_state *state) {
    if (!state->device) return;
    if (!state->is_lent && is_on_host(state))
        munmap(state->tensor.data, state->bytes);
    else if (!state->is_lent)
        state->device->api.buffer_free(state->device->api.self, state->buffer);
    state->tensor.data = NULL;
    state->tensor.buffer = 0;
    state->buffer = state->from = 0;
    state->device = NULL;
    state->is_lent = false;
}

void nlm_state_lend(nlm_state *state, const nlm_device *device, void *address, uint64_t buffer, uint64_t from) {
    state->tensor.data = address;
    state->tensor.buffer = state->buffer = buffer;
    state->from = from;
    state->device = device;
    state->is_lent = true;
}
