/* Writing safetensors: names and shapes are collected; places are given and bytes made as a file is written. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/little_endian.h"
#include "base/status.h"
#include "base/utf8.h"
#include "format/json.h"
#include "format/safetensors_internal.h"
#include "tensor/dtype.h"

typedef struct pending {
    const char *name;
    nlm_tensor tensor;        /* data NULL: from the source */
    nlm_tensor_source source; /* of what has no data */
    size_t order;             /* in which they came */
    size_t shard;
} pending;

struct nlm_safetensors_writer {
    nlm_arena arena; /* names and metadata */
    nlm_safetensors_pair *metadata;
    size_t metadata_count;
    pending *tensors;
    size_t tensor_count;
    nlm_error error; /* code NLM_OK: none so far */
};

/* ---- collecting --------------------------------------------------------------------------- */

nlm_status nlm_safetensors_writer_create(nlm_safetensors_writer **out, nlm_error *err) {
    *out = calloc(1, sizeof **out);
    return *out ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
}

void nlm_safetensors_writer_destroy(nlm_safetensors_writer *w) {
    if (!w) return;
    nlm_arena_release(&w->arena);
    free(w->metadata);
    free(w->tensors);
    free(w);
}

#define FAIL(w, status, ...) nlm_fail(&(w)->error, status, "nlm_safetensors_writer", __VA_ARGS__)

/* A copy of a text, which must be UTF-8; NULL: w has failed. */
static const char *keep(nlm_safetensors_writer *w, const char *text) {
    const size_t length = strlen(text);
    for (size_t at = 0, bytes; at < length; at += bytes) {
        if (nlm_utf8_next(text + at, length - at, &bytes) < NLM_UTF8_INVALID) continue;
        FAIL(w, NLM_INVALID_ARGUMENT, "'%s' is no UTF-8", text);
        return NULL;
    }
    const char *copy = nlm_arena_strndup(&w->arena, text, length);
    if (!copy) FAIL(w, NLM_OUT_OF_MEMORY, "out of memory");
    return copy;
}

void nlm_safetensors_writer_metadata(nlm_safetensors_writer *w, const char *key, const char *value) {
    if (w->error.code != NLM_OK) return;
    void *pairs = w->metadata;
    if (!nlm_safetensors_grow(&pairs, w->metadata_count, sizeof *w->metadata)) {
        FAIL(w, NLM_OUT_OF_MEMORY, "out of memory");
        return;
    }
    w->metadata = pairs;
    nlm_safetensors_pair *pair = &w->metadata[w->metadata_count];
    pair->key = keep(w, key);
    pair->value = pair->key ? keep(w, value) : NULL;
    if (pair->value) w->metadata_count++;
}

static void add(nlm_safetensors_writer *w, const char *name, const nlm_tensor *tensor, nlm_tensor_source source) {
    if (w->error.code != NLM_OK) return;
    if (name[0] == '\0' || strcmp(name, SAFETENSORS_METADATA) == 0) {
        FAIL(w, NLM_INVALID_ARGUMENT, "'%s' is no name of a tensor", name);
        return;
    }
    if (!nlm_safetensors_type_of(tensor->dtype)) {
        FAIL(w, NLM_INVALID_ARGUMENT, "tensor '%s' is of type %s, which the format has not", name,
             nlm_dtype_name(tensor->dtype));
        return;
    }
    void *tensors = w->tensors;
    if (!nlm_safetensors_grow(&tensors, w->tensor_count, sizeof *w->tensors)) {
        FAIL(w, NLM_OUT_OF_MEMORY, "out of memory");
        return;
    }
    w->tensors = tensors;
    const char *copy = keep(w, name);
    if (!copy) return;
    w->tensors[w->tensor_count] =
        (pending){.name = copy, .tensor = *tensor, .source = source, .order = w->tensor_count};
    w->tensor_count++;
}

void nlm_safetensors_writer_tensor(nlm_safetensors_writer *w, const char *name, const nlm_tensor *tensor) {
    if (w->error.code != NLM_OK) return;
    if (nlm_tensor_is_contiguous(tensor) && (tensor->data || nlm_tensor_bytes(tensor) == 0)) {
        add(w, name, tensor, (nlm_tensor_source){0});
        return;
    }
    FAIL(w, NLM_INVALID_ARGUMENT, "tensor '%s' is not contiguous, or has no data", name);
}

void nlm_safetensors_writer_source(nlm_safetensors_writer *w, const char *name, nlm_dtype dtype, int rank,
                                   const int64_t *shape, nlm_tensor_source source) {
    nlm_tensor tensor;
    nlm_error why = NLM_ERROR_INIT;
    if (w->error.code != NLM_OK) return;
    if (nlm_tensor_init(&tensor, dtype, rank, shape, NULL, &why) == NLM_OK) {
        add(w, name, &tensor, source);
        return;
    }
    FAIL(w, NLM_INVALID_ARGUMENT, "tensor '%s': %s", name, why.msg);
}

/* ---- laying out --------------------------------------------------------------------------- */

static uint32_t element_bytes(const pending *item) {
    return nlm_dtype_find(item->tensor.dtype)->block_bytes;
}

/* Large elements first: behind a header of a multiple of 8 bytes each tensor is then aligned to its elements. */
static int compare_for_file(const void *a, const void *b) {
    const pending *x = a, *y = b;
    if (element_bytes(x) != element_bytes(y)) return element_bytes(x) > element_bytes(y) ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static nlm_status check_unique(const char **names, size_t count, const char *what, nlm_error *err) {
    if (count > 1) qsort(names, count, sizeof *names, compare_texts);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) != 0) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "the %s '%s' was given twice", what, names[i]);
    }
    return NLM_OK;
}

static nlm_status check_names(const nlm_safetensors_writer *w, nlm_error *err) {
    const char **names = malloc((w->tensor_count + w->metadata_count + 1) * sizeof *names);
    if (!names) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    for (size_t i = 0; i < w->tensor_count; i++) names[i] = w->tensors[i].name;
    for (size_t i = 0; i < w->metadata_count; i++) names[w->tensor_count + i] = w->metadata[i].key;
    nlm_status status = check_unique(names, w->tensor_count, "tensor", err);
    if (status == NLM_OK) status = check_unique(names + w->tensor_count, w->metadata_count, "key", err);
    free(names);
    return status;
}

/* Says what was wrong so far; then the order of the files. */
static nlm_status prepare(nlm_safetensors_writer *w, nlm_error *err) {
    if (w->error.code != NLM_OK) return nlm_fail(err, w->error.code, w->error.where, "%s", w->error.msg);
    NLM_TRY(check_names(w, err));
    if (w->tensor_count > 1) qsort(w->tensors, w->tensor_count, sizeof *w->tensors, compare_for_file);
    return NLM_OK;
}

static void put_text(nlm_str *out, const char *text) {
    nlm_json_quote(out, text, strlen(text));
}

static void put_metadata(const nlm_safetensors_writer *w, nlm_str *out) {
    put_text(out, SAFETENSORS_METADATA);
    nlm_str_puts(out, ":{");
    for (size_t i = 0; i < w->metadata_count; i++) {
        if (i > 0) nlm_str_puts(out, ",");
        put_text(out, w->metadata[i].key);
        nlm_str_puts(out, ":");
        put_text(out, w->metadata[i].value);
    }
    nlm_str_puts(out, "}");
}

/* Name, type, shape and place; *at: where the next one begins. */
static nlm_status put_tensor(const pending *item, uint64_t *at, nlm_str *out, nlm_error *err) {
    const nlm_tensor *tensor = &item->tensor;
    const uint64_t from = *at;
    if (!nlm_add_u64(from, nlm_tensor_bytes(tensor), at) || *at > UINT64_C(1) << 53) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "the tensors take more than 2^53 bytes");
    }
    put_text(out, item->name);
    nlm_str_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", nlm_safetensors_type_of(tensor->dtype)->name);
    for (int d = 0; d < tensor->rank; d++) nlm_str_printf(out, "%s%" PRId64, d > 0 ? "," : "", tensor->shape[d]);
    nlm_str_printf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", from, *at);
    return NLM_OK;
}

/* The header of a shard, with its length before it. */
static nlm_status encode_header(const nlm_safetensors_writer *w, size_t shard, nlm_str *out, nlm_error *err) {
    unsigned char length[8] = {0};
    uint64_t at = 0;
    bool is_first = true;
    nlm_str_append(out, (const char *)length, sizeof length);
    nlm_str_puts(out, "{");
    if (w->metadata_count > 0) {
        put_metadata(w, out);
        is_first = false;
    }
    for (size_t i = 0; i < w->tensor_count; i++) {
        if (w->tensors[i].shard != shard) continue;
        if (!is_first) nlm_str_puts(out, ",");
        is_first = false;
        NLM_TRY(put_tensor(&w->tensors[i], &at, out, err));
    }
    nlm_str_puts(out, "}");
    while (!out->has_failed && out->length % 8 != 0) nlm_str_puts(out, " ");
    if (out->has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    if (out->length - sizeof length > SAFETENSORS_HEADER_BYTES) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "names and metadata take more than %u bytes",
                        SAFETENSORS_HEADER_BYTES);
    }
    nlm_put_le((unsigned char *)out->data, out->length - sizeof length, sizeof length);
    return NLM_OK;
}

/* ---- writing ------------------------------------------------------------------------------ */

static nlm_status write_tensor(const pending *item, nlm_file_writer *file, nlm_error *err) {
    if (item->source.read) return nlm_tensor_source_write(item->source, &item->tensor, file, err);
    return nlm_file_writer_write(file, item->tensor.data, (size_t)nlm_tensor_bytes(&item->tensor), err);
}

static nlm_status write_all(const nlm_safetensors_writer *w, size_t shard, const nlm_str *header,
                            nlm_file_writer *file, nlm_error *err) {
    NLM_TRY(nlm_file_writer_write(file, header->data, header->length, err));
    for (size_t i = 0; i < w->tensor_count; i++) {
        if (w->tensors[i].shard == shard) NLM_TRY(write_tensor(&w->tensors[i], file, err));
    }
    return nlm_file_writer_commit(file, err);
}

static nlm_status write_shard(const nlm_safetensors_writer *w, size_t shard, const char *path, nlm_error *err) {
    nlm_str header = {0};
    nlm_file_writer *file = NULL;
    nlm_status status = encode_header(w, shard, &header, err);
    if (status == NLM_OK) status = nlm_file_writer_create(path, &file, err);
    if (status == NLM_OK) status = write_all(w, shard, &header, file, err);
    nlm_file_writer_destroy(file);
    nlm_str_release(&header);
    return status;
}

nlm_status nlm_safetensors_writer_finish(nlm_safetensors_writer *w, const char *path, nlm_error *err) {
    NLM_TRY(prepare(w, err));
    for (size_t i = 0; i < w->tensor_count; i++) w->tensors[i].shard = 0;
    return write_shard(w, 0, path, err);
}

/* ---- a folder ----------------------------------------------------------------------------- */

/* Gives each tensor a file, in their order; the number of files. */
static size_t assign_shards(nlm_safetensors_writer *w, uint64_t most_bytes) {
    uint64_t used = 0;
    size_t shard = 0;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const uint64_t bytes = nlm_tensor_bytes(&w->tensors[i].tensor);
        if (used > 0 && (used > most_bytes || bytes > most_bytes - used)) {
            shard++;
            used = 0;
        }
        w->tensors[i].shard = shard;
        used += bytes;
    }
    return shard + 1;
}

static void put_shard_name(nlm_str *out, size_t shard, size_t count) {
    if (count == 1)
        nlm_str_puts(out, SAFETENSORS_FILE);
    else
        nlm_str_printf(out, "model-%05zu-of-%05zu.safetensors", shard + 1, count);
}

static void encode_index(const nlm_safetensors_writer *w, size_t count, nlm_str *out) {
    uint64_t total = 0;
    for (size_t i = 0; i < w->tensor_count; i++) total += nlm_tensor_bytes(&w->tensors[i].tensor);
    nlm_str_printf(out, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {", total);
    for (size_t i = 0; i < w->tensor_count; i++) {
        nlm_str_puts(out, i > 0 ? ",\n    " : "\n    ");
        put_text(out, w->tensors[i].name);
        nlm_str_puts(out, ": \"");
        put_shard_name(out, w->tensors[i].shard, count);
        nlm_str_puts(out, "\"");
    }
    nlm_str_puts(out, "\n  }\n}\n");
}

static nlm_status write_index(const nlm_safetensors_writer *w, size_t count, const char *folder, nlm_error *err) {
    nlm_str path = {0}, text = {0};
    nlm_str_printf(&path, "%s/" SAFETENSORS_INDEX, folder);
    encode_index(w, count, &text);
    const nlm_status status = path.has_failed || text.has_failed
                                  ? nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory")
                                  : nlm_file_write(path.data, text.data, text.length, err);
    nlm_str_release(&path);
    nlm_str_release(&text);
    return status;
}

nlm_status nlm_safetensors_writer_finish_folder(nlm_safetensors_writer *w, const char *folder, uint64_t most_bytes,
                                                nlm_error *err) {
    NLM_TRY(prepare(w, err));
    const size_t count = assign_shards(w, most_bytes);
    nlm_status status = NLM_OK;
    for (size_t shard = 0; shard < count && status == NLM_OK; shard++) {
        nlm_str path = {0};
        nlm_str_printf(&path, "%s/", folder);
        put_shard_name(&path, shard, count);
        status = path.has_failed ? nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory")
                                 : write_shard(w, shard, path.data, err);
        nlm_str_release(&path);
    }
    if (status == NLM_OK && count > 1) status = write_index(w, count, folder, err);
    return status;
}
