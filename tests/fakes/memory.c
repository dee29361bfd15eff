/* Buffers, and addresses that only the device can follow. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

static fake_buffer *find_buffer(const fake_device *device, uint64_t handle) {
    fake_buffer *buffer = device->buffers;
    while (buffer && buffer->handle != handle) buffer = buffer->next;
    return buffer;
}

nlm_status fake_buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error) {
    fake_device *device = self;
    const nlm_status status = fake_enter(device, "buffer_alloc", error);
    if (status != NLM_OK) return status;
    const nlm_status told = fake_enter_alloc(device, bytes, error);
    if (told != NLM_OK) return told;
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
                            .memory = memory};
    device->buffers = buffer;
    device->next_address += (bytes / FAKE_ADDRESS_STRIDE + 2) * FAKE_ADDRESS_STRIDE;
    *out_buffer = buffer->handle;
    *out_address = (void *)(uintptr_t)buffer->address;
    return NLM_OK;
}

void fake_buffer_free(void *self, uint64_t handle) {
    fake_device *device = self;
    for (fake_buffer **link = &device->buffers; *link; link = &(*link)->next) {
        fake_buffer *buffer = *link;
        if (buffer->handle != handle) continue;
        *link = buffer->next;
        free(buffer->memory);
        free(buffer);
        return;
    }
    fake_log(device, NLM_LOG_ERROR, "buffer %" PRIu64 " is freed, but there is none", handle);
}

nlm_status fake_find_range(const fake_device *device, fake_range range, uint64_t bytes, uint8_t **out,
                           nlm_error *error) {
    const fake_buffer *buffer = find_buffer(device, range.buffer);
    if (!buffer) return fake_fail(error, NLM_DEVICE_ERROR, "there is no buffer %" PRIu64, range.buffer);
    if (range.offset > buffer->bytes || bytes > buffer->bytes - range.offset) {
        return fake_fail(error, NLM_DEVICE_ERROR, "%" PRIu64 " bytes at %" PRIu64 " of a buffer of %" PRIu64, bytes,
                         range.offset, buffer->bytes);
    }
    *out = buffer->memory + range.offset;
    return NLM_OK;
}

static nlm_status find_address(const fake_device *device, const void *pointer, uint64_t bytes, const char *what,
                               const fake_buffer **out, nlm_error *error) {
    const uint64_t address = (uint64_t)(uintptr_t)pointer;
    for (const fake_buffer *buffer = device->buffers; buffer; buffer = buffer->next) {
        if (address < buffer->address || address - buffer->address > buffer->bytes) continue;
        if (bytes > buffer->bytes - (address - buffer->address)) break;
        *out = buffer;
        return NLM_OK;
    }
    return fake_fail(error, NLM_DEVICE_ERROR, "%s: %" PRIu64 " bytes at %p are not in a buffer", what, bytes,
                     pointer);
}

static void *to_host(const fake_buffer *buffer, const void *pointer) {
    return buffer->memory + ((uint64_t)(uintptr_t)pointer - buffer->address);
}

typedef struct type_size {
    nlm_dtype dtype;
    uint32_t elements, bytes;
} type_size;

static const type_size type_sizes[] = {
#define TYPE_SIZE(NAME, name, number, elements, bytes) {number, elements, bytes},
    NLM_DTYPE_LIST(TYPE_SIZE)
#undef TYPE_SIZE
};

static type_size size_of(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof type_sizes / sizeof *type_sizes; i++) {
        if (type_sizes[i].dtype == dtype) return type_sizes[i];
    }
    return (type_size){dtype, 1, 0};
}

uint64_t fake_row_bytes(const nlm_tensor *weight) {
    const type_size size = size_of(weight->dtype);
    return (uint64_t)weight->shape[weight->rank - 1] / size.elements * size.bytes;
}

/* Bytes from the first to the last element; 0 if it has none. */
static uint64_t span(const nlm_tensor *tensor) {
    if (tensor->layout == FAKE_REVERSED) return (uint64_t)tensor->shape[0] * fake_row_bytes(tensor);
    const uint32_t elements = size_of(tensor->dtype).elements;
    uint64_t bytes = size_of(tensor->dtype).bytes;
    for (int i = 0; i < tensor->rank; i++) {
        const int64_t steps = i == tensor->rank - 1 ? tensor->shape[i] / elements : tensor->shape[i];
        if (steps == 0) return 0;
        bytes += (uint64_t)((steps - 1) * tensor->stride_bytes[i]);
    }
    return bytes;
}

/* A reversed weight is one with a negative stride. */
static void read_backwards(nlm_tensor *tensor) {
    if (tensor->layout != FAKE_REVERSED) return;
    tensor->layout = NLM_LAYOUT_ROW_MAJOR;
    const int64_t row_bytes = (int64_t)fake_row_bytes(tensor);
    tensor->data = (uint8_t *)tensor->data + (tensor->shape[0] - 1) * row_bytes;
    tensor->stride_bytes[0] = -row_bytes;
    tensor->stride_bytes[1] = size_of(tensor->dtype).bytes;
}

static nlm_status translate_tensor(const fake_device *device, const char *name, nlm_tensor *tensor,
                                   nlm_error *error) {
    const fake_buffer *buffer = NULL;
    const uint64_t bytes = span(tensor);
    if (bytes == 0) return NLM_OK;
    const nlm_status status = find_address(device, tensor->data, bytes, name, &buffer, error);
    if (status != NLM_OK) return status;
    if (tensor->buffer != buffer->handle) {
        return fake_fail(error, NLM_DEVICE_ERROR, "%s: its address is in buffer %" PRIu64 ", not %" PRIu64, name,
                         buffer->handle, tensor->buffer);
    }
    tensor->data = to_host(buffer, tensor->data);
    read_backwards(tensor);
    return NLM_OK;
}

static nlm_status translate_block(const fake_device *device, const char *name, void **block, uint64_t bytes,
                                  nlm_error *error) {
    const fake_buffer *buffer = NULL;
    if (bytes == 0) return NLM_OK;
    const nlm_status status = find_address(device, *block, bytes, name, &buffer, error);
    if (status == NLM_OK) *block = to_host(buffer, *block);
    return status;
}

nlm_status fake_translate(const fake_device *device, fake_work *work, nlm_error *error) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!nlm_args_tensor(&work->args, &spec->fields[i])) continue;
        nlm_args_set_tensor(&work->args, &spec->fields[i], &work->tensors[i]);
        const nlm_status status = translate_tensor(device, spec->fields[i].name, &work->tensors[i], error);
        if (status != NLM_OK) return status;
    }
    const nlm_status status =
        translate_block(device, "workspace", &work->x.workspace, work->x.workspace_bytes, error);
    if (status != NLM_OK) return status;
    return translate_block(device, "scratch", &work->x.scratch, work->x.scratch_bytes, error);
}
