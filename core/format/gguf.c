/* An open GGUF file: lookup and typed access. Its bytes were checked by gguf_read.c. */
#include "format/gguf.h"

#include "base/checksum.h"
#include "base/status.h"
#include "format/gguf_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* X(NAME, name, C type); strings and arrays have no fixed size. */
#define FIXED_TYPE_LIST(X)   \
    X(U8, "u8", uint8_t)     \
    X(I8, "i8", int8_t)      \
    X(U16, "u16", uint16_t)  \
    X(I16, "i16", int16_t)   \
    X(U32, "u32", uint32_t)  \
    X(I32, "i32", int32_t)   \
    X(F32, "f32", float)     \
    X(BOOL, "bool", uint8_t) \
    X(U64, "u64", uint64_t)  \
    X(I64, "i64", int64_t)   \
    X(F64, "f64", double)

size_t nlm_gguf_type_bytes(nlm_gguf_type type) {
    switch (type) {
#define SIZE_CASE(NAME, name, c_type) \
    case NLM_GGUF_##NAME: return sizeof(c_type);
        FIXED_TYPE_LIST(SIZE_CASE)
#undef SIZE_CASE
        default: return 0;
    }
}

const char *nlm_gguf_type_name(nlm_gguf_type type) {
    switch (type) {
#define NAME_CASE(NAME, name, c_type) \
    case NLM_GGUF_##NAME: return name;
        FIXED_TYPE_LIST(NAME_CASE)
#undef NAME_CASE
        case NLM_GGUF_STRING: return "string";
        case NLM_GGUF_ARRAY: return "array";
        default: return "unknown";
    }
}

static nlm_status read_or_close(nlm_gguf *gguf, const char *path, nlm_gguf **out, nlm_error *err) {
    gguf->path = strdup(path);
    const nlm_status status =
        gguf->path ? nlm_gguf_read(gguf, err) : nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    if (status != NLM_OK) {
        nlm_gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return NLM_OK;
}

nlm_status nlm_gguf_take_map(const char *name, nlm_file_map *map, nlm_gguf **out, nlm_error *err) {
    nlm_gguf *gguf = calloc(1, sizeof *gguf);
    if (!gguf) {
        nlm_file_map_close(map);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "out of memory");
    }
    gguf->map = *map;
    gguf->data = map->data;
    gguf->size = map->size;
    return read_or_close(gguf, name, out, err);
}

nlm_status nlm_gguf_open(const char *path, nlm_gguf **out, nlm_error *err) {
    nlm_file_map map;
    NLM_TRY(nlm_file_map_open(path, &map, err));
    return nlm_gguf_take_map(path, &map, out, err);
}

nlm_status nlm_gguf_open_copy(const char *path, nlm_gguf **out, nlm_error *err) {
    nlm_file_map map;
    NLM_TRY(nlm_file_read(path, &map, err));
    return nlm_gguf_take_map(path, &map, out, err);
}

nlm_status nlm_gguf_parse(const char *name, const void *data, size_t size, nlm_gguf **out, nlm_error *err) {
    nlm_gguf *gguf = calloc(1, sizeof *gguf);
    if (!gguf) return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "out of memory");
    gguf->data = data;
    gguf->size = size;
    return read_or_close(gguf, name, out, err);
}

void nlm_gguf_close(nlm_gguf *gguf) {
    if (!gguf) return;
    nlm_file_map_close(&gguf->map);
    nlm_arena_release(&gguf->arena);
    nlm_arena_release(&gguf->overrides);
    free(gguf->entries);
    free(gguf->tensors);
    free(gguf->entry_index);
    free(gguf->tensor_index);
    free(gguf->path);
    free(gguf);
}

nlm_status nlm_gguf_check_file(const nlm_gguf *gguf, nlm_error *err) {
    return nlm_file_map_check(&gguf->map, gguf->path, err);
}

nlm_status nlm_gguf_check_size(const nlm_gguf *gguf, nlm_error *err) {
    return nlm_file_map_check_size(&gguf->map, gguf->path, err);
}

bool nlm_gguf_is_copy(const nlm_gguf *gguf) {
    return gguf->map.is_file && !gguf->map.is_mapped;
}

void nlm_gguf_drop_strings(nlm_gguf *gguf) {
    for (size_t i = 0; i < gguf->entry_count; i++) {
        if (!gguf->entries[i].strings) continue;
        gguf->entries[i].strings = NULL;
        gguf->entries[i].count = 0;
    }
    nlm_arena_release(&gguf->arena);
}

const char *nlm_gguf_path(const nlm_gguf *gguf) {
    return gguf->path;
}

uint32_t nlm_gguf_version(const nlm_gguf *gguf) {
    return gguf->version;
}

uint64_t nlm_gguf_file_bytes(const nlm_gguf *gguf) {
    return gguf->size;
}

uint64_t nlm_gguf_alignment(const nlm_gguf *gguf) {
    return gguf->alignment;
}

size_t nlm_gguf_entry_count(const nlm_gguf *gguf) {
    return gguf->entry_count;
}

const nlm_gguf_entry *nlm_gguf_entry_at(const nlm_gguf *gguf, size_t index) {
    return index < gguf->entry_count ? &gguf->entries[index] : NULL;
}

size_t nlm_gguf_tensor_count(const nlm_gguf *gguf) {
    return gguf->tensor_count;
}

const nlm_gguf_tensor *nlm_gguf_tensor_at(const nlm_gguf *gguf, size_t index) {
    return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

int nlm_gguf_string_compare(const nlm_gguf_string *a, const nlm_gguf_string *b) {
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return a->length ? memcmp(a->data, b->data, (size_t)a->length) : 0;
}

static const nlm_gguf_string *lookup(const nlm_gguf_string *const *index, size_t count, const char *name) {
    const nlm_gguf_string wanted = {name, strlen(name)};
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = nlm_gguf_string_compare(index[middle], &wanted);
        if (order == 0) return index[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const nlm_gguf_entry *nlm_gguf_find(const nlm_gguf *gguf, const char *key) {
    return (const nlm_gguf_entry *)lookup(gguf->entry_index, gguf->entry_count, key);
}

const nlm_gguf_tensor *nlm_gguf_find_tensor(const nlm_gguf *gguf, const char *name) {
    return (const nlm_gguf_tensor *)lookup(gguf->tensor_index, gguf->tensor_count, name);
}

/* Element `index` as C type; the data in the mapping is unaligned. */
#define LOAD(c_type, data, index) \
    c_type value;                 \
    memcpy(&value, (const unsigned char *)(data) + (size_t)(index) * sizeof value, sizeof value)

static int64_t int_from_double(double value) {
    if (isnan(value)) return 0;
    if (value >= 0x1p63) return INT64_MAX;
    if (value < -0x1p63) return INT64_MIN;
    return (int64_t)value;
}

static int64_t load_i64(nlm_gguf_type type, const void *data, uint64_t index) {
    switch (type) {
        case NLM_GGUF_U64: {
            LOAD(uint64_t, data, index);
            return value > INT64_MAX ? INT64_MAX : (int64_t)value;
        }
        case NLM_GGUF_F32: {
            LOAD(float, data, index);
            return int_from_double((double)value);
        }
        case NLM_GGUF_F64: {
            LOAD(double, data, index);
            return int_from_double(value);
        }
#define INT_CASE(NAME, c_type)     \
    case NLM_GGUF_##NAME: {        \
        LOAD(c_type, data, index); \
        return value;              \
    }
            INT_CASE(U8, uint8_t)
            INT_CASE(I8, int8_t)
            INT_CASE(U16, uint16_t)
            INT_CASE(I16, int16_t)
            INT_CASE(U32, uint32_t)
            INT_CASE(I32, int32_t)
            INT_CASE(BOOL, uint8_t)
            INT_CASE(I64, int64_t)
#undef INT_CASE
        default: return 0;
    }
}

int64_t nlm_gguf_array_i64(const nlm_gguf_entry *entry, uint64_t index) {
    return load_i64(entry->element_type, entry->data, index);
}

double nlm_gguf_array_f64(const nlm_gguf_entry *entry, uint64_t index) {
    switch (entry->element_type) {
        case NLM_GGUF_F32: {
            LOAD(float, entry->data, index);
            return (double)value;
        }
        case NLM_GGUF_F64: {
            LOAD(double, entry->data, index);
            return value;
        }
        case NLM_GGUF_U64: {
            LOAD(uint64_t, entry->data, index);
            return (double)value;
        }
        default: return (double)nlm_gguf_array_i64(entry, index);
    }
}

static nlm_status find_or_fail(const nlm_gguf *gguf, const char *key, const nlm_gguf_entry **out, nlm_error *err) {
    *out = nlm_gguf_find(gguf, key);
    return *out ? NLM_OK : nlm_fail(err, NLM_NOT_FOUND, gguf->path, "the key '%s' is missing", key);
}

static nlm_status wrong_type(const nlm_gguf *gguf, const nlm_gguf_entry *entry, const char *key, const char *expected,
                             nlm_error *err) {
    return nlm_fail(err, NLM_BAD_FORMAT, gguf->path, "the key '%s' is of type %s, expected %s", key,
                    nlm_gguf_type_name(entry->type), expected);
}

static bool is_float(nlm_gguf_type type) {
    return type == NLM_GGUF_F32 || type == NLM_GGUF_F64;
}

nlm_status nlm_gguf_get_u64(const nlm_gguf *gguf, const char *key, uint64_t *out, nlm_error *err) {
    const nlm_gguf_entry *entry;
    NLM_TRY(find_or_fail(gguf, key, &entry, err));
    if (nlm_gguf_type_bytes(entry->type) == 0 || is_float(entry->type)) {
        return wrong_type(gguf, entry, key, "an integer", err);
    }
    if (entry->type == NLM_GGUF_U64) {
        memcpy(out, entry->data, sizeof *out);
        return NLM_OK;
    }
    const int64_t value = load_i64(entry->type, entry->data, 0);
    if (value < 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, gguf->path, "the key '%s' is %lld, expected 0 or more", key,
                        (long long)value);
    }
    *out = (uint64_t)value;
    return NLM_OK;
}

nlm_status nlm_gguf_get_f32(const nlm_gguf *gguf, const char *key, float *out, nlm_error *err) {
    const nlm_gguf_entry *entry;
    NLM_TRY(find_or_fail(gguf, key, &entry, err));
    if (!is_float(entry->type)) return wrong_type(gguf, entry, key, "f32", err);
    const double value = nlm_gguf_array_f64(entry, 0);
    if (!(fabs(value) <= (double)__FLT_MAX__)) {
        return nlm_fail(err, NLM_BAD_FORMAT, gguf->path, "the key '%s' is %g, expected a finite f32", key, value);
    }
    *out = (float)value;
    return NLM_OK;
}

nlm_status nlm_gguf_get_bool(const nlm_gguf *gguf, const char *key, bool *out, nlm_error *err) {
    const nlm_gguf_entry *entry;
    NLM_TRY(find_or_fail(gguf, key, &entry, err));
    if (entry->type != NLM_GGUF_BOOL) return wrong_type(gguf, entry, key, "bool", err);
    *out = load_i64(NLM_GGUF_BOOL, entry->data, 0) != 0;
    return NLM_OK;
}

nlm_status nlm_gguf_get_string(const nlm_gguf *gguf, const char *key, nlm_gguf_string *out, nlm_error *err) {
    const nlm_gguf_entry *entry;
    NLM_TRY(find_or_fail(gguf, key, &entry, err));
    if (entry->type != NLM_GGUF_STRING) return wrong_type(gguf, entry, key, "a string", err);
    *out = (nlm_gguf_string){entry->data, entry->bytes};
    return NLM_OK;
}

nlm_status nlm_gguf_save(const nlm_gguf *gguf, const char *path, nlm_error *err) {
    return nlm_file_write(path, gguf->data, gguf->size, err);
}

void nlm_gguf_drop_pages(const nlm_gguf *gguf, const void *data, uint64_t bytes) {
    nlm_file_map_drop(&gguf->map, data, bytes);
}

#define N_SAMPLES    64u
#define SAMPLE_BYTES 4096u

uint64_t nlm_gguf_checksum(const nlm_gguf *gguf) {
    const unsigned char *data = gguf->data + gguf->data_start;
    const size_t bytes = gguf->size - (size_t)gguf->data_start;
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, gguf->data, (size_t)gguf->data_start);
    if (bytes <= (size_t)N_SAMPLES * SAMPLE_BYTES) {
        nlm_checksum_update(&sum, data, bytes);
    } else {
        for (size_t i = 0; i < N_SAMPLES; i++) {
            nlm_checksum_update(&sum, data + (bytes - SAMPLE_BYTES) * i / (N_SAMPLES - 1), SAMPLE_BYTES);
        }
    }
    return nlm_checksum_value(&sum);
}

bool nlm_gguf_identify(const nlm_gguf *gguf, nlm_gguf_identity *out) {
    if (!gguf->map.is_file) return false;
    *out = (nlm_gguf_identity){.bytes = gguf->size,
                               .modified_s = gguf->map.modified_s,
                               .modified_ns = gguf->map.modified_ns,
                               .checksum = nlm_gguf_checksum(gguf)};
    nlm_gguf_drop_pages(gguf, gguf->data + gguf->data_start, gguf->size - (size_t)gguf->data_start);
    return true;
}
