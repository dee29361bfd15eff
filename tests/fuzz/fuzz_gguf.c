/* Any bytes as a GGUF file: parsed, and everything it claims to have is read. */
#include "format/gguf.h"
#include "tensor/dtype.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the reads of the walk from being optimised away. */
static volatile uint64_t sink;

static void read_bytes(const void *data, uint64_t size) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += ((const uint8_t *)data)[i];
    sink += sum;
}

/* Every getter by the key's name, which may hold a NUL and then names something else or nothing. */
static void use_getters(const nlm_gguf *gguf, const nlm_gguf_entry *entry) {
    char *key = strndup(entry->key.data, (size_t)entry->key.length);
    if (!key) return;
    uint64_t integer = 0;
    float number = 0;
    bool flag = false;
    nlm_gguf_string text = {"", 0};
    nlm_error err = NLM_ERROR_INIT;
    sink += nlm_gguf_find(gguf, key) == entry;
    sink += nlm_gguf_get_u64(gguf, key, &integer, &err) == NLM_OK ? integer : 0;
    sink += nlm_gguf_get_f32(gguf, key, &number, &err) == NLM_OK && number > 0;
    sink += nlm_gguf_get_bool(gguf, key, &flag, &err) == NLM_OK && flag;
    if (nlm_gguf_get_string(gguf, key, &text, &err) == NLM_OK) read_bytes(text.data, text.length);
    free(key);
}

static void walk_entry(const nlm_gguf *gguf, const nlm_gguf_entry *entry) {
    read_bytes(entry->key.data, entry->key.length);
    read_bytes(entry->data, entry->bytes);
    for (uint64_t i = 0; i < entry->count; i++) {
        if (entry->strings) read_bytes(entry->strings[i].data, entry->strings[i].length);
        sink += (uint64_t)nlm_gguf_array_i64(entry, i);
        sink += nlm_gguf_array_f64(entry, i) > 0;
    }
    use_getters(gguf, entry);
}

static void walk_tensor(const nlm_gguf_tensor *tensor) {
    read_bytes(tensor->name.data, tensor->name.length);
    if (!tensor->is_supported) return;
    read_bytes(tensor->tensor.data, tensor->bytes);
    const nlm_dtype_info *info = nlm_dtype_find(tensor->tensor.dtype);
    float values[256];
    const uint8_t *block = tensor->tensor.data;
    for (uint64_t at = 0; at < tensor->bytes && info->dtype != NLM_I32; at += info->block_bytes) {
        nlm_decode_row(info->dtype, block + at, values, info->block_elements);
        sink += values[0] > 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_gguf *gguf = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_gguf_parse("input", data, size, &gguf, &err) != NLM_OK) return 0;
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) walk_entry(gguf, nlm_gguf_entry_at(gguf, i));
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) walk_tensor(nlm_gguf_tensor_at(gguf, i));
    nlm_gguf_close(gguf);
    return 0;
}
