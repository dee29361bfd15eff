/* Reading a GGUF file: one pass over the header, every number checked against what is left of the file
 * before it is used or allocated for. */
#include "base/checked.h"
#include "base/status.h"
#include "format/gguf.h"
#include "format/gguf_internal.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF data is read in place, which needs a little-endian machine"
#endif

enum {
    MIN_ENTRY_BYTES = 8 + 4 + 1,          /* key length, type, the smallest value */
    MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8, /* name length, n_dims, one dimension, type, offset */
    MAX_KEY_BYTES = 65535,                /* the specification's limit */
    SHOWN_NAME = 80                       /* bytes of a name shown in a message */
};

typedef struct reader {
    nlm_gguf *gguf;
    size_t at;
    nlm_error *err;
} reader;

static size_t left(const reader *r) {
    return r->gguf->size - r->at;
}

/* Fails at an offset: where = path:offset, the path cut at its front if it is long. */
__attribute__((format(printf, 4, 5))) static nlm_status fail_at(const reader *r, nlm_status code, uint64_t offset,
                                                                const char *format, ...) {
    if (!r->err) return code;
    char where[sizeof r->err->where], message[sizeof r->err->msg];
    const char *path = r->gguf->path;
    const size_t length = strlen(path), room = sizeof where - 28;
    snprintf(where, sizeof where, "%s%s:%" PRIu64, length > room ? "..." : "",
             length > room ? path + length - room : path, offset);
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return nlm_fail(r->err, code, where, "%s", message);
}
#define BAD(r, offset, ...) fail_at(r, NLM_BAD_FORMAT, offset, __VA_ARGS__)

/* A name as a message may show it: printable ASCII, shortened. */
typedef struct shown {
    char text[SHOWN_NAME + 4];
} shown;

static shown show(nlm_gguf_string name) {
    shown out;
    const size_t length = name.length < SHOWN_NAME ? (size_t)name.length : SHOWN_NAME;
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)name.data[i];
        out.text[i] = (char)(c >= 0x20 && c < 0x7F ? c : '?');
    }
    snprintf(out.text + length, sizeof out.text - length, "%s", name.length > length ? "..." : "");
    return out;
}

/* Where in the file a name is: what a message about its owner points at. */
static uint64_t offset_of(const reader *r, nlm_gguf_string name) {
    return (uint64_t)((const unsigned char *)name.data - r->gguf->data);
}

static nlm_status take(reader *r, void *out, size_t bytes, const char *what) {
    if (left(r) < bytes) {
        return BAD(r, r->at, "the file ends within %s: %zu bytes are left, expected %zu", what, left(r), bytes);
    }
    memcpy(out, r->gguf->data + r->at, bytes);
    r->at += bytes;
    return NLM_OK;
}

static nlm_status take_string(reader *r, nlm_gguf_string *out, const char *what) {
    uint64_t length = 0;
    NLM_TRY(take(r, &length, sizeof length, what));
    if (length > left(r)) {
        return BAD(r, r->at - 8, "the length of %s is %" PRIu64 ", but %zu bytes are left of the file", what, length,
                   left(r));
    }
    *out = (nlm_gguf_string){(const char *)r->gguf->data + r->at, length};
    r->at += (size_t)length;
    return NLM_OK;
}

static nlm_status take_magic_and_version(reader *r) {
    unsigned char magic[4];
    NLM_TRY(take(r, magic, sizeof magic, "the magic"));
    if (memcmp(magic, "GGUF", 4) != 0) {
        return BAD(r, 0, "not a GGUF file: it starts with bytes %02x %02x %02x %02x, expected \"GGUF\"", magic[0],
                   magic[1], magic[2], magic[3]);
    }
    uint32_t version = 0;
    NLM_TRY(take(r, &version, sizeof version, "the version"));
    if (version == 2 || version == 3) {
        r->gguf->version = version;
        return NLM_OK;
    }
    if (version != 0 && (version & 0xFFFF) == 0) {
        return fail_at(r, NLM_UNSUPPORTED, 4, "a big-endian GGUF file (version %u); expected little-endian",
                       __builtin_bswap32(version));
    }
    return fail_at(r, NLM_UNSUPPORTED, 4, "GGUF version %" PRIu32 ", expected 2 or 3%s", version,
                   version == 1 ? ": convert the file with a current tool" : "");
}

/* Counts tensor infos and entries against the bytes they would need at least. */
static nlm_status take_counts(reader *r, uint64_t *tensors, uint64_t *entries) {
    NLM_TRY(take(r, tensors, sizeof *tensors, "the tensor count"));
    NLM_TRY(take(r, entries, sizeof *entries, "the metadata count"));
    if (*tensors > left(r) / MIN_TENSOR_BYTES) {
        return BAD(r, 8, "the tensor count is %" PRIu64 ", more than the %zu bytes left could hold", *tensors,
                   left(r));
    }
    if (*entries > left(r) / MIN_ENTRY_BYTES) {
        return BAD(r, 16, "the metadata count is %" PRIu64 ", more than the %zu bytes left could hold", *entries,
                   left(r));
    }
    return NLM_OK;
}

static nlm_status check_bools(const reader *r, size_t at, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        const unsigned char value = r->gguf->data[at + i];
        if (value > 1) return BAD(r, at + i, "a bool is %u, expected 0 or 1", value);
    }
    return NLM_OK;
}

static nlm_status take_strings(reader *r, nlm_gguf_entry *entry) {
    const size_t start = r->at;
    if (entry->count > left(r) / 8) {
        return BAD(r, r->at - 8, "an array has %" PRIu64 " strings, more than the %zu bytes left could hold",
                   entry->count, left(r));
    }
    /* Twice over the same bytes: nothing is allocated before all lengths are known to be sound. */
    nlm_gguf_string string;
    for (uint64_t i = 0; i < entry->count; i++) NLM_TRY(take_string(r, &string, "a string of an array"));
    nlm_gguf_string *strings = nlm_arena_array(&r->gguf->arena, (size_t)entry->count, sizeof *strings);
    if (!strings) return fail_at(r, NLM_OUT_OF_MEMORY, start, "out of memory for %" PRIu64 " strings", entry->count);
    entry->bytes = r->at - start;
    r->at = start;
    for (uint64_t i = 0; i < entry->count; i++) NLM_TRY(take_string(r, &strings[i], "a string of an array"));
    entry->strings = strings;
    return NLM_OK;
}

static nlm_status take_type(reader *r, nlm_gguf_type *out, const char *what) {
    uint32_t type = 0;
    NLM_TRY(take(r, &type, sizeof type, what));
    if (type > NLM_GGUF_F64) return BAD(r, r->at - 4, "%s is %" PRIu32 ", expected 0 to 12", what, type);
    *out = (nlm_gguf_type)type;
    return NLM_OK;
}

static nlm_status take_elements(reader *r, nlm_gguf_entry *entry) {
    entry->data = r->gguf->data + r->at;
    if (entry->element_type == NLM_GGUF_STRING) return take_strings(r, entry);
    const size_t element = nlm_gguf_type_bytes(entry->element_type);
    if (entry->count > left(r) / element) {
        return BAD(r, r->at, "%" PRIu64 " elements of type %s, but %zu bytes are left of the file", entry->count,
                   nlm_gguf_type_name(entry->element_type), left(r));
    }
    entry->bytes = entry->count * element;
    if (entry->element_type == NLM_GGUF_BOOL) NLM_TRY(check_bools(r, r->at, entry->count));
    r->at += (size_t)entry->bytes;
    return NLM_OK;
}

static nlm_status take_value(reader *r, nlm_gguf_entry *entry) {
    entry->element_type = entry->type;
    entry->count = 1;
    if (entry->type == NLM_GGUF_STRING) {
        nlm_gguf_string string;
        NLM_TRY(take_string(r, &string, "a string"));
        entry->data = string.data;
        entry->bytes = string.length;
        return NLM_OK;
    }
    if (entry->type != NLM_GGUF_ARRAY) return take_elements(r, entry);
    NLM_TRY(take_type(r, &entry->element_type, "the element type of an array"));
    if (entry->element_type == NLM_GGUF_ARRAY) {
        return BAD(r, r->at - 4, "the key '%s' is an array of arrays, which is not supported", show(entry->key).text);
    }
    NLM_TRY(take(r, &entry->count, sizeof entry->count, "the length of an array"));
    return take_elements(r, entry);
}

static nlm_status take_entry(reader *r, nlm_gguf_entry *entry) {
    const size_t start = r->at;
    NLM_TRY(take_string(r, &entry->key, "a metadata key"));
    if (entry->key.length == 0 || entry->key.length > MAX_KEY_BYTES) {
        return BAD(r, start, "a metadata key has %" PRIu64 " bytes, expected 1 to %d", entry->key.length,
                   MAX_KEY_BYTES);
    }
    NLM_TRY(take_type(r, &entry->type, "the type of a metadata value"));
    return take_value(r, entry);
}

/* Makes room for one more of `count` elements; doubles, so that memory follows what was parsed. */
static nlm_status grow(const reader *r, void **array, size_t count, size_t element_bytes) {
    if (count != 0 && (count < 16 || !nlm_is_power_of_two(count))) return NLM_OK;
    const size_t wanted = count == 0 ? 16 : 2 * count;
    void *bigger = reallocarray(*array, wanted, element_bytes);
    if (!bigger) return fail_at(r, NLM_OUT_OF_MEMORY, r->at, "out of memory for %zu header records", wanted);
    *array = bigger;
    return NLM_OK;
}

static nlm_status take_entries(reader *r, uint64_t count) {
    nlm_gguf *gguf = r->gguf;
    for (uint64_t i = 0; i < count; i++) {
        void *entries = gguf->entries;
        NLM_TRY(grow(r, &entries, gguf->entry_count, sizeof *gguf->entries));
        gguf->entries = entries;
        nlm_gguf_entry entry = {0};
        NLM_TRY(take_entry(r, &entry));
        gguf->entries[gguf->entry_count++] = entry;
    }
    return NLM_OK;
}

static nlm_status take_tensor_dims(reader *r, nlm_gguf_tensor *tensor) {
    const shown name = show(tensor->name);
    NLM_TRY(take(r, &tensor->n_dims, sizeof tensor->n_dims, "the dimension count of a tensor"));
    if (tensor->n_dims < 1 || tensor->n_dims > NLM_MAX_RANK) {
        return BAD(r, r->at - 4, "tensor '%s' has %" PRIu32 " dimensions, expected 1 to %d", name.text,
                   tensor->n_dims, NLM_MAX_RANK);
    }
    uint64_t product = 1;
    for (uint32_t d = 0; d < NLM_MAX_RANK; d++) {
        tensor->dims[d] = 1;
        if (d >= tensor->n_dims) continue;
        NLM_TRY(take(r, &tensor->dims[d], sizeof tensor->dims[d], "a dimension of a tensor"));
        if (tensor->dims[d] == 0) return BAD(r, r->at - 8, "dimension %u of tensor '%s' is 0", d, name.text);
        if (!nlm_mul_u64(product, tensor->dims[d], &product) || product > INT64_MAX) {
            return BAD(r, r->at - 8, "the dimensions of tensor '%s' multiply to more than 2^63 elements", name.text);
        }
    }
    return NLM_OK;
}

static nlm_status take_tensor(reader *r, nlm_gguf_tensor *tensor) {
    const size_t start = r->at;
    NLM_TRY(take_string(r, &tensor->name, "a tensor name"));
    if (tensor->name.length == 0 || tensor->name.length > MAX_KEY_BYTES) {
        return BAD(r, start, "a tensor name has %" PRIu64 " bytes, expected 1 to %d", tensor->name.length,
                   MAX_KEY_BYTES);
    }
    NLM_TRY(take_tensor_dims(r, tensor));
    NLM_TRY(take(r, &tensor->type, sizeof tensor->type, "the type of a tensor"));
    /* Relative to the data until place_tensor. */
    return take(r, &tensor->offset, sizeof tensor->offset, "the offset of a tensor");
}

static nlm_status take_tensors(reader *r, uint64_t count) {
    nlm_gguf *gguf = r->gguf;
    for (uint64_t i = 0; i < count; i++) {
        void *tensors = gguf->tensors;
        NLM_TRY(grow(r, &tensors, gguf->tensor_count, sizeof *gguf->tensors));
        gguf->tensors = tensors;
        nlm_gguf_tensor tensor = {0};
        NLM_TRY(take_tensor(r, &tensor));
        gguf->tensors[gguf->tensor_count++] = tensor;
    }
    return NLM_OK;
}

/* Orders by name; equal names by their place in the file. */
static int compare_names(const void *a, const void *b) {
    const nlm_gguf_string *left_name = *(const nlm_gguf_string *const *)a;
    const nlm_gguf_string *right_name = *(const nlm_gguf_string *const *)b;
    const int order = nlm_gguf_string_compare(left_name, right_name);
    if (order != 0) return order;
    return left_name->data < right_name->data ? -1 : left_name->data > right_name->data;
}

/* A sorted index over `count` records that begin with their name; a repeated name is an error. Sorting
 * keeps to n log n whatever names a file was made with, which a hash table would not. */
static nlm_status build_index(const reader *r, const void *records, size_t count, size_t record_bytes,
                              const char *what, const nlm_gguf_string ***out) {
    const nlm_gguf_string **index = malloc((count ? count : 1) * sizeof *index);
    if (!index) return fail_at(r, NLM_OUT_OF_MEMORY, r->at, "out of memory for an index of %zu", count);
    *out = index;
    for (size_t i = 0; i < count; i++) {
        index[i] = (const nlm_gguf_string *)(const void *)((const char *)records + i * record_bytes);
    }
    qsort(index, count, sizeof *index, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (nlm_gguf_string_compare(index[i - 1], index[i]) != 0) continue;
        return BAD(r, offset_of(r, *index[i]), "the %s '%s' appears twice", what, show(*index[i]).text);
    }
    return NLM_OK;
}

static nlm_status read_alignment(const reader *r) {
    nlm_gguf *gguf = r->gguf;
    gguf->alignment = GGUF_DEFAULT_ALIGNMENT;
    const nlm_gguf_entry *entry = nlm_gguf_find(gguf, GGUF_ALIGNMENT_KEY);
    if (!entry) return NLM_OK;
    const size_t at = (size_t)((const unsigned char *)entry->data - gguf->data);
    if (entry->type != NLM_GGUF_U32) {
        return BAD(r, at, GGUF_ALIGNMENT_KEY " is of type %s, expected u32", nlm_gguf_type_name(entry->type));
    }
    uint32_t alignment;
    memcpy(&alignment, entry->data, sizeof alignment);
    if (!nlm_is_power_of_two(alignment) || alignment < 8) {
        return BAD(r, at, GGUF_ALIGNMENT_KEY " is %" PRIu32 ", expected a power of two, 8 or more", alignment);
    }
    gguf->alignment = alignment;
    return NLM_OK;
}

/* Bytes and descriptor of a tensor of a known type. */
static nlm_status describe_tensor(const reader *r, nlm_gguf_tensor *tensor) {
    int64_t shape[NLM_MAX_RANK];
    for (uint32_t d = 0; d < tensor->n_dims; d++) shape[d] = (int64_t)tensor->dims[tensor->n_dims - 1 - d];
    nlm_error why = NLM_ERROR_INIT;
    if (nlm_tensor_init(&tensor->tensor, (nlm_dtype)tensor->type, (int)tensor->n_dims, shape, NULL, &why) != NLM_OK) {
        return BAD(r, offset_of(r, tensor->name), "tensor '%s': %s", show(tensor->name).text, why.msg);
    }
    tensor->bytes = nlm_tensor_bytes(&tensor->tensor);
    tensor->is_supported = true;
    return NLM_OK;
}

/* Checks the tensor's place in the data, which starts at data_start, and makes its offset absolute. */
static nlm_status place_tensor(const reader *r, nlm_gguf_tensor *tensor, uint64_t data_start) {
    const shown name = show(tensor->name);
    const uint64_t data_bytes = r->gguf->size - data_start, at = offset_of(r, tensor->name);
    if (tensor->offset % r->gguf->alignment != 0) {
        return BAD(r, at, "the offset of tensor '%s' is %" PRIu64 ", no multiple of the alignment %" PRIu64,
                   name.text, tensor->offset, r->gguf->alignment);
    }
    if (tensor->type <= INT32_MAX && nlm_dtype_find((nlm_dtype)tensor->type)) {
        NLM_TRY(describe_tensor(r, tensor));
    } else {
        tensor->bytes = nlm_gguf_foreign_bytes(tensor->type, tensor->dims);
    }
    if (tensor->offset > data_bytes || tensor->bytes > data_bytes - tensor->offset) {
        return BAD(r, at,
                   "tensor '%s' (%" PRIu64 " bytes at offset %" PRIu64 ") reaches past the %" PRIu64
                   " bytes of data in the file: is it complete?",
                   name.text, tensor->bytes, tensor->offset, data_bytes);
    }
    tensor->offset += data_start;
    if (tensor->is_supported) {
        tensor->tensor.data = (void *)(uintptr_t)(r->gguf->data + tensor->offset);
    }
    return NLM_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const nlm_gguf_tensor *left_tensor = *(const nlm_gguf_tensor *const *)a;
    const nlm_gguf_tensor *right_tensor = *(const nlm_gguf_tensor *const *)b;
    if (left_tensor->offset != right_tensor->offset) return left_tensor->offset < right_tensor->offset ? -1 : 1;
    return left_tensor < right_tensor ? -1 : left_tensor > right_tensor;
}

static nlm_status check_no_overlap(const reader *r) {
    const nlm_gguf *gguf = r->gguf;
    const size_t count = gguf->tensor_count;
    if (count < 2) return NLM_OK;
    const nlm_gguf_tensor **order = malloc(count * sizeof *order);
    if (!order) return fail_at(r, NLM_OUT_OF_MEMORY, r->at, "out of memory for an index of %zu", count);
    for (size_t i = 0; i < count; i++) order[i] = &gguf->tensors[i];
    qsort(order, count, sizeof *order, compare_offsets);
    nlm_status status = NLM_OK;
    for (size_t i = 1; i < count && status == NLM_OK; i++) {
        const nlm_gguf_tensor *before = order[i - 1], *after = order[i];
        if (after->offset - before->offset < (before->bytes ? before->bytes : 1)) {
            status = BAD(r, after->offset, "the data of tensors '%s' and '%s' overlaps", show(before->name).text,
                         show(after->name).text);
        }
    }
    free(order);
    return status;
}

static nlm_status place_tensors(reader *r) {
    nlm_gguf *gguf = r->gguf;
    uint64_t data_start;
    gguf->data_start = gguf->size;
    if (gguf->tensor_count == 0) return NLM_OK;
    if (!nlm_align_u64(r->at, gguf->alignment, &data_start) || data_start > gguf->size) {
        return BAD(r, r->at, "the file ends before its tensor data");
    }
    gguf->data_start = data_start;
    for (size_t i = 0; i < gguf->tensor_count; i++) NLM_TRY(place_tensor(r, &gguf->tensors[i], data_start));
    return check_no_overlap(r);
}

nlm_status nlm_gguf_read(nlm_gguf *gguf, nlm_error *err) {
    reader r = {gguf, 0, err};
    uint64_t tensors = 0, entries = 0;
    NLM_TRY(take_magic_and_version(&r));
    NLM_TRY(take_counts(&r, &tensors, &entries));
    NLM_TRY(take_entries(&r, entries));
    NLM_TRY(build_index(&r, gguf->entries, gguf->entry_count, sizeof *gguf->entries, "key", &gguf->entry_index));
    NLM_TRY(read_alignment(&r));
    NLM_TRY(take_tensors(&r, tensors));
    NLM_TRY(build_index(&r, gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, "tensor", &gguf->tensor_index));
    return place_tensors(&r);
}
