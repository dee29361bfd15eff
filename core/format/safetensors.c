/* Open safetensors: one file or the shards of a folder, and what is in them by name. */
#include "format/safetensors.h"

#include <cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/checked.h"
#include "base/status.h"
#include "format/json.h"
#include "format/safetensors_internal.h"
#include "tensor/dtype.h"

#define INDEX_BYTES ((size_t)256 << 20) /* at most: some hundred bytes a tensor */

/* ---- types -------------------------------------------------------------------------------- */

static const nlm_safetensors_type types[] = {
    {"F32", 32, NLM_F32},
    {"F16", 16, NLM_F16},
    {"BF16", 16, NLM_BF16},
    {"I32", 32, NLM_I32},
    {"F64", 64, NLM_SAFETENSORS_FOREIGN},
    {"I64", 64, NLM_SAFETENSORS_FOREIGN},
    {"U64", 64, NLM_SAFETENSORS_FOREIGN},
    {"C64", 64, NLM_SAFETENSORS_FOREIGN},
    {"U32", 32, NLM_SAFETENSORS_FOREIGN},
    {"I16", 16, NLM_SAFETENSORS_FOREIGN},
    {"U16", 16, NLM_SAFETENSORS_FOREIGN},
    {"I8", 8, NLM_SAFETENSORS_FOREIGN},
    {"U8", 8, NLM_SAFETENSORS_FOREIGN},
    {"BOOL", 8, NLM_SAFETENSORS_FOREIGN},
    {"F8_E4M3", 8, NLM_SAFETENSORS_FOREIGN},
    {"F8_E5M2", 8, NLM_SAFETENSORS_FOREIGN},
    {"F8_E8M0", 8, NLM_SAFETENSORS_FOREIGN},
    {"F6_E2M3", 6, NLM_SAFETENSORS_FOREIGN},
    {"F6_E3M2", 6, NLM_SAFETENSORS_FOREIGN},
    {"F4", 4, NLM_SAFETENSORS_FOREIGN},
};

const nlm_safetensors_type *nlm_safetensors_type_named(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) == 0) return &types[i];
    }
    return NULL;
}

const nlm_safetensors_type *nlm_safetensors_type_of(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].dtype == dtype && dtype != NLM_SAFETENSORS_FOREIGN) return &types[i];
    }
    return NULL;
}

/* ---- opening ------------------------------------------------------------------------------ */

bool nlm_safetensors_grow(void **array, size_t count, size_t element_bytes) {
    if (count != 0 && (count < 16 || !nlm_is_power_of_two(count))) return true;
    void *bigger = reallocarray(*array, count == 0 ? 16 : 2 * count, element_bytes);
    if (bigger) *array = bigger;
    return bigger != NULL;
}

static nlm_status no_memory(const char *path, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const nlm_safetensors_tensor *const *)a)->name,
                  (*(const nlm_safetensors_tensor *const *)b)->name);
}

static nlm_status build_index(nlm_safetensors *st, nlm_error *err) {
    const size_t count = st->tensor_count;
    st->index = malloc((count ? count : 1) * sizeof *st->index);
    if (!st->index) return no_memory(st->path, err);
    for (size_t i = 0; i < count; i++) st->index[i] = &st->tensors[i];
    qsort(st->index, count, sizeof *st->index, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (compare_names(&st->index[i - 1], &st->index[i]) != 0) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, st->path, "the tensor '%s' is there twice", st->index[i]->name);
    }
    return NLM_OK;
}

/* Maps a file, whose path the arena keeps, and reads its header. */
static nlm_status add_file(nlm_safetensors *st, const char *path, nlm_error *err) {
    void *files = st->files;
    if (!path || !nlm_safetensors_grow(&files, st->file_count, sizeof *st->files)) return no_memory(st->path, err);
    st->files = files;
    nlm_safetensors_file *file = &st->files[st->file_count];
    *file = (nlm_safetensors_file){.path = path};
    NLM_TRY(nlm_file_map_open(path, &file->map, err));
    st->file_count++;
    file->data = file->map.data;
    file->size = file->map.size;
    return nlm_safetensors_read(st, file, err);
}

/* A name of a file beside the index: one with a folder in it could name any file of the machine. */
static bool is_plain_name(const char *name) {
    return name[0] != '\0' && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct values of an index's weight_map, sorted: names of files. */
static nlm_status shard_names(const char *index_path, const cJSON *map, const char **names, size_t *count,
                              nlm_error *err) {
    size_t n = 0;
    for (const cJSON *item = map->child; item; item = item->next) {
        if (!cJSON_IsString(item) || !is_plain_name(item->valuestring)) {
            return nlm_fail(err, NLM_BAD_FORMAT, index_path, "the file of tensor '%s' is no name of one beside it",
                            item->string);
        }
        names[n++] = item->valuestring;
    }
    qsort(names, n, sizeof *names, compare_texts);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (*count == 0 || strcmp(names[i], names[*count - 1]) != 0) names[(*count)++] = names[i];
    }
    return NLM_OK;
}

static nlm_status add_shards(nlm_safetensors *st, const char *index_path, const cJSON *map, nlm_error *err) {
    const size_t most = (size_t)cJSON_GetArraySize(map);
    const char **names = malloc((most ? most : 1) * sizeof *names);
    if (!names) return no_memory(st->path, err);
    size_t count = 0;
    nlm_status status = shard_names(index_path, map, names, &count, err);
    for (size_t i = 0; i < count && status == NLM_OK; i++) {
        status = add_file(st, nlm_arena_printf(&st->arena, "%s/%s", st->path, names[i]), err);
    }
    free(names);
    return status;
}

/* Every tensor that the index names is in one of the files. */
static nlm_status check_map(const nlm_safetensors *st, const char *index_path, const cJSON *map, nlm_error *err) {
    for (const cJSON *item = map->child; item; item = item->next) {
        if (nlm_safetensors_find(st, item->string)) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, index_path,
                        "the tensor '%s' is not in '%s', nor in another of its files", item->string,
                        item->valuestring);
    }
    return NLM_OK;
}

static nlm_status open_index(nlm_safetensors *st, const char *index_path, nlm_error *err) {
    cJSON *root;
    const cJSON *map;
    NLM_TRY(nlm_json_read(index_path, INDEX_BYTES, &root, err));
    nlm_status status = nlm_json_member(index_path, root, "weight_map", &map, err);
    if (status == NLM_OK && !cJSON_IsObject(map)) {
        status = nlm_fail(err, NLM_BAD_FORMAT, index_path, "there is no object 'weight_map'");
    }
    if (status == NLM_OK) status = add_shards(st, index_path, map, err);
    if (status == NLM_OK) status = build_index(st, err);
    if (status == NLM_OK) status = check_map(st, index_path, map, err);
    cJSON_Delete(root);
    return status;
}

static bool exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static nlm_status open_folder(nlm_safetensors *st, nlm_error *err) {
    const char *file = nlm_arena_printf(&st->arena, "%s/" SAFETENSORS_FILE, st->path);
    const char *index = nlm_arena_printf(&st->arena, "%s/" SAFETENSORS_INDEX, st->path);
    if (!file || !index) return no_memory(st->path, err);
    if (exists(file)) {
        NLM_TRY(add_file(st, file, err));
        return build_index(st, err);
    }
    if (exists(index)) return open_index(st, index, err);
    return nlm_fail(err, NLM_NOT_FOUND, st->path,
                    "the folder has neither " SAFETENSORS_FILE " nor " SAFETENSORS_INDEX);
}

static nlm_status open_any(nlm_safetensors *st, const char *path, nlm_error *err) {
    struct stat info;
    st->path = nlm_arena_strndup(&st->arena, path, strlen(path));
    if (!st->path) return no_memory(path, err);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(st, err);
    NLM_TRY(add_file(st, st->path, err));
    return build_index(st, err);
}

static nlm_status parse(nlm_safetensors *st, const char *name, const void *data, size_t size, nlm_error *err) {
    void *files = NULL;
    st->path = nlm_arena_strndup(&st->arena, name, strlen(name));
    if (!st->path || !nlm_safetensors_grow(&files, 0, sizeof *st->files)) return no_memory(name, err);
    st->files = files;
    st->file_count = 1;
    st->files[0] = (nlm_safetensors_file){.path = st->path, .data = data, .size = size};
    NLM_TRY(nlm_safetensors_read(st, &st->files[0], err));
    return build_index(st, err);
}

static nlm_status give(nlm_safetensors *st, nlm_status status, nlm_safetensors **out) {
    if (status != NLM_OK) {
        nlm_safetensors_close(st);
        return status;
    }
    *out = st;
    return NLM_OK;
}

nlm_status nlm_safetensors_open(const char *path, nlm_safetensors **out, nlm_error *err) {
    *out = NULL;
    nlm_safetensors *st = calloc(1, sizeof *st);
    if (!st) return no_memory(path, err);
    return give(st, open_any(st, path, err), out);
}

nlm_status nlm_safetensors_parse(const char *name, const void *data, size_t size, nlm_safetensors **out,
                                 nlm_error *err) {
    *out = NULL;
    nlm_safetensors *st = calloc(1, sizeof *st);
    if (!st) return no_memory(name, err);
    return give(st, parse(st, name, data, size, err), out);
}

void nlm_safetensors_close(nlm_safetensors *st) {
    if (!st) return;
    for (size_t i = 0; i < st->file_count; i++) nlm_file_map_close(&st->files[i].map);
    free(st->files);
    free(st->tensors);
    free(st->index);
    free(st->metadata);
    nlm_arena_release(&st->arena);
    free(st);
}

/* ---- looking ------------------------------------------------------------------------------ */

nlm_status nlm_safetensors_check(const nlm_safetensors *st, nlm_error *err) {
    for (size_t i = 0; i < st->file_count; i++) {
        NLM_TRY(nlm_file_map_check(&st->files[i].map, st->files[i].path, err));
    }
    return NLM_OK;
}

const char *nlm_safetensors_path(const nlm_safetensors *st) {
    return st->path;
}

size_t nlm_safetensors_count(const nlm_safetensors *st) {
    return st->tensor_count;
}

const nlm_safetensors_tensor *nlm_safetensors_at(const nlm_safetensors *st, size_t index) {
    return index < st->tensor_count ? &st->tensors[index] : NULL;
}

const nlm_safetensors_tensor *nlm_safetensors_find(const nlm_safetensors *st, const char *name) {
    const nlm_safetensors_tensor wanted = {.name = name}, *key = &wanted;
    const nlm_safetensors_tensor *const *found =
        bsearch(&key, st->index, st->tensor_count, sizeof *st->index, compare_names);
    return found ? *found : NULL;
}

const char *nlm_safetensors_metadata(const nlm_safetensors *st, const char *key) {
    for (size_t i = 0; i < st->metadata_count; i++) {
        if (strcmp(st->metadata[i].key, key) == 0) return st->metadata[i].value;
    }
    return NULL;
}

void nlm_safetensors_drop_pages(const nlm_safetensors *st, const nlm_safetensors_tensor *tensor) {
    for (size_t i = 0; i < st->file_count; i++) nlm_file_map_drop(&st->files[i].map, tensor->data, tensor->bytes);
}
