/* Writing GGUF v3. Metadata is encoded as it comes; tensors are laid out and copied at finish. */
#include "base/checked.h"
#include "base/file.h"
#include "base/status.h"
#include "base/str.h"
#include "format/gguf.h"
#include "format/gguf_internal.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GGUF_VERSION_WRITTEN 3u

typedef struct pending_tensor {
    char *name;
    nlm_tensor tensor;
    nlm_tensor_source source; /* read NULL: tensor.data */
} pending_tensor;

struct nlm_gguf_writer {
    nlm_str metadata; /* encoded entries */
    uint64_t entry_count;
    char **keys; /* in the order they came */
    pending_tensor *tensors;
    size_t tensor_count;
    uint64_t alignment;
    nlm_arena names;
    nlm_error error; /* code NLM_OK: none so far */
};

nlm_status nlm_gguf_writer_create(nlm_gguf_writer **out, nlm_error *err) {
    nlm_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    w->alignment = GGUF_DEFAULT_ALIGNMENT;
    *out = w;
    return NLM_OK;
}

void nlm_gguf_writer_destroy(nlm_gguf_writer *w) {
    if (!w) return;
    nlm_str_release(&w->metadata);
    nlm_arena_release(&w->names);
    free(w->keys);
    free(w->tensors);
    free(w);
}

static bool has_failed(const nlm_gguf_writer *w) {
    return w->error.code != NLM_OK;
}

static void *grow(nlm_gguf_writer *w, void *array, size_t count, size_t element_bytes) {
    if (count != 0 && (count < 16 || !nlm_is_power_of_two(count))) return array;
    void *bigger = reallocarray(array, count == 0 ? 16 : 2 * count, element_bytes);
    if (!bigger) nlm_fail(&w->error, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    return bigger;
}

static char *copy_name(nlm_gguf_writer *w, const char *name) {
    if (name[0] == '\0') {
        nlm_fail(&w->error, NLM_INVALID_ARGUMENT, __func__, "a name is empty");
        return NULL;
    }
    char *copy = nlm_arena_strndup(&w->names, name, strlen(name));
    if (!copy) nlm_fail(&w->error, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    return copy;
}

static void add_tensor(nlm_gguf_writer *w, const char *name, const nlm_tensor *tensor, nlm_tensor_source source) {
    char *copy = copy_name(w, name);
    if (!copy) return;
    pending_tensor *tensors = grow(w, w->tensors, w->tensor_count, sizeof *tensors);
    if (!tensors) return;
    w->tensors = tensors;
    tensors[w->tensor_count++] = (pending_tensor){copy, *tensor, source};
}

static void put(nlm_str *out, const void *data, size_t bytes) {
    nlm_str_append(out, data, bytes);
}

static void put_u32(nlm_str *out, uint32_t value) {
    put(out, &value, sizeof value);
}

static void put_u64(nlm_str *out, uint64_t value) {
    put(out, &value, sizeof value);
}

static void put_string(nlm_str *out, const char *data, uint64_t length) {
    put_u64(out, length);
    put(out, data, (size_t)length);
}

/* Key and type of the next entry; false if the writer has failed. */
static bool put_key(nlm_gguf_writer *w, const char *key, nlm_gguf_type type) {
    if (has_failed(w)) return false;
    char *copy = copy_name(w, key);
    if (!copy) return false;
    char **keys = grow(w, w->keys, (size_t)w->entry_count, sizeof *keys);
    if (!keys) return false;
    w->keys = keys;
    keys[w->entry_count++] = copy;
    put_string(&w->metadata, key, strlen(key));
    put_u32(&w->metadata, type);
    return true;
}

void nlm_gguf_writer_u32(nlm_gguf_writer *w, const char *key, uint32_t value) {
    if (!put_key(w, key, NLM_GGUF_U32)) return;
    put_u32(&w->metadata, value);
    if (strcmp(key, GGUF_ALIGNMENT_KEY) != 0) return;
    w->alignment = value;
    if (!nlm_is_power_of_two(value) || value < 8) {
        nlm_fail(&w->error, NLM_INVALID_ARGUMENT, __func__,
                 "the alignment is %" PRIu32 ", expected a power of two, 8 or more", value);
    }
}

void nlm_gguf_writer_f32(nlm_gguf_writer *w, const char *key, float value) {
    if (put_key(w, key, NLM_GGUF_F32)) put(&w->metadata, &value, sizeof value);
}

void nlm_gguf_writer_bool(nlm_gguf_writer *w, const char *key, bool value) {
    const uint8_t byte = value;
    if (put_key(w, key, NLM_GGUF_BOOL)) put(&w->metadata, &byte, sizeof byte);
}

void nlm_gguf_writer_string(nlm_gguf_writer *w, const char *key, const char *data, size_t length) {
    if (put_key(w, key, NLM_GGUF_STRING)) put_string(&w->metadata, data, length);
}

static bool put_array(nlm_gguf_writer *w, const char *key, nlm_gguf_type element_type, uint64_t count) {
    if (!put_key(w, key, NLM_GGUF_ARRAY)) return false;
    put_u32(&w->metadata, element_type);
    put_u64(&w->metadata, count);
    return true;
}

void nlm_gguf_writer_array(nlm_gguf_writer *w, const char *key, nlm_gguf_type element_type, const void *data,
                           uint64_t count) {
    if (has_failed(w)) return;
    uint64_t bytes;
    const size_t element = nlm_gguf_type_bytes(element_type);
    if (element == 0 || !nlm_mul_u64(count, element, &bytes) || bytes > SIZE_MAX) {
        nlm_fail(&w->error, NLM_INVALID_ARGUMENT, __func__, "'%s' is no array of %" PRIu64 " numbers: type %s", key,
                 count, nlm_gguf_type_name(element_type));
        return;
    }
    if (put_array(w, key, element_type, count)) put(&w->metadata, data, (size_t)bytes);
}

void nlm_gguf_writer_strings(nlm_gguf_writer *w, const char *key, const nlm_gguf_string *strings, uint64_t count) {
    if (!put_array(w, key, NLM_GGUF_STRING, count)) return;
    for (uint64_t i = 0; i < count; i++) put_string(&w->metadata, strings[i].data, strings[i].length);
}

void nlm_gguf_writer_entry(nlm_gguf_writer *w, const nlm_gguf_entry *entry) {
    if (has_failed(w)) return;
    char *key = nlm_arena_strndup(&w->names, entry->key.data, entry->key.length);
    if (!key) {
        nlm_fail(&w->error, NLM_OUT_OF_MEMORY, __func__, "out of memory");
        return;
    }
    uint32_t number;
    const bool is_array = entry->type == NLM_GGUF_ARRAY;
    if (is_array && entry->strings) {
        nlm_gguf_writer_strings(w, key, entry->strings, entry->count);
    } else if (is_array) {
        nlm_gguf_writer_array(w, key, entry->element_type, entry->data, entry->count);
    } else if (entry->type == NLM_GGUF_STRING) {
        nlm_gguf_writer_string(w, key, entry->data, (size_t)entry->bytes);
    } else if (entry->type == NLM_GGUF_U32) {
        memcpy(&number, entry->data, sizeof number);
        nlm_gguf_writer_u32(w, key, number);
    } else if (put_key(w, key, entry->type)) {
        put(&w->metadata, entry->data, (size_t)entry->bytes);
    }
}

void nlm_gguf_writer_tensor(nlm_gguf_writer *w, const char *name, const nlm_tensor *tensor) {
    if (has_failed(w)) return;
    if (!nlm_tensor_is_contiguous(tensor) || nlm_tensor_bytes(tensor) == 0) {
        nlm_fail(&w->error, NLM_INVALID_ARGUMENT, __func__, "tensor '%s' is empty or not contiguous", name);
        return;
    }
    add_tensor(w, name, tensor, (nlm_tensor_source){0});
}

void nlm_gguf_writer_source(nlm_gguf_writer *w, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                            nlm_tensor_source source) {
    if (has_failed(w)) return;
    nlm_tensor tensor;
    nlm_error why = NLM_ERROR_INIT;
    if (nlm_tensor_init(&tensor, dtype, rank, shape, NULL, &why) != NLM_OK || nlm_tensor_bytes(&tensor) == 0) {
        nlm_fail(&w->error, NLM_INVALID_ARGUMENT, __func__, "tensor '%s': %s", name, why.code ? why.msg : "empty");
        return;
    }
    add_tensor(w, name, &tensor, source);
}

static int compare_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts `names`; names a repeated one. */
static nlm_status check_unique(char **names, size_t count, const char *what, nlm_error *err) {
    if (count > 1) qsort(names, count, sizeof *names, compare_text);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "the %s '%s' was given twice", what, names[i]);
        }
    }
    return NLM_OK;
}

static nlm_status check_names(const nlm_gguf_writer *w, nlm_error *err) {
    NLM_TRY(check_unique(w->keys, (size_t)w->entry_count, "key", err));
    char **names = malloc((w->tensor_count + 1) * sizeof *names);
    if (!names) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    for (size_t i = 0; i < w->tensor_count; i++) names[i] = w->tensors[i].name;
    const nlm_status status = check_unique(names, w->tensor_count, "tensor", err);
    free(names);
    return status;
}

/* Name, dimensions (innermost first), type and offset of each tensor. */
static nlm_status encode_infos(const nlm_gguf_writer *w, nlm_str *out, nlm_error *err) {
    uint64_t offset = 0;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const nlm_tensor *tensor = &w->tensors[i].tensor;
        put_string(out, w->tensors[i].name, strlen(w->tensors[i].name));
        put_u32(out, (uint32_t)tensor->rank);
        for (int d = tensor->rank - 1; d >= 0; d--) put_u64(out, (uint64_t)tensor->shape[d]);
        put_u32(out, (uint32_t)tensor->dtype);
        put_u64(out, offset);
        if (!nlm_add_u64(offset, nlm_tensor_bytes(tensor), &offset) ||
            !nlm_align_u64(offset, w->alignment, &offset)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "the tensors' size does not fit 64 bits");
        }
    }
    return NLM_OK;
}

static nlm_status pad_to_alignment(const nlm_gguf_writer *w, nlm_file_writer *file, nlm_error *err) {
    const uint64_t past = nlm_file_writer_position(file) & (w->alignment - 1);
    return past == 0 ? NLM_OK : nlm_file_writer_pad(file, w->alignment - past, err);
}

static nlm_status write_tensors(const nlm_gguf_writer *w, nlm_file_writer *file, nlm_error *err) {
    for (size_t i = 0; i < w->tensor_count; i++) {
        const nlm_tensor *tensor = &w->tensors[i].tensor;
        const nlm_tensor_source source = w->tensors[i].source;
        NLM_TRY(pad_to_alignment(w, file, err));
        NLM_TRY(source.read ? nlm_tensor_source_write(source, tensor, file, err)
                            : nlm_file_writer_write(file, tensor->data, (size_t)nlm_tensor_bytes(tensor), err));
    }
    return pad_to_alignment(w, file, err);
}

static nlm_status write_file(const nlm_gguf_writer *w, const nlm_str *head, nlm_file_writer *file, nlm_error *err) {
    NLM_TRY(nlm_file_writer_write(file, head->data, head->length, err));
    NLM_TRY(write_tensors(w, file, err));
    return nlm_file_writer_commit(file, err);
}

/* All that stands before the tensors' data. */
static nlm_status encode_head(const nlm_gguf_writer *w, const char *path, nlm_str *out, nlm_error *err) {
    if (has_failed(w)) return nlm_fail(err, w->error.code, w->error.where, "%s", w->error.msg);
    NLM_TRY(check_names(w, err));
    put(out, "GGUF", 4);
    put_u32(out, GGUF_VERSION_WRITTEN);
    put_u64(out, w->tensor_count);
    put_u64(out, w->entry_count);
    put(out, w->metadata.data, w->metadata.length);
    NLM_TRY(encode_infos(w, out, err));
    if (!out->has_failed && !w->metadata.has_failed) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
}

nlm_status nlm_gguf_writer_finish(nlm_gguf_writer *w, const char *path, nlm_error *err) {
    nlm_str head = {0};
    nlm_status status = encode_head(w, path, &head, err);
    nlm_file_writer *file = NULL;
    if (status == NLM_OK) status = nlm_file_writer_create(path, &file, err);
    if (status == NLM_OK) status = write_file(w, &head, file, err);
    nlm_file_writer_destroy(file);
    nlm_str_release(&head);
    return status;
}

/* Bytes of the whole, padding included; encode_infos has checked that the tensors' sum does not wrap. */
static bool total_bytes(const nlm_gguf_writer *w, const nlm_str *head, uint64_t *out) {
    uint64_t total;
    if (!nlm_align_u64(head->length, w->alignment, &total)) return false;
    for (size_t i = 0; i < w->tensor_count; i++) {
        if (!nlm_add_u64(total, nlm_tensor_bytes(&w->tensors[i].tensor), &total)) return false;
        if (!nlm_align_u64(total, w->alignment, &total)) return false;
    }
    *out = total;
    return total <= SIZE_MAX;
}

nlm_status nlm_gguf_writer_map(nlm_gguf_writer *w, const char *name, nlm_gguf **out, nlm_error *err) {
    nlm_str head = {0};
    uint64_t bytes = 0;
    nlm_file_map map = {0};
    nlm_status status = encode_head(w, name, &head, err);
    if (status == NLM_OK && !total_bytes(w, &head, &bytes)) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, name, "the size does not fit the address space");
    }
    if (status == NLM_OK) status = nlm_file_map_zeros((size_t)bytes, &map, err);
    if (status == NLM_OK) {
        memcpy((void *)(uintptr_t)map.data, head.data, head.length);
        status = nlm_gguf_take_map(name, &map, out, err);
    }
    nlm_str_release(&head);
    return status;
}
