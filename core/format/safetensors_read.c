/* The header of a safetensors file: every type, shape and offset is checked against what the file has. */
#include <cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/little_endian.h"
#include "base/status.h"
#include "format/json.h"
#include "format/safetensors_internal.h"
#include "tensor/dtype.h"

enum { LENGTH_BYTES = 8, MAX_NAME_BYTES = 65535 };

typedef struct reader {
    nlm_safetensors *st;
    const nlm_safetensors_file *file;
    const unsigned char *tensors; /* the bytes behind the header */
    uint64_t tensor_bytes;
    nlm_error *err;
} reader;

#define BAD(r, ...) nlm_fail((r)->err, NLM_BAD_FORMAT, (r)->file->path, __VA_ARGS__)

static nlm_status no_memory(const reader *r) {
    return nlm_fail(r->err, NLM_OUT_OF_MEMORY, r->file->path, "no memory for its header");
}

/* ---- one tensor --------------------------------------------------------------------------- */

/* The `n` whole numbers of a list, which has no more than `most`. */
static nlm_status read_numbers(const reader *r, const char *name, const char *what, const cJSON *list, size_t most,
                               uint64_t *out, size_t *n) {
    if (!cJSON_IsArray(list)) return BAD(r, "the %s of tensor '%s' is no list", what, name);
    *n = 0;
    for (const cJSON *item = list->child; item; item = item->next) {
        if (*n == most) return BAD(r, "the %s of tensor '%s' has more than %zu numbers", what, name, most);
        if (!nlm_json_is_whole(item, &out[*n])) {
            return BAD(r, "the %s of tensor '%s' holds what is no whole number of 0 to 2^53", what, name);
        }
        ++*n;
    }
    return NLM_OK;
}

/* Its shape; *bytes: what that takes. */
static nlm_status read_shape(const reader *r, const cJSON *list, const nlm_safetensors_type *type,
                             nlm_safetensors_tensor *tensor, uint64_t *bytes) {
    uint64_t sizes[NLM_MAX_RANK] = {0}, bits = type->bits;
    size_t rank = 0;
    NLM_TRY(read_numbers(r, tensor->name, "shape", list, NLM_MAX_RANK, sizes, &rank));
    tensor->rank = (int32_t)rank;
    for (size_t d = 0; d < NLM_MAX_RANK; d++) {
        tensor->shape[d] = d < rank ? (int64_t)sizes[d] : 1;
        if (!nlm_mul_u64(bits, (uint64_t)tensor->shape[d], &bits)) {
            return BAD(r, "the shape of tensor '%s' multiplies to more than 2^64 bits", tensor->name);
        }
    }
    if (bits % 8 != 0) return BAD(r, "tensor '%s' takes %" PRIu64 " bits, no whole bytes", tensor->name, bits);
    *bytes = bits / 8;
    return NLM_OK;
}

static nlm_status read_place(const reader *r, const cJSON *list, uint64_t expected, nlm_safetensors_tensor *tensor) {
    uint64_t at[2] = {0};
    size_t count = 0;
    NLM_TRY(read_numbers(r, tensor->name, "data_offsets", list, 2, at, &count));
    if (count != 2) return BAD(r, "the data_offsets of tensor '%s' are not two numbers", tensor->name);
    if (at[0] > at[1] || at[1] > r->tensor_bytes) {
        return BAD(r,
                   "tensor '%s' is said to be at bytes %" PRIu64 " to %" PRIu64 " of the %" PRIu64
                   " bytes of data in the file: is it complete?",
                   tensor->name, at[0], at[1], r->tensor_bytes);
    }
    if (at[1] - at[0] != expected) {
        return BAD(r, "tensor '%s' has %" PRIu64 " bytes; its shape and its type %s take %" PRIu64, tensor->name,
                   at[1] - at[0], tensor->type, expected);
    }
    tensor->bytes = expected;
    tensor->data = r->tensors + at[0];
    return NLM_OK;
}

static void describe(const nlm_safetensors_type *type, nlm_safetensors_tensor *tensor) {
    if (type->dtype == NLM_SAFETENSORS_FOREIGN || tensor->bytes == 0) return;
    void *data = (void *)(uintptr_t)tensor->data;
    const int rank = tensor->rank > 0 ? tensor->rank : 1;
    tensor->is_supported = nlm_tensor_init(&tensor->tensor, type->dtype, rank, tensor->shape, data, NULL) == NLM_OK;
}

static nlm_status read_tensor(const reader *r, const cJSON *item, nlm_safetensors_tensor *tensor) {
    const char *path = r->file->path;
    const size_t length = strlen(item->string);
    if (length == 0 || length > MAX_NAME_BYTES) {
        return BAD(r, "a tensor's name has %zu bytes, expected 1 to %d", length, MAX_NAME_BYTES);
    }
    tensor->name = nlm_arena_strndup(&r->st->arena, item->string, length);
    if (!tensor->name) return no_memory(r);
    if (!cJSON_IsObject(item)) return BAD(r, "what stands for tensor '%s' is no object", tensor->name);
    const cJSON *dtype, *shape, *place;
    NLM_TRY(nlm_json_member(path, item, "dtype", &dtype, r->err));
    NLM_TRY(nlm_json_member(path, item, "shape", &shape, r->err));
    NLM_TRY(nlm_json_member(path, item, "data_offsets", &place, r->err));
    if (!cJSON_IsString(dtype)) return BAD(r, "tensor '%s' has no dtype", tensor->name);
    const nlm_safetensors_type *type = nlm_safetensors_type_named(dtype->valuestring);
    if (!type) return BAD(r, "tensor '%s' has the dtype '%s', which is not known", tensor->name, dtype->valuestring);
    tensor->type = type->name;
    uint64_t bytes = 0;
    NLM_TRY(read_shape(r, shape, type, tensor, &bytes));
    NLM_TRY(read_place(r, place, bytes, tensor));
    describe(type, tensor);
    return NLM_OK;
}

/* ---- the header --------------------------------------------------------------------------- */

static nlm_status read_metadata(const reader *r, const cJSON *object) {
    nlm_safetensors *st = r->st;
    if (!cJSON_IsObject(object)) return BAD(r, "'" SAFETENSORS_METADATA "' is no object");
    for (const cJSON *item = object->child; item; item = item->next) {
        if (!cJSON_IsString(item)) {
            return BAD(r, "'%s' of '" SAFETENSORS_METADATA "' is no string", item->string);
        }
        void *pairs = st->metadata;
        if (!nlm_safetensors_grow(&pairs, st->metadata_count, sizeof *st->metadata)) return no_memory(r);
        st->metadata = pairs;
        nlm_safetensors_pair *pair = &st->metadata[st->metadata_count++];
        pair->key = nlm_arena_strndup(&st->arena, item->string, strlen(item->string));
        pair->value = nlm_arena_strndup(&st->arena, item->valuestring, strlen(item->valuestring));
        if (!pair->key || !pair->value) return no_memory(r);
    }
    return NLM_OK;
}

static nlm_status read_members(const reader *r, const cJSON *root) {
    nlm_safetensors *st = r->st;
    bool has_metadata = false;
    for (const cJSON *item = root->child; item; item = item->next) {
        if (strcmp(item->string, SAFETENSORS_METADATA) == 0) {
            if (has_metadata) return BAD(r, "'" SAFETENSORS_METADATA "' is there twice");
            has_metadata = true;
            NLM_TRY(read_metadata(r, item));
            continue;
        }
        void *tensors = st->tensors;
        if (!nlm_safetensors_grow(&tensors, st->tensor_count, sizeof *st->tensors)) return no_memory(r);
        st->tensors = tensors;
        nlm_safetensors_tensor tensor = {0};
        NLM_TRY(read_tensor(r, item, &tensor));
        st->tensors[st->tensor_count++] = tensor;
    }
    return NLM_OK;
}

/* By where they begin; those without bytes before what begins there. */
static int compare_places(const void *a, const void *b) {
    const nlm_safetensors_tensor *x = *(const nlm_safetensors_tensor *const *)a;
    const nlm_safetensors_tensor *y = *(const nlm_safetensors_tensor *const *)b;
    const uintptr_t at_x = (uintptr_t)x->data, at_y = (uintptr_t)y->data;
    if (at_x != at_y) return at_x < at_y ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The format has no padding: what no tensor owns is data gone astray, or hidden. */
static nlm_status check_filled(const reader *r, const nlm_safetensors_tensor *const *ordered, size_t count) {
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t at = (uint64_t)((const unsigned char *)ordered[i]->data - r->tensors);
        if (at < end) {
            return BAD(r, "the data of tensors '%s' and '%s' overlaps", ordered[i - 1]->name, ordered[i]->name);
        }
        if (at > end) {
            return BAD(r, "%" PRIu64 " bytes of data before tensor '%s' belong to none", at - end, ordered[i]->name);
        }
        end = at + ordered[i]->bytes;
    }
    if (end == r->tensor_bytes) return NLM_OK;
    return BAD(r, "%" PRIu64 " bytes of data at the end of the file belong to no tensor", r->tensor_bytes - end);
}

static nlm_status check_places(const reader *r, size_t first) {
    const nlm_safetensors *st = r->st;
    const size_t count = st->tensor_count - first;
    const nlm_safetensors_tensor **ordered = malloc((count ? count : 1) * sizeof *ordered);
    if (!ordered) return no_memory(r);
    for (size_t i = 0; i < count; i++) ordered[i] = &st->tensors[first + i];
    qsort(ordered, count, sizeof *ordered, compare_places);
    const nlm_status status = check_filled(r, ordered, count);
    free(ordered);
    return status;
}

nlm_status nlm_safetensors_read(nlm_safetensors *st, const nlm_safetensors_file *file, nlm_error *err) {
    reader r = {.st = st, .file = file, .err = err};
    if (file->size < LENGTH_BYTES) {
        return BAD(&r, "not a safetensors file: it has %zu bytes, fewer than the length of its header", file->size);
    }
    const uint64_t length = nlm_get_le(file->data, LENGTH_BYTES), left = file->size - LENGTH_BYTES;
    if (length > left || length > SAFETENSORS_HEADER_BYTES) {
        return BAD(&r,
                   "not a safetensors file, or not a whole one: it begins with a header of %" PRIu64
                   " bytes; %" PRIu64 " follow, and %u are the most",
                   length, left, SAFETENSORS_HEADER_BYTES);
    }
    const char *header = (const char *)file->data + LENGTH_BYTES;
    r.tensors = file->data + LENGTH_BYTES + length;
    r.tensor_bytes = left - length;
    cJSON *root;
    NLM_TRY(nlm_json_parse(file->path, header, (size_t)length, &root, err));
    const size_t first = st->tensor_count;
    nlm_status status = cJSON_IsObject(root) ? read_members(&r, root) : BAD(&r, "its header is no JSON object");
    if (status == NLM_OK) status = check_places(&r, first);
    cJSON_Delete(root);
    return status;
}
