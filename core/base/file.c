/* Files mapped for reading, and files that appear whole or not at all. */
#include "base/file.h"

#include "base/file_cut.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES  (256u * 1024)
#define NAME_ATTEMPTS 100u
#define SUFFIX_BYTES  48u
#define MAX_CALL      (1u << 26) /* bytes of one read or write; between two a writer looks whether to go on */

#define ABANDONED_SECONDS 60 /* between a temporary's making and its lock there is much less */

/* Reads the `out->size` bytes there were when the file was examined into memory of our own. */
static nlm_status read_descriptor(int fd, const char *path, nlm_file_map *out, nlm_error *err) {
    nlm_file_map memory;
    NLM_TRY(nlm_file_map_zeros(out->size, &memory, err));
    out->data = memory.data;
    for (size_t have = 0; have < out->size;) {
        const size_t left = out->size - have;
        const ssize_t got =
            pread(fd, (char *)(uintptr_t)out->data + have, left < MAX_CALL ? left : MAX_CALL, (off_t)have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot read '%s'", path);
        if (got == 0) {
            return nlm_fail(err, NLM_IO, path, "'%s' was cut from %zu bytes to %zu while it was read", path,
                            out->size, have);
        }
        have += (size_t)got;
    }
    return NLM_OK;
}

static nlm_status map_descriptor(int fd, const char *path, bool is_copied, nlm_file_map *out, nlm_error *err) {
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
    if (is_copied) return read_descriptor(fd, path, out, err);
    void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED && errno == ENODEV)
        return read_descriptor(fd, path, out, err); /* its file system cannot */
    if (data == MAP_FAILED) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot map '%s' (%zu bytes)", path,
                              out->size);
    }
    out->data = data;
    out->is_mapped = true;
    out->fd = fd;
    out->watch = nlm_file_cut_watch(data, out->size, fd, path);
    return NLM_OK;
}

static nlm_status open_map(const char *path, bool is_copied, nlm_file_map *out, nlm_error *err) {
    /* O_NONBLOCK: opening a pipe without a writer must not wait; it means nothing for regular files. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open '%s'", path);
    *out = (nlm_file_map){0};
    const nlm_status status = map_descriptor(fd, path, is_copied, out, err);
    if (!out->is_mapped) close(fd);
    if (status != NLM_OK) nlm_file_map_close(out);
    return status;
}

nlm_status nlm_file_map_open(const char *path, nlm_file_map *out, nlm_error *err) {
    return open_map(path, false, out, err);
}

nlm_status nlm_file_read(const char *path, nlm_file_map *out, nlm_error *err) {
    return open_map(path, true, out, err);
}

nlm_status nlm_file_map_zeros(size_t bytes, nlm_file_map *out, nlm_error *err) {
    *out = (nlm_file_map){0};
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, __func__, "no memory for %zu bytes", bytes);
    (void)madvise(data, bytes, MADV_NOHUGEPAGE);
    *out = (nlm_file_map){.data = data, .size = bytes};
    return NLM_OK;
}

/* What is known of the file now; false: nothing, or there is nothing to know. */
static bool examine(const nlm_file_map *map, struct stat *out) {
    return map->is_mapped && fstat(map->fd, out) == 0;
}

static nlm_status check_size(const nlm_file_map *map, const char *path, const struct stat *now, nlm_error *err) {
    const bool is_cut = now && (uint64_t)now->st_size < map->size;
    if (!is_cut && !nlm_file_cut_has_fault(map->watch)) return NLM_OK;
    return nlm_file_cut_fail(path, map->size, map->fd, err);
}

nlm_status nlm_file_map_check_size(const nlm_file_map *map, const char *path, nlm_error *err) {
    struct stat now;
    return check_size(map, path, examine(map, &now) ? &now : NULL, err);
}

nlm_status nlm_file_map_check(const nlm_file_map *map, const char *path, nlm_error *err) {
    struct stat now;
    const bool is_known = examine(map, &now);
    NLM_TRY(check_size(map, path, is_known ? &now : NULL, err));
    if (!is_known) return NLM_OK;
    const bool is_same = (uint64_t)now.st_size == map->size && now.st_mtim.tv_sec == map->modified_s &&
                         now.st_mtim.tv_nsec == map->modified_ns;
    if (is_same) return NLM_OK;
    return nlm_fail(err, NLM_IO, path, "'%s' was changed while it was read; " NLM_FILE_CUT_ADVICE, path);
}

void nlm_file_map_drop(const nlm_file_map *map, const void *data, uint64_t bytes) {
    const uintptr_t base = (uintptr_t)map->data, at = (uintptr_t)data;
    if (map->is_file && !map->is_mapped) return; /* there is nothing it could come back from */
    if (!map->data || at < base || at - base > map->size || bytes > map->size - (at - base)) return;
    /* Only whole pages: those at the edges may hold neighbours. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = (at + page - 1) & ~(page - 1), to = (at + (uintptr_t)bytes) & ~(page - 1);
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

void nlm_file_map_close(nlm_file_map *map) {
    nlm_file_cut_unwatch(map->watch);
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    if (map->is_mapped) close(map->fd);
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

nlm_status nlm_file_lock_folder(const char *path, int *out_fd, bool *out_is_taken, nlm_error *err) {
    *out_is_taken = false;
    *out_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*out_fd < 0)
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open the folder '%s'", path);
    *out_is_taken = flock(*out_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!*out_is_taken) return NLM_OK;
    close(*out_fd);
    *out_fd = -1;
    return NLM_OK;
}

#define KEEP_UMASK ((mode_t)-1)

struct nlm_file_writer {
    char *path;      /* the target, symbolic links resolved unless it is private */
    char *temporary; /* its name until commit */
    unsigned char *buffer;
    size_t used; /* bytes in buffer */
    uint64_t position;
    int fd;
    mode_t mode;        /* the file's; KEEP_UMASK: what the umask leaves of 666 */
    bool is_private;    /* for its owner alone, and never behind a link */
    bool has_temporary; /* on the disk */
};

/* A link that somebody else has put into a folder that others may write to: through it we would overwrite a file that
 * only we may write. Kernels do not follow one either (protected_symlinks). */
static bool is_planted(const char *path, const struct stat *link) {
    struct stat folder;
    char *copy = strdup(path);
    if (!copy) return true;
    const bool is_known = stat(dirname(copy), &folder) == 0;
    free(copy);
    if (!is_known) return true;
    const bool is_shared = (folder.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    return is_shared && link->st_uid != geteuid() && link->st_uid != folder.st_uid;
}

/* The file that `path` stands for, allocated: where it exists, behind any symbolic links unless it is private.
 * Sets the mode of the file it replaces. */
static nlm_status resolve_target(const char *path, nlm_file_writer *writer, nlm_error *err) {
    struct stat link, info;
    const bool is_link = lstat(path, &link) == 0 && S_ISLNK(link.st_mode);
    const bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode)) {
        return nlm_fail(err, NLM_IO, path, "cannot write '%s': it exists and is not a regular file", path);
    }
    if (is_link && !writer->is_private && is_planted(path, &link)) {
        return nlm_fail(err, NLM_PERMISSION, path,
                        "cannot write '%s': it is a link of user %u in a folder that others may write to", path,
                        (unsigned)link.st_uid);
    }
    if (exists && !writer->is_private) writer->mode = info.st_mode & 0777;
    char *resolved = writer->is_private ? NULL : realpath(path, NULL);
    writer->path = resolved ? resolved : strdup(path);
    return writer->path ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
}

static nlm_status open_temporary(nlm_file_writer *writer, nlm_error *err) {
    const size_t size = strlen(writer->path) + SUFFIX_BYTES;
    writer->temporary = malloc(size);
    writer->buffer = malloc(BUFFER_BYTES);
    if (!writer->temporary || !writer->buffer) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, writer->path, "out of memory");
    }
    const mode_t mode = writer->is_private ? 0600 : writer->mode != KEEP_UMASK ? writer->mode & 0700 : 0666;
    for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        snprintf(writer->temporary, size, "%s.tmp-%ld-%u", writer->path, (long)getpid(), attempt);
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        writer->has_temporary = writer->fd >= 0;
        if (writer->has_temporary) break;
        if (errno != EEXIST) break;
    }
    const bool is_open = writer->has_temporary;
    if (is_open) (void)flock(writer->fd, LOCK_EX | LOCK_NB); /* tells that somebody writes to it still */
    if (is_open && (writer->mode == KEEP_UMASK || fchmod(writer->fd, writer->mode) == 0)) return NLM_OK;
    return nlm_fail_errno(err, nlm_status_from_errno(errno), writer->path, "cannot create '%s'", writer->temporary);
}

static nlm_status create_writer(const char *path, bool is_private, nlm_file_writer **out, nlm_error *err) {
    nlm_file_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    writer->fd = -1;
    writer->is_private = is_private;
    writer->mode = KEEP_UMASK;
    nlm_status status = resolve_target(path, writer, err);
    if (status == NLM_OK) status = open_temporary(writer, err);
    if (status != NLM_OK) {
        nlm_file_writer_destroy(writer);
        return status;
    }
    *out = writer;
    return NLM_OK;
}

nlm_status nlm_file_writer_create(const char *path, nlm_file_writer **out, nlm_error *err) {
    return create_writer(path, false, out, err);
}

nlm_status nlm_file_writer_create_private(const char *path, nlm_file_writer **out, nlm_error *err) {
    return create_writer(path, true, out, err);
}

/* As write, but a file beyond the limit of sizes is the error EFBIG and never the signal, which would end the host
 * and leave the temporary. */
static ssize_t write_some(int fd, const void *data, size_t bytes) {
    sigset_t too_large, before;
    sigemptyset(&too_large);
    sigaddset(&too_large, SIGXFSZ);
    if (pthread_sigmask(SIG_BLOCK, &too_large, &before) != 0) return -1;
    const ssize_t written = write(fd, data, bytes);
    const int why = errno;
    if (written < 0 && why == EFBIG && !sigismember(&before, SIGXFSZ)) {
        (void)sigtimedwait(&too_large, NULL, &(struct timespec){0});
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return written;
}

_Static_assert(_Generic((sig_atomic_t)0, int : 1, default : 0), "a flag of a handler is an int");

static const volatile int *_Atomic cancel_flag;

void nlm_file_cancel_by(const volatile int *flag) {
    cancel_flag = flag;
}

static nlm_status check_cancelled(const nlm_file_writer *writer, nlm_error *err) {
    const volatile int *flag = cancel_flag;
    if (!flag || !*flag) return NLM_OK;
    return nlm_fail(err, NLM_CANCELLED, writer->path, "cancelled: '%s' is not written", writer->path);
}

static nlm_status write_through(nlm_file_writer *writer, const unsigned char *data, size_t bytes, nlm_error *err) {
    NLM_TRY(check_cancelled(writer, err));
    while (bytes > 0) {
        const ssize_t written = write_some(writer->fd, data, bytes < MAX_CALL ? bytes : MAX_CALL);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            if (errno == EFAULT) NLM_TRY(nlm_file_cut_check_memory(data, err)); /* it comes from a mapped file */
            return nlm_fail_errno(err, nlm_status_from_errno(errno), writer->path, "cannot write '%s'", writer->path);
        }
        data += written;
        bytes -= (size_t)written;
        NLM_TRY(check_cancelled(writer, err));
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
    NLM_TRY(nlm_file_cut_check_open(err)); /* zeros may stand for what was read */
    if (fsync(writer->fd) != 0) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot write '%s' to the disk", path);
    }
    NLM_TRY(check_cancelled(writer, err)); /* it may have taken long */
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

nlm_status nlm_file_write(const char *path, const void *data, size_t bytes, nlm_error *err) {
    nlm_file_writer *file = NULL;
    NLM_TRY(nlm_file_writer_create(path, &file, err));
    nlm_status status = nlm_file_writer_write(file, data, bytes, err);
    if (status == NLM_OK) status = nlm_file_writer_commit(file, err);
    nlm_file_writer_destroy(file);
    return status;
}

/* Does nobody write to it? A writer holds a lock until it ends, however it ends. */
static bool is_abandoned(int folder, const char *name) {
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) return false;
    if (info.st_mtim.tv_sec >= time(NULL) - ABANDONED_SECONDS) return false;
    const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    const bool is_free = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (fd >= 0) close(fd);
    return is_free;
}

static bool is_temporary_of(const char *name, const char *ending) {
    const char *mark = strstr(name, ".tmp-");
    const size_t length = strlen(ending);
    return mark && (size_t)(mark - name) >= length && strncmp(mark - length, ending, length) == 0;
}

void nlm_file_remove_abandoned(const char *folder, const char *ending) {
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (!entries) {
        if (fd >= 0) close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (!is_temporary_of(entry->d_name, ending)) continue;
        if (is_abandoned(fd, entry->d_name)) (void)unlinkat(fd, entry->d_name, 0);
    }
    closedir(entries);
}
