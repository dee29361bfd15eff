/* Any bytes as a safetensors file: parsed, and everything it claims to have is read. */
#include "format/safetensors.h"
#include "tensor/dtype.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the reads of the walk from being optimised away. */
static volatile uint64_t sink;

static void walk_tensor(const nlm_safetensors *st, const nlm_safetensors_tensor *tensor) {
    uint64_t sum = strlen(tensor->name) + strlen(tensor->type);
    for (uint64_t i = 0; i < tensor->bytes; i++) sum += ((const uint8_t *)tensor->data)[i];
    sink += sum;
    sink += nlm_safetensors_find(st, tensor->name) == tensor;
    if (!tensor->is_supported || tensor->tensor.dtype == NLM_I32) return;
    const uint32_t element = nlm_dtype_find(tensor->tensor.dtype)->block_bytes;
    for (uint64_t at = 0; at < tensor->bytes; at += element) {
        float value;
        nlm_decode_row(tensor->tensor.dtype, (const uint8_t *)tensor->data + at, &value, 1);
        sink += value > 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_safetensors *st = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_safetensors_parse("input", data, size, &st, &err) != NLM_OK) return 0;
    for (size_t i = 0; i < nlm_safetensors_count(st); i++) walk_tensor(st, nlm_safetensors_at(st, i));
    const char *format = nlm_safetensors_metadata(st, "format");
    sink += format ? strlen(format) : 0;
    nlm_safetensors_close(st);
    return 0;
}
