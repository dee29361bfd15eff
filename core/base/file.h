/* Files: mapped for reading, and written so that they appear whole or not at all. */
#ifndef NLM_BASE_FILE_H
#define NLM_BASE_FILE_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole file, read-only: mapped, or read into memory where it cannot be mapped. `data` is page-aligned; NULL for an
 * empty file. */
typedef struct nlm_file_map {
    const void *data;
    size_t size;
    bool is_file;   /* what follows is known */
    bool is_mapped; /* its pages are the file's, which stays open as `fd`; else they are our own */
    int fd;
    uint32_t watch;                  /* of its pages, see file_cut.h */
    bool is_ours;                    /* it belongs to us or to root, and no other may write to it */
    int64_t modified_s, modified_ns; /* when it was, as it was opened */
} nlm_file_map;

/* Errors NOT_FOUND, PERMISSION, IO (also: not a regular file), OUT_OF_MEMORY. Never blocks on a pipe. */
nlm_status nlm_file_map_open(const char *path, nlm_file_map *out, nlm_error *err);
/* As nlm_file_map_open, but a copy in memory of our own, which no writer of the file changes. Errors also: IO (the
 * file was cut while it was read). */
nlm_status nlm_file_read(const char *path, nlm_file_map *out, nlm_error *err);
/* Whether a mapped file has the size and the time of change it was opened with, as a copy always has. What else
 * happens to its inode (a chmod, another name, none) is no change. Errors IO, with what has happened and what to do.
 */
nlm_status nlm_file_map_check(const nlm_file_map *map, const char *path, nlm_error *err);
/* Of that, whether it was cut: reading pages that are gone ends the process by SIGBUS, or gives zeros where the
 * program has asked for that (file_cut.h). */
nlm_status nlm_file_map_check_size(const nlm_file_map *map, const char *path, nlm_error *err);
/* `bytes` (not 0) of private, zeroed, writable memory in pages of the usual size, as a file's are; committed
 * as it is written. Errors OUT_OF_MEMORY. */
nlm_status nlm_file_map_zeros(size_t bytes, nlm_file_map *out, nlm_error *err);
/* Tells the system that bytes in a map will not be read again soon. What is mapped stays valid, a copy of a file as
 * it is; zeroed memory is zeros again, and free. */
void nlm_file_map_drop(const nlm_file_map *map, const void *data, uint64_t bytes);
void nlm_file_map_close(nlm_file_map *map); /* leaves a valid empty map */

/* Makes a folder and those above it that are missing, for their owner alone. Errors PERMISSION, IO, NOT_FOUND
 * (something on the way is no folder), OUT_OF_MEMORY. */
nlm_status nlm_file_make_folder(const char *path, nlm_error *err);

/* Takes a folder for this process until `*out_fd` is closed or the process ends, however it ends; nothing is written.
 * `*out_is_taken`: another has it, `*out_fd` is -1. A file system without locks gives it to everybody. Errors
 * NOT_FOUND, PERMISSION, IO. */
nlm_status nlm_file_lock_folder(const char *path, int *out_fd, bool *out_is_taken, nlm_error *err);

/* Writes to a temporary beside `path`; commit makes it durable and gives it its name. Until then `path`
 * is as it was, and destroy leaves nothing behind. A file that is replaced passes on its mode. A symbolic link is
 * followed unless somebody else has put it into a folder that others may write to (PERMISSION); anything at `path`
 * that is not a regular file (a device, a pipe) is refused. A limit on the size of files is an error, not a signal.
 * The temporary, "PATH.tmp-PROCESS-NUMBER", is locked (flock) as long as its writer lives. Errors   create, write and
 * commit: NOT_FOUND, PERMISSION, IO (a full disk, with errno's sentence), OUT_OF_MEMORY. After an error of write or
 * commit only destroy is of use. Threads  one writer, one thread. */
typedef struct nlm_file_writer nlm_file_writer;
nlm_status nlm_file_writer_create(const char *path, nlm_file_writer **out, nlm_error *err);
/* A file that only its owner can read and write, whatever the umask. A symbolic link at `path` is replaced, not
 * followed. */
nlm_status nlm_file_writer_create_private(const char *path, nlm_file_writer **out, nlm_error *err);
nlm_status nlm_file_writer_write(nlm_file_writer *writer, const void *data, size_t bytes, nlm_error *err);
/* `bytes` zeros. */
nlm_status nlm_file_writer_pad(nlm_file_writer *writer, uint64_t bytes, nlm_error *err);
uint64_t nlm_file_writer_position(const nlm_file_writer *writer); /* bytes written so far */
nlm_status nlm_file_writer_commit(nlm_file_writer *writer, nlm_error *err);
void nlm_file_writer_destroy(nlm_file_writer *writer); /* NULL is fine */

/* From now on writing and commit fail with CANCELLED once *flag is not 0, and destroy takes the temporary away. For a
 * program whose handler of signals sets the flag, a sig_atomic_t that stays its own; NULL: no longer. */
void nlm_file_cancel_by(const volatile int *flag);

/* Removes from a folder the temporaries of files whose names end with `ending` that no writer holds, since a minute
 * at least: what processes have left that were killed. */
void nlm_file_remove_abandoned(const char *folder, const char *ending);
/* All of that at once. */
nlm_status nlm_file_write(const char *path, const void *data, size_t bytes, nlm_error *err);

#endif
