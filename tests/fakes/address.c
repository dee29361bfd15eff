/* Addresses that only the device can follow. */
#include <inttypes.h>

#include "fake.h"

uint64_t fake_row_bytes(const nlm_tensor *weight) {
    const nlm_dtype_info *type = nlm_dtype_find(weight->dtype);
    return (uint64_t)weight->shape[weight->rank - 1] / type->block_elements * type->block_bytes;
}

uint64_t fake_span(const nlm_tensor *tensor) {
    if (tensor->layout == FAKE_REVERSED) return (uint64_t)tensor->shape[0] * fake_row_bytes(tensor);
    const nlm_dtype_info *type = nlm_dtype_find(tensor->dtype);
    const uint32_t elements = type->block_elements;
    uint64_t bytes = type->block_bytes;
    for (int i = 0; i < tensor->rank; i++) {
        const int64_t steps = i == tensor->rank - 1 ? tensor->shape[i] / elements : tensor->shape[i];
        if (steps == 0) return 0;
        bytes += (uint64_t)((steps - 1) * tensor->stride_bytes[i]);
    }
    return bytes;
}

/* ---- when it is enqueued ---- */

static nlm_status find_address(const fake_device *device, const void *pointer, uint64_t bytes, const char *what,
                               fake_buffer **out, nlm_error *error) {
    const uint64_t address = (uint64_t)(uintptr_t)pointer;
    for (fake_buffer *buffer = device->buffers; buffer; buffer = buffer->next) {
        if (address < buffer->address || address - buffer->address > buffer->bytes) continue;
        if (bytes > buffer->bytes - (address - buffer->address)) break;
        *out = buffer;
        return NLM_OK;
    }
    return fake_fail(error, NLM_DEVICE_ERROR, "%s: %" PRIu64 " bytes at %p are not in a buffer", what, bytes,
                     pointer);
}

static nlm_status hold_block(const fake_device *device, fake_work *work, const char *name, const void *block,
                             uint64_t bytes, nlm_error *error) {
    fake_buffer *buffer = NULL;
    if (bytes == 0) return NLM_OK;
    const nlm_status status = find_address(device, block, bytes, name, &buffer, error);
    if (status == NLM_OK) fake_hold(work, buffer);
    return status;
}

static nlm_status hold_tensor(const fake_device *device, fake_work *work, const char *name, const nlm_tensor *tensor,
                              nlm_error *error) {
    fake_buffer *buffer = NULL;
    const uint64_t bytes = fake_span(tensor);
    if (bytes == 0) return NLM_OK;
    const nlm_status status = find_address(device, tensor->data, bytes, name, &buffer, error);
    if (status != NLM_OK) return status;
    if (tensor->buffer != buffer->handle) {
        return fake_fail(error, NLM_DEVICE_ERROR, "%s: its address is in buffer %" PRIu64 ", not %" PRIu64, name,
                         buffer->handle, tensor->buffer);
    }
    fake_hold(work, buffer);
    return NLM_OK;
}

nlm_status fake_hold_args(const fake_device *device, fake_work *work, nlm_error *error) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    const nlm_exec_v1 *x = &work->x;
    nlm_status status = NLM_OK;
    if (device->is_shared) return NLM_OK;
    for (uint32_t i = 0; i < spec->n_fields && status == NLM_OK; i++) {
        if (!nlm_args_tensor(&work->args, &spec->fields[i])) continue;
        status = hold_tensor(device, work, spec->fields[i].name, &work->tensors[i], error);
    }
    if (status == NLM_OK) status = hold_block(device, work, "workspace", x->workspace, x->workspace_bytes, error);
    if (status == NLM_OK) status = hold_block(device, work, "scratch", x->scratch, x->scratch_bytes, error);
    const uint64_t counts = x->live_rows_device ? sizeof work->live_rows : 0;
    if (status == NLM_OK) status = hold_block(device, work, "live_rows_device", x->live_rows_device, counts, error);
    return status;
}

/* ---- when it is done ---- */

static void *to_host(const fake_work *work, const void *pointer) {
    const uint64_t address = (uint64_t)(uintptr_t)pointer;
    for (uint32_t i = 0; i < work->n_named; i++) {
        const fake_buffer *b = work->named[i];
        if (address >= b->address && address - b->address <= b->bytes) return b->memory + (address - b->address);
    }
    return NULL;
}

/* A reversed weight is one with a negative stride. */
static void read_backwards(nlm_tensor *tensor) {
    if (tensor->layout != FAKE_REVERSED) return;
    tensor->layout = NLM_LAYOUT_ROW_MAJOR;
    const int64_t row_bytes = (int64_t)fake_row_bytes(tensor);
    tensor->data = (uint8_t *)tensor->data + (tensor->shape[0] - 1) * row_bytes;
    tensor->stride_bytes[0] = -row_bytes;
    tensor->stride_bytes[1] = nlm_dtype_find(tensor->dtype)->block_bytes;
}

void fake_translate(const fake_device *device, fake_work *work) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!nlm_args_tensor(&work->args, &spec->fields[i])) continue;
        nlm_args_set_tensor(&work->args, &spec->fields[i], &work->tensors[i]);
        if (fake_span(&work->tensors[i]) == 0) continue;
        if (!device->is_shared) work->tensors[i].data = to_host(work, work->tensors[i].data);
        read_backwards(&work->tensors[i]);
    }
    if (device->is_shared) return;
    work->x.workspace = to_host(work, work->x.workspace);
    work->x.scratch = to_host(work, work->x.scratch);
    work->x.live_rows_device = to_host(work, work->x.live_rows_device);
}
