/* Files mapped for reading, and files that appear whole or not at all. */
#include "base/file.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES   (256u * 1024)
#define NAME_ATTEMPTS  100u
#define SUFFIX_BYTES   48u
#define MAX_WRITE_CALL (1u << 30)

static nlm_status map_descriptor(int fd, const char *path, nlm_file_map *out, nlm_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return nlm_fail_errno(err, NLM_IO, path, "cannot examine '%s'", path);
    if (!S_ISREG(info.st_mode)) return nlm_fail(err, NLM_IO, path, "'%s' is not a regular file", path);
    *out = (nlm_file_map){
        .size = (size_t)info.st_size,
        .is_file = true,
        .is_ours = (info.st_uid == geteuid() || info.st_uid == 0) && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0,
        .modified_s = info.st_mtim.tv_sec,
        .modified_ns = info.st_mtim.tv_nsec};
    if (out->size == 0) return NLM_OK;
    void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot map '%s' (%zu bytes)", path,
                              out->size);
    }
    out->data = data;
    return NLM_OK;
}

nlm_status nlm_file_map_open(const char *path, nlm_file_map *out, nlm_error *err) {
    /* O_NONBLOCK: opening a pipe without a writer must not wait; it means nothing for regular files. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open '%s'", path);
    const nlm_status status = map_descriptor(fd, path, out, err);
    close(fd);
    return status;
}

nlm_status nlm_file_map_zeros(size_t bytes, nlm_file_map *out, nlm_error *err) {
    *out = (nlm_file_map){0};
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, __func__, "no memory for %zu bytes", bytes);
    (void)madvise(data, bytes, MADV_NOHUGEPAGE);
    *out = (nlm_file_map){.data = data, .size = bytes};
    return NLM_OK;
}

void nlm_file_map_close(nlm_file_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (nlm_file_map){0};
}

static nlm_status make_one_folder(const char *path, nlm_error *err) {
    struct stat info;
    if (mkdir(path, 0700) == 0) return NLM_OK;
    const int why = errno;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return NLM_OK;
    errno = why == EEXIST ? ENOTDIR : why;
    return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot make the folder '%s'", path);
}

nlm_status nlm_file_make_folder(const char *path, nlm_error *err) {
    char *part = strdup(path);
    if (!part) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    nlm_status status = NLM_OK;
    for (char *slash = strchr(part + (*part == '/'), '/'); slash && status == NLM_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = make_one_folder(part, err);
        *slash = '/';
    }
    if (status == NLM_OK) status = make_one_folder(part, err);
    free(part);
    return status;
}

struct nlm_file_writer {
    char *path;      /* the target, symbolic links resolved */
    char *temporary; /* its name until commit */
    unsigned char *buffer;
    size_t used; /* bytes in buffer */
    uint64_t position;
    int fd;
    bool has_temporary; /* on the disk */
};

/* The file that `path` stands for, allocated: where it exists, behind any symbolic links. */
static nlm_status resolve_target(const char *path, char **out, nlm_error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return nlm_fail(err, NLM_IO, path, "cannot write '%s': it exists and is not a regular file", path);
    }
    char *resolved = realpath(path, NULL);
    *out = resolved ? resolved : strdup(path);
    return *out ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
}

static nlm_status open_temporary(nlm_file_writer *writer, mode_t mode, nlm_error *err) {
    const size_t size = strlen(writer->path) + SUFFIX_BYTES;
    writer->temporary = malloc(size);
    writer->buffer = malloc(BUFFER_BYTES);
    if (!writer->temporary || !writer->buffer) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, writer->path, "out of memory");
    }
    for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        snprintf(writer->temporary, size, "%s.tmp-%ld-%u", writer->path, (long)getpid(), attempt);
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        writer->has_temporary = writer->fd >= 0;
        if (writer->has_temporary) return NLM_OK;
        if (errno != EEXIST) break;
    }
    return nlm_fail_errno(err, nlm_status_from_errno(errno), writer->path, "cannot create '%s'", writer->temporary);
}

static nlm_status create_writer(const char *path, mode_t mode, nlm_file_writer **out, nlm_error *err) {
    nlm_file_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    writer->fd = -1;
    nlm_status status = resolve_target(path, &writer->path, err);
    if (status == NLM_OK) status = open_temporary(writer, mode, err);
    if (status != NLM_OK) {
        nlm_file_writer_destroy(writer);
        return status;
    }
    *out = writer;
    return NLM_OK;
}

nlm_status nlm_file_writer_create(const char *path, nlm_file_writer **out, nlm_error *err) {
    return create_writer(path, 0666, out, err);
}

nlm_status nlm_file_writer_create_private(const char *path, nlm_file_writer **out, nlm_error *err) {
    return create_writer(path, 0600, out, err);
}

static nlm_status write_through(nlm_file_writer *writer, const unsigned char *data, size_t bytes, nlm_error *err) {
    while (bytes > 0) {
        const ssize_t written = write(writer->fd, data, bytes < MAX_WRITE_CALL ? bytes : MAX_WRITE_CALL);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            return nlm_fail_errno(err, nlm_status_from_errno(errno), writer->path, "cannot write '%s'", writer->path);
        }
        data += written;
        bytes -= (size_t)written;
    }
    return NLM_OK;
}

static nlm_status flush(nlm_file_writer *writer, nlm_error *err) {
    const size_t used = writer->used;
    writer->used = 0;
    return write_through(writer, writer->buffer, used, err);
}

nlm_status nlm_file_writer_write(nlm_file_writer *writer, const void *data, size_t bytes, nlm_error *err) {
    writer->position += bytes;
    if (bytes > BUFFER_BYTES - writer->used) NLM_TRY(flush(writer, err));
    if (bytes >= BUFFER_BYTES) return write_through(writer, data, bytes, err);
    if (bytes > 0) memcpy(writer->buffer + writer->used, data, bytes);
    writer->used += bytes;
    return NLM_OK;
}

nlm_status nlm_file_writer_pad(nlm_file_writer *writer, uint64_t bytes, nlm_error *err) {
    static const unsigned char zeros[4096];
    while (bytes > 0) {
        const size_t some = bytes < sizeof zeros ? (size_t)bytes : sizeof zeros;
        NLM_TRY(nlm_file_writer_write(writer, zeros, some, err));
        bytes -= some;
    }
    return NLM_OK;
}

uint64_t nlm_file_writer_position(const nlm_file_writer *writer) {
    return writer->position;
}

/* Makes the rename itself durable. Not every filesystem can; the file is whole either way. */
static void sync_directory(const char *path) {
    char *copy = strdup(path);
    if (!copy) return;
    char *slash = strrchr(copy, '/');
    if (slash) slash[slash == copy] = '\0';
    const int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(copy);
}

nlm_status nlm_file_writer_commit(nlm_file_writer *writer, nlm_error *err) {
    const char *path = writer->path;
    NLM_TRY(flush(writer, err));
    if (fsync(writer->fd) != 0) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot write '%s' to the disk", path);
    }
    const int closed = close(writer->fd);
    writer->fd = -1;
    if (closed != 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot write '%s'", path);
    if (rename(writer->temporary, path) != 0) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot give '%s' its name", path);
    }
    writer->has_temporary = false;
    sync_directory(path);
    return NLM_OK;
}

void nlm_file_writer_destroy(nlm_file_writer *writer) {
    if (!writer) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->has_temporary) unlink(writer->temporary);
    free(writer->path);
    free(writer->temporary);
    free(writer->buffer);
    free(writer);
}
