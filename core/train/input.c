/* Finding the files of a dataset, and reading one through a window. */
#include "train/input.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status.h"
#include "base/str.h"

#include <nlm/plugin.h>

#define SNIFFED_BYTES 8192

/* ---- finding -------------------------------------------------------------------------------------------- */

static nlm_status out_of_memory(const char *path, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for the paths of the text");
}

static nlm_status add_path(nlm_input_list *list, char *take_path, nlm_error *err) {
    if (take_path && list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        char **paths = realloc(list->paths, capacity * sizeof *paths);
        if (paths) {
            list->paths = paths;
            list->capacity = capacity;
        }
    }
    if (!take_path || list->count == list->capacity) {
        free(take_path);
        return out_of_memory("", err);
    }
    list->paths[list->count++] = take_path;
    return NLM_OK;
}

void nlm_input_list_release(nlm_input_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->paths[i]);
    free(list->paths);
    *list = (nlm_input_list){0};
}

/* An empty file holds no text, and a NUL is in none. */
static nlm_status is_text(const char *path, bool *out, nlm_error *err) {
    nlm_input input;
    nlm_checksum unused;
    nlm_checksum_init(&unused);
    NLM_TRY(nlm_input_open(&input, path, &unused, err));
    const nlm_status status = nlm_input_fill(&input, SNIFFED_BYTES, err);
    const size_t length = input.length < SNIFFED_BYTES ? input.length : SNIFFED_BYTES;
    const bool has_nul = status == NLM_OK && length > 0 && memchr(input.data, 0, length);
    *out = status == NLM_OK && length > 0 && !has_nul;
    nlm_input_close(&input);
    if (has_nul) nlm_log(NLM_LOG_WARN, "%s is left out: it holds a NUL byte and is no text", path);
    return status;
}

/* A folder that is still to be read goes to `folders`, a file of text to `files`. */
static nlm_status add_entry(const char *folder, const char *name, nlm_input_list *folders, nlm_input_list *files,
                            nlm_error *err) {
    nlm_str path = {0};
    struct stat info;
    const size_t length = strlen(folder);
    nlm_str_printf(&path, "%s%s%s", folder, length > 0 && folder[length - 1] == '/' ? "" : "/", name);
    if (path.has_failed) return out_of_memory(folder, err);
    nlm_status status = NLM_OK;
    bool is_wanted = false;
    if (lstat(path.data, &info) != 0 || (S_ISLNK(info.st_mode) && stat(path.data, &info) != 0)) {
        status = nlm_fail_errno(err, nlm_status_from_errno(errno), path.data, "cannot examine '%s'", path.data);
    } else if (S_ISREG(info.st_mode)) {
        status = is_text(path.data, &is_wanted, err);
    } else if (S_ISDIR(info.st_mode)) {
        is_wanted = lstat(path.data, &info) == 0 && S_ISDIR(info.st_mode); /* no link, which might lead back */
        files = folders;
    }
    if (status == NLM_OK && is_wanted) return add_path(files, path.data, err);
    nlm_str_release(&path);
    return status;
}

static nlm_status read_folder(const char *folder, nlm_input_list *folders, nlm_input_list *files, nlm_error *err) {
    DIR *entries = opendir(folder);
    if (!entries) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), folder, "cannot read the folder '%s'", folder);
    }
    nlm_status status = NLM_OK;
    errno = 0;
    for (const struct dirent *entry; status == NLM_OK && (entry = readdir(entries)); errno = 0) {
        if (entry->d_name[0] != '.') status = add_entry(folder, entry->d_name, folders, files, err);
    }
    if (status == NLM_OK && errno != 0) {
        status = nlm_fail_errno(err, NLM_IO, folder, "cannot read the folder '%s'", folder);
    }
    closedir(entries);
    return status;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of a folder and of those below, in order. */
static nlm_status add_folder(nlm_input_list *list, const char *folder, nlm_error *err) {
    nlm_input_list folders = {0};
    const size_t first = list->count;
    nlm_status status = read_folder(folder, &folders, list, err);
    while (status == NLM_OK && folders.count > 0) {
        char *next = folders.paths[--folders.count];
        status = read_folder(next, &folders, list, err);
        free(next);
    }
    nlm_input_list_release(&folders);
    if (list->count > first) qsort(list->paths + first, list->count - first, sizeof *list->paths, compare_paths);
    return status;
}

nlm_status nlm_input_list_find(nlm_input_list *list, const char *const *paths, size_t n_paths, nlm_error *err) {
    for (size_t i = 0; i < n_paths; i++) {
        struct stat info;
        if (stat(paths[i], &info) != 0) {
            return nlm_fail_errno(err, nlm_status_from_errno(errno), paths[i], "cannot read the text of '%s'",
                                  paths[i]);
        }
        NLM_TRY(S_ISDIR(info.st_mode) ? add_folder(list, paths[i], err) : add_path(list, strdup(paths[i]), err));
    }
    return NLM_OK;
}

bool nlm_input_is_json(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot &&
           (strcasecmp(dot, ".jsonl") == 0 || strcasecmp(dot, ".ndjson") == 0 || strcasecmp(dot, ".json") == 0);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

nlm_status nlm_input_open(nlm_input *input, const char *path, nlm_checksum *sum, nlm_error *err) {
    struct stat info;
    /* O_NONBLOCK: opening a pipe without a writer must not wait. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open '%s'", path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return nlm_fail(err, NLM_IO, path, "'%s' is not a regular file; expected text or a folder of it", path);
    }
    *input = (nlm_input){.path = path, .fd = fd, .sum = sum};
    return NLM_OK;
}

/* Room for `bytes`, and as much again, with what is at hand at its beginning: so that moving it is rare. */
static nlm_status make_room(nlm_input *input, size_t bytes, nlm_error *err) {
    if (2 * bytes > input->capacity) {
        char *buffer = malloc(2 * bytes);
        if (!buffer) return nlm_fail(err, NLM_OUT_OF_MEMORY, input->path, "no memory for %zu bytes of text", bytes);
        if (input->length > 0) memcpy(buffer, input->data, input->length);
        free(input->buffer);
        input->buffer = buffer;
        input->capacity = 2 * bytes;
    } else if (input->length > 0) {
        memmove(input->buffer, input->data, input->length);
    }
    input->data = input->buffer;
    return NLM_OK;
}

nlm_status nlm_input_fill(nlm_input *input, size_t bytes, nlm_error *err) {
    if (input->length >= bytes || input->is_at_end) return NLM_OK;
    if (!input->data || bytes > input->capacity - (size_t)(input->data - input->buffer)) {
        NLM_TRY(make_room(input, bytes, err));
    }
    while (input->length < bytes && !input->is_at_end) {
        char *at = input->data + input->length;
        const ssize_t got = read(input->fd, at, (size_t)(input->buffer + input->capacity - at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return nlm_fail_errno(err, nlm_status_from_errno(errno), input->path, "cannot read '%s'", input->path);
        }
        nlm_checksum_update(input->sum, at, (size_t)got);
        input->length += (size_t)got;
        input->is_at_end = got == 0;
    }
    return NLM_OK;
}

void nlm_input_skip(nlm_input *input, size_t bytes) {
    input->data += bytes;
    input->length -= bytes;
    input->offset += bytes;
}

void nlm_input_close(nlm_input *input) {
    const uint64_t end[] = {input->offset + input->length, nlm_input_is_json(input->path)};
    nlm_checksum_update(input->sum, end, sizeof end);
    close(input->fd);
    free(input->buffer);
    *input = (nlm_input){.fd = -1};
}
